"""Delivery statuses: what a service says of a message after it took it."""

import datetime
import re

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import LedgerError
from ..models.states import SendState
from .database import Database
from .schema import broadcasts, sends

_CALLBACK = re.compile(r"(?P<broadcast>[0-9a-f]{32}):(?P<row>\d{1,18})", re.ASCII)
# Before any of these, nobody knew; a status is the service's own word that it had the message.
_IN_DOUBT = (SendState.SENDING, SendState.UNKNOWN)
_ORDER = (SendState.ACCEPTED, SendState.SENT, SendState.DELIVERED, SendState.READ, SendState.PLAYED)
_BEFORE = {state: (*_IN_DOUBT, *_ORDER[:place]) for place, state in enumerate(_ORDER)}
_BEFORE[SendState.FAILED] = (*_IN_DOUBT, SendState.ACCEPTED, SendState.SENT)


async def record(
    database: Database,
    reference: str,
    state: SendState,
    *,
    message_id: str = "",
    status_text: str = "",
    error_code: str = "",
    error_text: str = "",
) -> bool:
    """Move the row that a status is about forward, never back; see `LedgerStore.record_status`."""
    if state not in _BEFORE:
        raise LedgerError(f"{state} is not a delivery status: accepted, sent, delivered, read, played or failed")
    # Queued again after it was held as unknown: the status comes in time to save a second message.
    queued_again = sa.and_(sends.c.state == SendState.QUEUED, sends.c.attempts > 0)
    change = sa.update(sends).where(sa.or_(sends.c.state.in_([s.value for s in _BEFORE[state]]), queued_again))
    if callback := _CALLBACK.fullmatch(reference):
        number = sa.select(broadcasts.c.number).where(broadcasts.c.id == callback["broadcast"]).scalar_subquery()
        change = change.where(sends.c.id == int(callback["row"]), sends.c.broadcast == number)
    else:
        change = change.where(sends.c.message_id == reference, sends.c.message_id != "")
    values: dict[str, object] = {
        "state": state,
        "owner": None,
        "settled_at": datetime.datetime.now(datetime.UTC),
        "error_code": error_code,
        "error_text": error_text,
        "error_kind": "",
    }
    values |= {name: text for name, text in (("message_id", message_id), ("status_text", status_text)) if text}

    async def work(connection: AsyncConnection) -> bool:
        return (await connection.execute(change.values(**values))).rowcount > 0

    return await database.transact("record a delivery status", work)
