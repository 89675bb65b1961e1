"""A broadcast's rows: counted, read a page at a time, looked up and queued again."""

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import NO_MORE_MESSAGES, ErrorKind, LedgerError
from ..models.masking import FORGOTTEN
from ..models.recipient import Recipient
from ..models.report import outcome_counts
from ..models.states import ATTENTION_STATES, SendState
from .database import Database
from .records import BroadcastRecord, RemovedRow, Row
from .schema import purged_counts, removed, sends


async def count(database: Database, record: BroadcastRecord) -> dict[SendState, int]:
    """Count rows by state; every state is there."""
    kept = sa.select(purged_counts.c.state, purged_counts.c.rows).where(purged_counts.c.broadcast == record.number)
    query = (
        sa.select(sends.c.state, sa.func.count())
        .where(sends.c.broadcast == record.number)
        .group_by(sends.c.state)
        .union_all(kept)
    )

    async def work(connection: AsyncConnection) -> dict[SendState, int]:
        found = {SendState(state): number for state, number in await connection.execute(query)}
        return {state: found.get(state, 0) for state in SendState}

    return await database.read("count rows", work)


async def count_outcomes(database: Database, record: BroadcastRecord) -> dict[str, int]:
    """Count rows as a report does; see `LedgerStore.outcome_counts`."""
    late, out = (
        sa.func.sum(sa.case((sends.c.error_kind.in_([kind.value for kind in kinds]), 1), else_=0))
        for kinds in ((ErrorKind.FAILED_LATER,), NO_MORE_MESSAGES)
    )
    query = (
        sa.select(sends.c.state, sa.func.count(), late, out)
        .where(sends.c.broadcast == record.number)
        .group_by(sends.c.state)
        .union_all(
            sa.select(purged_counts.c.state, purged_counts.c.rows, sa.literal(0), sa.literal(0)).where(
                purged_counts.c.broadcast == record.number
            )
        )
    )

    async def work(connection: AsyncConnection) -> dict[str, int]:
        found = {SendState(entry[0]): tuple(entry[1:]) for entry in await connection.execute(query)}
        none = (0, 0, 0)
        return {
            **outcome_counts({state: number for state, (number, *_) in found.items()}),
            "failed_late": found.get(SendState.FAILED, none)[1],
            "opted_out": found.get(SendState.SKIPPED, none)[2],
        }

    return await database.read("count rows", work)


async def read(
    database: Database, record: BroadcastRecord, states: Collection[SendState] | None, batch: int
) -> AsyncIterator[Row]:
    """Go through rows in the order of the list; see `LedgerStore.rows`."""
    query = sa.select(sends).where(sends.c.broadcast == record.number).order_by(sends.c.id).limit(batch)
    if states is not None:
        query = query.where(sends.c.state.in_([state.value for state in states]))
    last = 0
    while True:
        page = await _page(database, query.where(sends.c.id > last))
        for entry in page:
            yield as_row(entry, record)
        if len(page) < batch:
            return
        last = page[-1].id


async def read_removed(database: Database, record: BroadcastRecord, batch: int) -> AsyncIterator[RemovedRow]:
    """Go through the lines that were not planned, by line number."""
    query = sa.select(removed).where(removed.c.broadcast == record.number).order_by(removed.c.line).limit(batch)
    last: int | None = None
    while True:
        page = await _page(database, query if last is None else query.where(removed.c.line > last))
        for entry in page:
            yield RemovedRow(entry.line, entry.value, entry.reason)
        if len(page) < batch:
            return
        last = page[-1].line


async def find(database: Database, record: BroadcastRecord, to: Recipient) -> Row:
    """Look up a planned recipient's row, by whichever of their number's spellings it was planned.

    Raises:
        LedgerError: They are not on this broadcast's list.
    """
    query = sa.select(sends).where(sends.c.broadcast == record.number, sends.c.account_key == to.account_key)
    page = await _page(database, query)
    if not page:
        raise LedgerError(f"{to.masked} is not on the list of broadcast {record.name!r}")
    return as_row(page[0], record)


async def requeue(database: Database, record: BroadcastRecord, state: SendState) -> int:
    """Queue rows again; see `LedgerStore.requeue`."""
    if state not in ATTENTION_STATES:
        raise LedgerError(f"rows that are {state} can't be queued again")
    change = (
        sa.update(sends)
        .where(sends.c.broadcast == record.number, sends.c.state == state, sends.c.forgotten_at.is_(None))
        .values(
            state=SendState.QUEUED,
            owner=None,
            message_id="",
            bare_id="",
            resolved_by="",
            sent_at=None,
            failed_at=None,
            status_text="",
            error_code="",
            error_text="",
            error_kind="",
            settled_at=None,
        )
    )

    async def work(connection: AsyncConnection) -> int:
        return (await connection.execute(change)).rowcount

    return await database.transact("queue rows again", work)


def as_row(entry: Any, record: BroadcastRecord) -> Row:
    """Make a row of what `select(sends)` gave."""
    return Row(
        id=entry.id,
        broadcast_id=record.id,
        recipient=FORGOTTEN if entry.forgotten_at else entry.recipient,
        name=entry.name,
        reply_to=entry.reply_to,
        state=SendState(entry.state),
        attempts=entry.attempts,
        message_id=entry.message_id,
        status_text=entry.status_text,
        error_code=entry.error_code,
        error_text=entry.error_text,
        error_kind=entry.error_kind,
        task_run_id=entry.task_run_id,
        provider=record.provider,
        account=record.account,
        claimed_at=entry.claimed_at,
        settled_at=entry.settled_at,
        resolved_by=entry.resolved_by,
        sent_at=entry.sent_at,
        failed_at=entry.failed_at,
        delivered_at=entry.delivered_at,
        read_at=entry.read_at,
        played_at=entry.played_at,
        line=entry.line,
        broadcast=record.name,
    )


async def _page(database: Database, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
    async def work(connection: AsyncConnection) -> Sequence[sa.Row[Any]]:
        page: Sequence[sa.Row[Any]] = (await connection.execute(query)).all()
        return page

    return await database.read("read rows", work)
