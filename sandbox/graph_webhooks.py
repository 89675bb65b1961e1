"""Graph's webhooks: statuses, messages and calls, up to 1,000 in a body, signed with the app secret.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages/status
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from .people import other_form, user_id_of
from .phones import Update
from .webhooks import Writer

_TITLES = {
    131026: "Message undeliverable",
    131047: "Re-engagement message",
    131049: "This message was not delivered to maintain healthy ecosystem engagement.",
    131053: "Media upload error",
}
_DETAILS = {
    131026: "Message Undeliverable.",
    131047: "Message failed to send because more than 24 hours have passed since the customer last replied to this number.",
    131049: "In order to maintain a healthy ecosystem engagement, the message failed to be delivered.",
    131053: "Unsupported Audio mime type audio/opus. Please use one of audio/ogg; codecs=opus, audio/mpeg, …",
}


class GraphWebhooks(Writer):
    """Writes what Meta posts for one business phone number, and posts again for seven days."""

    at_most = 1000
    retries = 1_000_000

    def tells(self, update: Update) -> bool:
        """All but what the answer has told."""
        return update.step != "accepted"

    def bodies(self, updates: Sequence[Update]) -> list[bytes]:
        """One body for all of them."""
        statuses, messages, calls = [], [], []
        contacts: dict[str, dict[str, Any]] = {}
        for update in updates:
            if update.step != "reply":
                statuses.append(self._status(update))
            elif update.reply == "call":
                calls.append(self._call(update))
            else:
                messages.append(self._inbound(update))
            if update.step != "failed" and update.message.recipient.isdecimal():
                contacts[update.message.recipient] = self._contact(update)
        shown = {"contacts": [*contacts.values()]} if contacts else {}
        lists = [("messages", "statuses", statuses), ("messages", "messages", messages), ("calls", "calls", calls)]
        changes = [
            {"field": field, "value": {**self._envelope(), **shown, name: some}} for field, name, some in lists if some
        ]
        if not changes:
            return []
        entry = {"id": "102290129340398", "time": int(updates[-1].at), "changes": changes}
        # As Meta writes it: what is not ASCII as \uXXXX in lower case, and each slash escaped.
        body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}, separators=(",", ":"))
        return [body.replace("/", "\\/").encode()]

    def headers(self, body: bytes) -> dict[str, str]:
        """Meta's signature."""
        digest = hmac.new(self.settings.app_secret.encode(), body, hashlib.sha256).hexdigest()
        return {"X-Hub-Signature-256": f"sha256={digest}", "User-Agent": "facebookexternalua"}

    def _envelope(self) -> dict[str, Any]:
        metadata = {
            "display_phone_number": self.settings.display_phone_number.removeprefix("+"),
            "phone_number_id": self.settings.phone_number_id,
        }
        return {"messaging_product": "whatsapp", "metadata": metadata}

    def _wa_id(self, digits: str) -> str:
        return other_form(digits) if self.other_forms else digits

    def _contact(self, update: Update) -> dict[str, Any]:
        digits = update.message.recipient
        profile = {"name": "Sample"} | ({} if update.step == "sent" else {"username": "@sample"})
        return {"profile": profile, "wa_id": self._wa_id(digits), "user_id": user_id_of(digits)}

    def _status(self, update: Update) -> dict[str, Any]:
        message, failed = update.message, update.step == "failed"
        status: dict[str, Any] = {"id": message.message_id, "status": update.step, "timestamp": str(int(update.at))}
        if message.recipient.isdecimal():
            status["recipient_id"] = self._wa_id(message.recipient)
            if not failed:
                status["recipient_user_id"] = user_id_of(message.recipient)
        elif message.body.get("recipient_type") == "group":
            status |= {"recipient_id": message.recipient, "recipient_type": "group"}
        else:
            status["recipient_user_id"] = message.recipient
        if message.callback:
            status["biz_opaque_callback_data"] = message.callback
        if update.step in ("sent", "delivered"):
            pricing = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "service"}
            status["pricing"] = pricing
        if failed:
            title = _TITLES.get(update.code, "Something went wrong")
            details = {"details": _DETAILS.get(update.code, title)}
            href = "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/"
            error = {"code": update.code, "title": title, "message": title, "error_data": details, "href": href}
            status["errors"] = [error]
        return status

    def _call(self, update: Update) -> dict[str, Any]:
        ours = self.settings.display_phone_number.removeprefix("+")
        who = {"from": self._wa_id(update.message.recipient), "to": ours}
        call = {"id": f"wacid.{update.number:016X}", "event": "connect", "timestamp": str(int(update.at))}
        return call | who | {"direction": "USER_INITIATED"}

    def _inbound(self, update: Update) -> dict[str, Any]:
        answered = update.message
        given: dict[str, Any] = {
            "from": self._wa_id(answered.recipient),
            "from_user_id": user_id_of(answered.recipient),
        }
        digits = answered.recipient
        given["id"] = f"wamid.HBg{base64.b64encode(f'{digits}:in:{update.number:012d}'.encode()).decode()}"
        given |= {"timestamp": str(int(update.at)), "type": update.reply}
        if answered.message_id and update.reply != "reaction":
            ours = self.settings.display_phone_number.removeprefix("+")
            given["context"] = {"from": ours, "id": answered.message_id}
        match update.reply:
            case "text":
                given["text"] = {"body": update.text}
            case "button":
                given["button"] = {"payload": f"sandbox:{update.number}", "text": update.text}
            case "reaction":
                given["reaction"] = {"message_id": answered.message_id, "emoji": "👍"}
            case "audio":
                media = {"id": f"{2013859600000000 + update.number}", "mime_type": "audio/ogg; codecs=opus"}
                given["audio"] = media | {"sha256": "c2FuZGJveA==", "voice": True}
            case _:
                name = {"formatted_name": "Sample Person", "first_name": "Sample"}
                given["contacts"] = [{"name": name, "phones": [{"phone": "+1 650 555 0198", "type": "CELL"}]}]
        return given
