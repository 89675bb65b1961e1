"""Looking up sends whose answer was lost, where the service keeps a history of its chats.

A look-up is a guess unless it can mean nothing else: a row is held for accepted only where exactly one message of ours of
that kind lies between its claim and the end of the wait for its answer, and that message is no other row's. Silence
proves nothing: a row of which nothing is found stays unknown.
"""

import datetime
import logging
from dataclasses import dataclass

from ..blocks.sender import Sender
from ..ledger import BroadcastRecord, LedgerStore
from ..models import Recipient, SendState
from ..models.errors import AccountError, NotSentError, WhatsAppError
from ..providers.dialect import SentMessage

logger = logging.getLogger(__name__)

BY_HISTORY = "chat history"
# The service's clock and ours, and a request that waited for its connection.
_SKEW = datetime.timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What became of a broadcast's unknown sends.

    Attributes:
        by_receipts: Resolved by receipts that had come before.
        by_history: Resolved by the chats' history.
        unknown: What remains.
    """

    by_receipts: int = 0
    by_history: int = 0
    unknown: int = 0


async def resolve_unknown(store: LedgerStore, record: BroadcastRecord, sender: Sender) -> Resolved:
    """Resolve the unknown sends of a broadcast as far as possible.

    Args:
        store: The ledger.
        record: The broadcast.
        sender: The account that sent it.

    Returns:
        What was resolved, how, and how many remain.
    """
    before = (await store.counts(record))[SendState.UNKNOWN]
    await store.receipts.match_parked()
    left = (await store.counts(record))[SendState.UNKNOWN]
    found = await _by_history(store, record, sender) if left and sender.dialect().has_history else 0
    return Resolved(before - left, found, left - found)


async def _by_history(store: LedgerStore, record: BroadcastRecord, sender: Sender) -> int:
    wait = datetime.timedelta(seconds=sender.answer_timeout_seconds) + _SKEW
    found = 0
    async with sender.get_async_client(connections=1) as client:
        async for row in store.rows(record, [SendState.UNKNOWN]):
            if row.claimed_at is None:
                continue
            since, until = row.claimed_at - _SKEW, row.claimed_at + wait
            try:
                exchange = client.dialect.sent_messages(Recipient.stored(row.recipient), since, until)
                sent = await client.run(exchange)
            except (AccountError, NotSentError) as failure:
                logger.warning("Unknown sends can't be looked up now: %s", failure)
                break
            except WhatsAppError as failure:
                logger.info("Row %d can't be looked up: %s", row.id, failure)
                continue
            message = the_one(sent, record.kind)
            if message and await store.receipts.resolve(record, row.id, message.message_id, BY_HISTORY):
                found += 1
                logger.info("Row %d was accepted: its message is in the chat's history.", row.id)
    return found


def the_one(sent: list[SentMessage], kind: str) -> SentMessage | None:
    """The one message that can only be the row's: the only one of its kind, and none whose kind nobody knows.

    Args:
        sent: What the history holds of ours within the time.
        kind: `audio` or `contacts`.
    """
    like = [message for message in sent if message.kind in (kind, "")]
    return like[0] if len(like) == 1 and like[0].kind == kind else None
