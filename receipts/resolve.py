"""Looking up sends whose answer was lost, by the id that was reserved for the message or in the chat's history.

A look-up in the history is a guess unless it can mean nothing else: a row is held for accepted only where exactly one
message of ours of that kind lies between its claim and the end of the wait for its answer, and that message is no other
row's and can be none's: not where another broadcast wrote to the same person then or up to three days before, and no id of
its message is known.
Silence proves nothing: a row of which nothing is found stays unknown.
"""

import datetime
import logging
from dataclasses import dataclass

from ..blocks.sender import Sender
from ..ledger import BroadcastRecord, LedgerStore, Row
from ..ledger.receipts import Period
from ..models import Recipient, SendState
from ..models.errors import AccountError, NotSentError, WhatsAppError
from ..providers.dialect import SentMessage
from ..providers.transport import AsyncClient

logger = logging.getLogger(__name__)

BY_HISTORY, BY_ID = "chat history", "look-up by id"
# The service's clock and ours, and a request that waited for its connection.
_SKEW = datetime.timedelta(seconds=10)
# For how long a service may hold a message before it is in the chat: Chat-API's queue while the phone is away, Wawp's smart
# queue, a request that WAHA took up after we had given up.
_HELD = datetime.timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What became of a broadcast's unknown sends.

    Attributes:
        by_receipts: Resolved by receipts that had come before.
        by_history: Resolved by the chats' history, or by the id that was reserved for the message.
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
            if row.claimed_at is None or row.forgotten:
                continue
            try:
                if row.message_id and client.dialect.reserves_ids and await _by_id(client, row.message_id):
                    found += await _hold(store, record, row, row.message_id, BY_ID)
                    continue
                since, until = row.claimed_at - _SKEW, row.claimed_at + wait
                exchange = client.dialect.sent_messages(Recipient.stored(row.recipient), since, until)
                sent = await client.run(exchange)
            except (AccountError, NotSentError) as failure:
                logger.warning("Unknown sends can't be looked up now: %s", failure)
                break
            except WhatsAppError as failure:
                logger.info("Row %d can't be looked up: %s", row.id, failure)
                continue
            message = the_one(sent, record.kind, known_id=row.message_id if record.kind == "contacts" else "")
            if message:
                near = row.claimed_at - _HELD, until + _SKEW
                # Whether a voice note gets the id that was reserved for it, no document says: another row's may be none.
                guessed = record.kind == "audio" and bool(row.message_id)
                found += await _hold(store, record, row, message.message_id, BY_HISTORY, near=near, guessed=guessed)
    return found


async def _by_id(client: AsyncClient, message_id: str) -> bool:
    """Whether the service has a message of the id that was reserved for a row."""
    try:
        return await client.run(client.dialect.find_message(message_id)) is not None
    except (AccountError, NotSentError):
        raise
    except WhatsAppError:  # the history may still tell
        return False


async def _hold(
    store: LedgerStore,
    record: BroadcastRecord,
    row: Row,
    message_id: str,
    by: str,
    *,
    near: Period | None = None,
    guessed: bool = False,
) -> bool:
    """Hold a row for accepted by a message that was found; whether that was still to be done."""
    resolved = await store.receipts.resolve(record, row.id, message_id, by, near=near, guessed=guessed)
    if resolved:
        logger.info("Row %d was accepted: its message was found (%s).", row.id, by)
    return resolved


def the_one(sent: list[SentMessage], kind: str, *, known_id: str = "") -> SentMessage | None:
    """The one message that can only be the row's: the only one of its kind, and none whose kind nobody knows.

    Args:
        sent: What the history holds of ours within the time.
        kind: `audio` or `contacts`.
        known_id: The id that it surely has; empty where nobody knows.
    """
    like = [message for message in sent if message.kind in (kind, "")]
    found = like[0] if len(like) == 1 and like[0].kind == kind else None
    return found if found and known_id in ("", found.message_id) else None
