"""Writing a list into the ledger: who is to get the message, and which lines were not planned."""

import datetime
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import BroadcastMismatchError
from ..models.recipient import Recipient
from .broadcasts import purged_text
from .database import Database
from .records import NAME_CHARACTERS, BroadcastRecord, RemovedRow, storable
from .schema import broadcasts, removed

_VALUE_CHARACTERS = 200


async def queue(database: Database, record: BroadcastRecord, rows: Sequence[Recipient], lines: Sequence[int]) -> int:
    """Queue one chunk of recipients; see `LedgerStore.plan`."""
    vault = database.vault
    cells = [
        (
            vault.seal(row.to, matched=True),
            vault.hash(row.account_key),
            vault.seal(storable(row.name, NAME_CHARACTERS), matched=False),
            vault.seal(storable(row.reply_to, NAME_CHARACTERS), matched=False),
            line,
        )
        for row, line in zip(rows, lines or [0] * len(rows), strict=True)
    ]
    # Locked, so that no purge can take the rows away between this look and the new rows: who had the message got it again.
    purged = sa.select(broadcasts.c.purged_at).where(broadcasts.c.number == record.number).with_for_update(read=True)

    async def work(connection: AsyncConnection) -> int:
        if (moment := (await connection.execute(purged)).scalar_one()) is not None:
            raise BroadcastMismatchError(purged_text(record.name, moment))
        return await database.engine.queue_recipients(connection, record.number, cells)

    return await database.transact("queue recipients", work)


async def keep_removed(database: Database, record: BroadcastRecord, rows: Sequence[RemovedRow]) -> None:
    """Keep lines that were not planned; see `LedgerStore.remove`."""
    # One statement can't name a line twice on PostgreSQL; the last word counts.
    values = {
        row.line: {
            "broadcast": record.number,
            "line": row.line,
            "value": storable(row.value, _VALUE_CHARACTERS),
            "reason": storable(row.reason, NAME_CHARACTERS),
            "plan": record.plan,
        }
        for row in rows
    }
    insert = database.engine.insert(removed)
    upsert = insert.on_conflict_do_update(
        index_elements=["broadcast", "line"],
        set_={name: insert.excluded[name] for name in ("value", "reason", "plan")},
        where=removed.c.plan <= insert.excluded.plan,  # another run has begun a later list
    )
    await database.transact("keep removed lines", lambda connection: connection.execute(upsert, list(values.values())))


async def begin(database: Database, record: BroadcastRecord) -> int:
    """Begin another list: from now on the plan is incomplete; see `LedgerStore.begin_plan`."""
    this = broadcasts.c.number == record.number
    begun = sa.update(broadcasts).where(this).values(plan=broadcasts.c.plan + 1, planned_at=None)
    earlier_lines = sa.delete(removed).where(removed.c.broadcast == record.number)

    async def work(connection: AsyncConnection) -> int:
        number = (await connection.execute(begun.returning(broadcasts.c.plan))).scalar_one()
        await connection.execute(earlier_lines)
        return int(number)

    return await database.transact("begin the plan", work)


async def finish(database: Database, record: BroadcastRecord, removed_count: int) -> None:
    """Say that the list was read to its end, unless another run has begun a later one since."""
    this = (broadcasts.c.number == record.number, broadcasts.c.plan == record.plan)
    done = {"planned_at": datetime.datetime.now(datetime.UTC), "removed": removed_count}
    finished = sa.update(broadcasts).where(*this).values(**done)
    await database.transact("mark the plan", lambda connection: connection.execute(finished))
