"""Webhooks of WAHA, and of Wawp, which is built on it.

Set up WAHA: give the session a webhook with the receiver's address, the events `message`, `message.any`, `message.ack`
and `message.reaction`, and an `hmac` key. Wawp signs too, but the name of its header stands in no document: enter the
header that your account shows, or let the secret stand in the path.

Source: https://waha.devlike.pro/docs/how-to/events/
"""

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ..models.message_ids import MAX_MESSAGE_ID, bare_message_id
from ..models.spellings import address_in_webhook
from ..models.states import SendState
from ..models.updates import Inbound, InboundKind, Item, StatusUpdate, Unread
from .webhooks import WebhookDialect, WebhookRefusedError, child, distinct, moment, signed, text_of

_ACKS = {
    -1: SendState.FAILED,
    0: SendState.ACCEPTED,
    1: SendState.SENT,
    2: SendState.DELIVERED,
    3: SendState.READ,
    4: SendState.PLAYED,
}
_MESSAGES = frozenset({"message", "message.any"})
_KEPT_SILENT = frozenset({"message.waiting", "session.status", "presence.update", "message.ack.group"})


@dataclass(frozen=True, kw_only=True)
class WahaWebhooks(WebhookDialect):
    """WAHA's webhooks for one session."""

    name: ClassVar[str] = "waha"

    def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Check `X-Webhook-Hmac`: hex SHA-512 over the raw bytes with the webhook's key."""
        return signed(body, headers.get("x-webhook-hmac", ""), self.secrets, algorithm="sha512")

    def items(self, body: Any, received_at: datetime.datetime) -> Iterator[Item]:
        """Read one event."""
        event = body.get("event") if isinstance(body, dict) else None
        if not isinstance(event, str):
            raise WebhookRefusedError("no event of WAHA: an object with `event` is expected")
        account, payload = self.account_of(body), child(body, "payload")
        at = moment(payload.get("timestamp") or body.get("timestamp"), received_at)
        if event == "message.ack":
            # An ack has no time of its own, and a WEBJS ack carries the whole message with the time it was written.
            yield from _ack(payload, account, moment(body.get("timestamp"), received_at))
        elif event in _MESSAGES and payload.get("fromMe") is True:
            written = payload if isinstance(payload.get("ack"), int) else {**payload, "ack": 0}
            yield from _ack(written, account, at)
        elif event in _MESSAGES or event in ("message.reaction", "message.edited", "message.revoked"):
            yield from _inbound(event, payload, account, at)
        elif event not in _KEPT_SILENT:
            yield Unread(account, event[:100], None)  # its content may be anybody's chat

    def account_of(self, body: Mapping[str, Any]) -> str:
        """The session that the event is of: a server's global webhook tells those of all."""
        return text_of(body.get("session"), 100) or self.account


@dataclass(frozen=True, kw_only=True)
class WawpWebhooks(WahaWebhooks):
    """Wawp's webhooks for one instance.

    Attributes:
        header: Name of the header that holds the signature; empty where the secret stands in the path.
        algorithm: Its hash.
    """

    name: ClassVar[str] = "wawp"

    header: str = ""
    algorithm: Literal["sha256", "sha512"] = "sha256"

    @property
    def secret_in_path(self) -> bool:
        """Where no header is named, the secret stands in the path."""
        return not self.header

    def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Check the header of the block's setting: a hex HMAC over the raw bytes."""
        given = headers.get(self.header.lower(), "") if self.header else ""
        prefix = f"{self.algorithm}=" if given.startswith(f"{self.algorithm}=") else ""
        return signed(body, given, self.secrets, algorithm=self.algorithm, prefix=prefix)

    def account_of(self, body: Mapping[str, Any]) -> str:
        """The instance of the block: what Wawp calls a session in its events is not the instance's id."""
        return self.account


def _ack(payload: Mapping[str, Any], account: str, at: datetime.datetime) -> Iterator[Item]:
    whole, ack = text_of(payload.get("id"), MAX_MESSAGE_ID), payload.get("ack")
    # GOWS also tells what we read of others, elsewhere.
    if payload.get("fromMe") is not True and not whole.startswith("true_"):
        return
    state = _ACKS.get(ack) if isinstance(ack, int) else None
    if state is None or not whole:
        yield Unread(account, "message.ack", {"ack": text_of(ack, 20)})
        return
    chat = whole.split("_")[1] if whole.count("_") > 1 else ""
    failed = state is SendState.FAILED
    yield StatusUpdate(
        account=account,
        message_id=bare_message_id(whole),
        state=state,
        at=at,
        code="-1" if failed else "",
        text="The phone's WhatsApp reports an error for this message." if failed else "",
        aliases=() if chat.endswith(("@g.us", "@newsletter")) else distinct((address_in_webhook(chat),)),
    )


def _inbound(event: str, payload: Mapping[str, Any], account: str, at: datetime.datetime) -> Iterator[Item]:
    chat = text_of(payload.get("from"), 160)
    if payload.get("fromMe") is True or chat.endswith(("@g.us", "@newsletter", "@broadcast")):
        return
    data = child(payload, "_data")
    other = (child(data, "key").get("remoteJidAlt"), child(data, "Info").get("SenderAlt"))
    addresses = distinct(address_in_webhook(each) for each in (chat, *other))
    whole = text_of(payload.get("id"), MAX_MESSAGE_ID)
    if not addresses or not whole:
        yield Unread(account, event, None)
        return
    reaction = child(payload, "reaction")
    answers = text_of(child(payload, "replyTo").get("id") or reaction.get("messageId"), MAX_MESSAGE_ID)
    yield Inbound(
        account=account,
        message_id=bare_message_id(whole),
        at=at,
        kind=_kind(event, payload),
        addresses=addresses,
        answers=bare_message_id(answers),
        text="" if reaction else text_of(payload.get("body"), 200),
    )


def _kind(event: str, payload: Mapping[str, Any]) -> InboundKind:
    named: dict[str, InboundKind] = {
        "message.reaction": "reaction",
        "message.edited": "edit",
        "message.revoked": "revoke",
    }
    if event in named:
        return named[event]
    media = text_of(child(payload, "media").get("mimetype"), 100)
    if media.startswith("audio/"):
        return "audio"
    if payload.get("vCards"):
        return "contacts"
    return "other" if payload.get("hasMedia") else "text"
