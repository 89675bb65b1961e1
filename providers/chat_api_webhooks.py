"""Webhooks of the Chat-API dialect: messages and acks, unsigned.

Set up: call `webhook` with the receiver's address, the block's webhook secret as its last part, and turn
`ackNotificationsOn` on. Nothing is signed: the secret in the path and the instance's id are all there is, so the
address must be reached by https only, and no proxy may log it.

Source: https://github.com/Zodt/ChatApi (Webhook)
"""

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..models.message_ids import MAX_MESSAGE_ID, bare_message_id
from ..models.spellings import address_in_webhook
from ..models.states import SendState
from ..models.updates import Inbound, InboundKind, Item, StatusUpdate, Unread
from .webhooks import WebhookDialect, WebhookRefusedError, distinct, moment, objects, text_of

_STATES = {"sent": SendState.SENT, "delivered": SendState.DELIVERED, "viewed": SendState.READ}
_KINDS: dict[str, InboundKind] = {"chat": "text", "ptt": "audio", "audio": "audio", "vcard": "contacts"}


@dataclass(frozen=True, kw_only=True)
class ChatApiWebhooks(WebhookDialect):
    """The dialect's webhooks for one instance."""

    name: ClassVar[str] = "chat-api"

    @property
    def secret_in_path(self) -> bool:
        """The only secret there is."""
        return True

    def verify(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Nothing is signed: only the secret in the path counts."""
        return False

    def items(self, body: Any, received_at: datetime.datetime) -> Iterator[Item]:
        """Read `messages[]` and `ack[]`."""
        if not isinstance(body, dict) or not (isinstance(body.get("instanceId"), str | int)):
            raise WebhookRefusedError("no webhook of this dialect: an object with `instanceId` is expected")
        if str(body["instanceId"]) != self.account:
            raise WebhookRefusedError("the webhook is of another instance than the block's")
        for ack in objects(body.get("ack")):
            yield from self._ack(ack, received_at)
        for message in objects(body.get("messages")):
            yield from self._message(message, received_at)
        if not isinstance(body.get("ack"), list) and not isinstance(body.get("messages"), list):
            yield Unread(self.account, "other", sorted(text_of(key, 40) for key in body)[:20])

    def _ack(self, ack: dict[str, Any], received_at: datetime.datetime) -> Iterator[Item]:
        state, whole = _STATES.get(text_of(ack.get("status"))), text_of(ack.get("id"), MAX_MESSAGE_ID)
        if state is None or not whole:
            yield Unread(self.account, "ack", {"status": text_of(ack.get("status"), 40)})
            return
        if whole.startswith("false_"):
            return
        chat = text_of(ack.get("chatId"), 160)
        aliases = () if chat.endswith("@g.us") else distinct((address_in_webhook(chat),))
        yield StatusUpdate(self.account, bare_message_id(whole), state, received_at, aliases=aliases)

    def _message(self, message: dict[str, Any], received_at: datetime.datetime) -> Iterator[Item]:
        whole, chat = text_of(message.get("id"), MAX_MESSAGE_ID), text_of(message.get("chatId"), 160)
        at = moment(message.get("time"), received_at)
        if not whole:
            yield Unread(self.account, "messages", {"type": text_of(message.get("type"), 40)})
        elif message.get("fromMe") in (True, 1):
            yield StatusUpdate(self.account, bare_message_id(whole), SendState.ACCEPTED, at)
        elif not chat.endswith("@g.us"):
            addresses = distinct(address_in_webhook(message.get(name)) for name in ("chatId", "author"))
            if not addresses:
                yield Unread(self.account, "messages", {"type": text_of(message.get("type"), 40)})
                return
            yield Inbound(
                account=self.account,
                message_id=bare_message_id(whole),
                at=at,
                kind=_KINDS.get(text_of(message.get("type")), "other"),
                addresses=addresses,
                answers=bare_message_id(text_of(message.get("quotedMsgId"), MAX_MESSAGE_ID)),
                text=text_of(message.get("body"), 200) if message.get("type") == "chat" else "",
            )
