"""Webhooks of the Graph API: statuses, inbound messages, calls, user preferences.

Set up: in the app's WhatsApp → Configuration enter the receiver's public https address and a verify token of your
choice, subscribe to `messages` (and `user_preferences`, `calls`), and copy the app secret from App settings → Basic.
One address serves the whole app, so what comes may concern other numbers than the block's: each item names its own.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
"""

import datetime
import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ..models.masking import mask_numbers
from ..models.message_ids import MAX_MESSAGE_ID
from ..models.spellings import address_in_webhook
from ..models.states import SendState
from ..models.updates import Inbound, InboundKind, Item, Preference, SamePerson, StatusUpdate, Unread
from .webhooks import WebhookDialect, WebhookRefusedError, child, distinct, moment, objects, signed, text_of

BLOCKED_BY_USER = "130403"
_STATES = {
    "sent": SendState.SENT,
    "delivered": SendState.DELIVERED,
    "read": SendState.READ,
    "played": SendState.PLAYED,
    "failed": SendState.FAILED,
}
# Which lists each field's value may hold; of a field that is not here nothing is known.
_LISTS = {
    "messages": ("statuses", "messages"),
    "calls": ("calls",),
    "user_preferences": ("user_preferences",),
    "user_id_update": ("user_id_update",),
}
# Fields that hold what people wrote, which is not kept, or may hold it in a version to come.
_CHATS = re.compile(r"messages|calls|history|standby|.*(?:echo|group|thread|smb_).*")
_KINDS: dict[str, InboundKind] = {
    "text": "text",
    "button": "button",
    "interactive": "button",
    "reaction": "reaction",
    "audio": "audio",
    "contacts": "contacts",
    "edit": "edit",
    "revoke": "revoke",
}


@dataclass(frozen=True, kw_only=True)
class GraphWebhooks(WebhookDialect):
    """Graph's webhooks for one app.

    Attributes:
        verify_token: What the app's configuration was told, for the handshake; empty refuses every handshake.
    """

    name: ClassVar[str] = "graph"
    has_handshake: ClassVar[bool] = True

    verify_token: str = field(default="", repr=False)

    def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Check `X-Hub-Signature-256`: hex SHA-256 over the raw bytes with the app secret."""
        given = headers.get("x-hub-signature-256", "")
        return signed(body, given, self.secrets, algorithm="sha256", prefix="sha256=")

    def handshake(self, query: Mapping[str, str]) -> str | None:
        """Answer `hub.challenge` where the token is ours.

        Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/create-webhook-endpoint
        """
        token = query.get("hub.verify_token", "").encode("utf-8", "replace")
        ours = hmac.compare_digest(self.verify_token.encode(), token) and bool(self.verify_token)
        return query.get("hub.challenge", "") if ours and query.get("hub.mode") == "subscribe" else None

    def items(self, body: Any, received_at: datetime.datetime) -> Iterator[Item]:
        """Read a body of up to 1,000 updates."""
        if not isinstance(body, dict) or not isinstance(body.get("entry"), list):
            raise WebhookRefusedError("no webhook of the Graph API: an object with a list `entry` is expected")
        for entry in objects(body["entry"]):
            for change in objects(entry.get("changes")):
                yield from self._change(text_of(change.get("field"), 100), change.get("value"), received_at)

    def _change(self, name: str, content: Any, received_at: datetime.datetime) -> Iterator[Item]:
        value: dict[str, Any] = content if isinstance(content, dict) else {}
        account = text_of(child(value, "metadata").get("phone_number_id"), 40) or self.account
        lists = _LISTS.get(name, ())
        if not any(isinstance(value.get(each), list) for each in lists):
            # What an account is told of itself is kept as it came; a chat is not.
            yield Unread(account, name, sorted(value)[:20] if _CHATS.fullmatch(name) else content)
            return
        ids = _user_ids(value)
        for status in objects(value.get("statuses")):
            yield from _status(status, account, received_at)
        for message in objects(value.get("messages")):
            yield from _inbound(message, account, ids, received_at)
        for call in objects(value.get("calls")):
            yield from _call(call, account, received_at)
        for preference in objects(value.get("user_preferences")):
            yield from _preference(preference, account, received_at)
        for update in objects(value.get("user_id_update")):
            user_id = child(update, "user_id")
            told = (update.get("wa_id"), user_id.get("previous"), user_id.get("current"))
            yield SamePerson(distinct(address_in_webhook(each) for each in told))


def _user_ids(value: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Which user id and phone belong together, by either; `contacts[]` is not always in the order of `messages[]`."""
    pairs = (
        distinct((address_in_webhook(contact.get("wa_id")), address_in_webhook(contact.get("user_id"))))
        for contact in objects(value.get("contacts"))
    )
    return {address: pair for pair in pairs for address in pair}


def _status(status: dict[str, Any], account: str, received_at: datetime.datetime) -> Iterator[Item]:
    state, message_id = _STATES.get(text_of(status.get("status"))), text_of(status.get("id"), MAX_MESSAGE_ID)
    if state is None or not message_id:
        yield Unread(account, "statuses", {"status": text_of(status.get("status"), 40)})
        return
    error = next(iter(objects(status.get("errors"))), {})
    at = moment(status.get("timestamp"), received_at)
    names = ("recipient_id", "recipient_user_id", "recipient_parent_user_id", "parent_recipient_user_id")
    people = distinct(address_in_webhook(status.get(name)) for name in names)
    if status.get("recipient_type") == "group":
        people = ()  # the group; who of it got it is not kept
    code = text_of(error.get("code"), 20)
    details = child(error, "error_data").get("details")
    yield StatusUpdate(
        account=account,
        message_id=message_id,
        state=state,
        at=at,
        callback=text_of(status.get("biz_opaque_callback_data"), 512),
        code=code,
        text=mask_numbers(text_of(details or error.get("message") or error.get("title"))),
        aliases=people,
    )
    if code == BLOCKED_BY_USER and people:
        yield Preference(account, people, True, at, BLOCKED_BY_USER)


def _inbound(
    message: dict[str, Any], account: str, ids: Mapping[str, tuple[str, ...]], received_at: datetime.datetime
) -> Iterator[Item]:
    kind, at = text_of(message.get("type"), 40), moment(message.get("timestamp"), received_at)
    told = ("from", "from_user_id", "from_parent_user_id")
    first = distinct(address_in_webhook(message.get(name)) for name in told)
    if kind == "system":
        # The old and the new number are one person: an opt-out goes with them, the window doesn't.
        system = child(message, "system")
        yield SamePerson(
            distinct((*first, *(address_in_webhook(system.get(name)) for name in ("wa_id", "new_wa_id", "user_id"))))
        )
        return
    if "group_id" in message:
        return  # a group's talk is no answer of a person to a broadcast
    addresses = distinct((*first, *(other for address in first for other in ids.get(address, ()))))
    message_id = text_of(message.get("id"), MAX_MESSAGE_ID)
    if not addresses or not message_id:
        yield Unread(account, "messages", {"type": kind})
        return
    yield Inbound(
        account=account,
        message_id=message_id,
        at=at,
        kind=_KINDS.get(kind, "other"),
        addresses=addresses,
        answers=text_of(
            child(message, "context").get("id") or child(message, "reaction").get("message_id"), MAX_MESSAGE_ID
        ),
        text=_text(message),
    )


def _text(message: Mapping[str, Any]) -> str:
    """What was written, tapped, or put in its place later: the words that a list of opt-out words is compared with."""
    if message.get("type") == "edit":
        message = child(child(message, "edit"), "message")
    interactive = child(message, "interactive")
    taps = (child(interactive, name).get("title") for name in ("button_reply", "list_reply"))
    caption = child(message, text_of(message.get("type"), 40)).get("caption")
    places = (child(message, "text").get("body"), child(message, "button").get("text"), *taps, caption)
    return next((text_of(place, 200) for place in places if isinstance(place, str)), "")


def _call(call: dict[str, Any], account: str, received_at: datetime.datetime) -> Iterator[Item]:
    who = distinct(address_in_webhook(call.get(name)) for name in ("from", "from_user_id"))
    call_id = text_of(call.get("id"), MAX_MESSAGE_ID)
    if who and call_id and call.get("direction") != "BUSINESS_INITIATED":
        yield Inbound(account, call_id, moment(call.get("timestamp"), received_at), "call", who)


def _preference(preference: dict[str, Any], account: str, received_at: datetime.datetime) -> Iterator[Item]:
    who = distinct(address_in_webhook(preference.get(name)) for name in ("wa_id", "user_id"))
    value = preference.get("value")
    if who and value in ("stop", "resume"):
        at = moment(preference.get("timestamp"), received_at)
        yield Preference(account, who, value == "stop", at, "user_preferences")
