"""The webhooks of WAHA, of Wawp, which is built on it, and of the Chat-API dialect.

Sources: https://waha.devlike.pro/docs/how-to/events/, https://api.wawp.net/en/docs, https://github.com/Zodt/ChatApi
"""

import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from typing import Any

from .people import lid_of, other_form
from .phones import Update
from .webhooks import Writer

_US = "16505550100@c.us"
_ACKS = {"failed": (-1, "ERROR"), "sent": (1, "SERVER"), "delivered": (2, "DEVICE"), "read": (3, "READ")}
_ACKS |= {"played": (4, "PLAYED")}
_STATUSES = {"delivered": "delivered", "read": "viewed"}
_UNTOLD = ("reaction", "call")
_TYPES = {"audio": "ptt", "contacts": "vcard", "text": "chat"}


class WahaWebhooks(Writer):
    """Writes what a WAHA server posts for one session: one event a body, fifteen more times, each two seconds later."""

    retries = 15
    retry_seconds = 2.0
    waits_longer = False

    @property
    def session(self) -> str:
        """What the events call the session."""
        return self.settings.waha_session

    @property
    def engine(self) -> str:
        """What the events call the engine."""
        return self.settings.waha_engine

    def tells(self, update: Update) -> bool:
        """All but GOWS's `sent`: its acks are receipts, and that a message was sent is told by `message.any`."""
        return update.step != "sent" or self.engine != "GOWS"

    def bodies(self, updates: Sequence[Update]) -> list[bytes]:
        """A body for each event; one update may be two events."""
        return [
            json.dumps(self._event(name, payload, update, place), ensure_ascii=False).encode()
            for update in updates
            for place, (name, payload) in enumerate(self._events(update))
        ]

    def headers(self, body: bytes) -> dict[str, str]:
        """The signature, and what tells one event's tries from another's."""
        digest = hmac.new(self.settings.webhook_secret.encode(), body, hashlib.sha512).hexdigest()
        return {
            "X-Webhook-Hmac": digest,
            "X-Webhook-Hmac-Algorithm": "sha512",
            "X-Webhook-Request-Id": hashlib.sha256(body).hexdigest()[:26],
            "X-Webhook-Timestamp": str(int(time.time() * 1000)),
        }

    def _event(self, name: str, payload: dict[str, Any], update: Update, place: int) -> dict[str, Any]:
        return {
            "id": f"evt_{update.number:020d}{place}{int(time.monotonic() * 1e6) % 10**6:06d}",
            "timestamp": int(update.at * 1000),
            "event": name,
            "session": self.session,
            "engine": self.engine,
            "metadata": {},
            "me": {"id": _US, "lid": "900000000000001@lid", "pushName": "Sandbox"},
            "environment": {"version": self.settings.waha_version, "engine": self.engine, "tier": "CORE"},
            "payload": payload,
        }

    def _events(self, update: Update) -> list[tuple[str, dict[str, Any]]]:
        if update.step == "reply":
            return self._inbound(update)
        if update.step == "accepted":
            return [("message.any", self._own(update))]
        ack, name = _ACKS[update.step]
        if self.engine == "WEBJS":  # the whole message, `from` is us
            return [("message.ack", self._own(update) | {"ack": ack, "ackName": name})]
        chat = self._chat(update.message.recipient)
        payload = {
            "id": self._id(update),
            "from": chat,
            "participant": None,
            "fromMe": True,
            "ack": ack,
            "ackName": name,
        }
        return [("message.ack", payload)]

    def _chat(self, recipient: str) -> str:
        """The chat as an event names it."""
        if "@" in recipient:
            return recipient
        return lid_of(recipient) if self.lids != "never" else self._phone(recipient)

    def _phone(self, digits: str) -> str:
        return f"{other_form(digits) if self.other_forms else digits}@c.us"

    def _id(self, update: Update) -> str:
        bare = update.message.message_id.rpartition("_")[2]
        return f"true_{self._chat(update.message.recipient)}_{bare}"

    def _own(self, update: Update) -> dict[str, Any]:
        message, chat = update.message, self._chat(update.message.recipient)
        return {
            "id": self._id(update),
            "timestamp": int(message.at),
            "from": _US if self.engine == "WEBJS" else chat,
            "fromMe": True,
            "source": "api",
            "to": chat if self.engine == "WEBJS" else _US,
            "body": "",
            "hasMedia": message.kind == "audio",
            "ack": 1,
            "ackName": "SERVER",
            "_data": {},
        }

    def _inbound(self, update: Update) -> list[tuple[str, dict[str, Any]]]:
        answered = update.message
        chat, bare = self._chat(answered.recipient), f"3A{update.number:018X}"
        payload: dict[str, Any] = {
            "id": f"false_{chat}_{bare}",
            "timestamp": int(update.at),
            "from": chat,
            "fromMe": False,
            "source": "app",
            "to": _US,
            "body": update.text,
            "hasMedia": False,
            "ack": 1,
            "ackName": "SERVER",
            "_data": self._data(answered.recipient),
        }
        quoted = answered.message_id.rpartition("_")[2]
        if quoted:
            payload["replyTo"] = {"id": quoted, "participant": None, "body": ""}
        match update.reply:
            case "reaction":
                payload |= {"body": "", "reaction": {"text": "👍", "messageId": f"true_{chat}_{quoted}"}}
                payload.pop("replyTo", None)
                if self.engine == "NOWEB":
                    payload["_data"] = {}  # devlikeapro/waha#2010
                return [("message.reaction", payload)]
            case "call":
                call = {"id": bare, "from": chat, "timestamp": int(update.at), "isVideo": False, "isGroup": False}
                return [("call.received", call)]
            case "audio":
                media = {"url": None, "mimetype": "audio/ogg; codecs=opus", "filename": None}
                payload |= {"body": "", "hasMedia": True, "media": media}
            case "contacts":
                payload |= {"body": "", "vCards": ["BEGIN:VCARD\nVERSION:3.0\nFN:Sample Person\nEND:VCARD"]}
        return [("message", payload), *self._again(payload)]

    def _again(self, payload: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """What else tells of the same inbound message."""
        return []

    def _data(self, recipient: str) -> dict[str, Any]:
        """The engine's own data, as far as it tells the number behind an `@lid`."""
        if self.lids != "beside" or "@" in recipient:
            return {}
        phone = self._phone(recipient).replace("@c.us", "@s.whatsapp.net")
        return {"Info": {"SenderAlt": phone}} if self.engine == "GOWS" else {"key": {"remoteJidAlt": phone}}


class WawpWebhooks(WahaWebhooks):
    """Writes what Wawp posts for one instance: WAHA's envelope, and both `message` and `message.any` for one message."""

    retry_seconds = 1.0
    waits_longer = True

    @property
    def session(self) -> str:
        """The instance."""
        return self.settings.wawp_instance

    @property
    def engine(self) -> str:
        """Consumers see GOWS's data."""
        return "GOWS"

    def tells(self, update: Update) -> bool:
        """All: its document lists the ack 1 too."""
        return True

    def headers(self, body: bytes) -> dict[str, str]:
        """The signature; no document names its header, so that the sandbox's is a setting."""
        digest = hmac.new(self.settings.webhook_secret.encode(), body, hashlib.sha256).hexdigest()
        return {self.settings.wawp_webhook_header: digest} if self.settings.wawp_webhook_header else {}

    def _again(self, payload: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        return [("message.any", payload)]


class ChatApiWebhooks(Writer):
    """Writes what a Chat-API host posts for one instance, unsigned: the target's address holds the secret."""

    at_most = 1000
    signs = False
    retries = 20

    def tells(self, update: Update) -> bool:
        """Our own messages, two acks and what people write; a message that fails stays in the queue, and nobody tells."""
        return update.step in ("accepted", *_STATUSES) or (update.step == "reply" and update.reply not in _UNTOLD)

    def bodies(self, updates: Sequence[Update]) -> list[bytes]:
        """One body of messages, one of acks."""
        messages = [self._own(u) for u in updates if u.step == "accepted"]
        messages += [self._inbound(u) for u in updates if u.step == "reply"]
        acks = [self._ack(u) for u in updates if u.step in _STATUSES]
        wrapped = {"messages": messages, "ack": acks}
        instance = self.settings.chat_api_instance
        return [json.dumps({name: some, "instanceId": instance}).encode() for name, some in wrapped.items() if some]

    def headers(self, body: bytes) -> dict[str, str]:
        """Nothing is signed."""
        return {}

    def _chat(self, recipient: str) -> str:
        if "@" in recipient:
            return recipient
        return f"{other_form(recipient) if self.other_forms else recipient}@c.us"

    def _id(self, update: Update) -> str:
        return f"true_{self._chat(update.message.recipient)}_{update.message.message_id.rpartition('_')[2]}"

    def _ack(self, update: Update) -> dict[str, Any]:
        chat, status = self._chat(update.message.recipient), _STATUSES[update.step]
        return {"id": self._id(update), "queueNumber": update.number % 10**9, "chatId": chat, "status": status}

    def _own(self, update: Update) -> dict[str, Any]:
        shown = {"id": self._id(update), "author": _US, "fromMe": True, "self": 1, "time": int(update.message.at)}
        return self._message(update, shown, _TYPES[update.message.kind], "")

    def _inbound(self, update: Update) -> dict[str, Any]:
        chat = self._chat(update.message.recipient)
        shown = {"id": f"false_{chat}_3A{update.number:018X}", "author": chat, "fromMe": False, "self": 0}
        kind = {"audio": "ptt", "contacts": "vcard"}.get(update.reply, "chat")  # it has no buttons: a tap is a text
        return self._message(update, shown | {"time": int(update.at)}, kind, update.text)

    def _message(self, update: Update, shown: dict[str, Any], kind: str, text: str) -> dict[str, Any]:
        quoted = update.message.message_id if update.step == "reply" else ""
        return {
            **shown,
            "body": text if kind == "chat" else "https://sandbox.invalid/file",
            "isForwarded": 0,
            "chatId": self._chat(update.message.recipient),
            "messageNumber": update.number % 10**9,
            "type": kind,
            "senderName": "Sample",
            "caption": None,
            "quotedMsgBody": None,
            "quotedMsgId": quoted or None,
            "chatName": "Sample",
        }
