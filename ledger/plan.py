"""Writing a list into the ledger: who is to get the message, and which lines were not planned."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.recipient import Recipient
from .database import Database
from .records import BroadcastRecord, RemovedRow, storable
from .schema import removed

_NAME_CHARACTERS = 500
_VALUE_CHARACTERS = 200


async def queue(database: Database, record: BroadcastRecord, rows: Sequence[Recipient]) -> int:
    """Queue one chunk of recipients; see `LedgerStore.plan`."""
    cells = [(row.to, storable(row.name, _NAME_CHARACTERS), storable(row.reply_to, _NAME_CHARACTERS)) for row in rows]

    async def work(connection: AsyncConnection) -> int:
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
            "reason": storable(row.reason, _NAME_CHARACTERS),
        }
        for row in rows
    }
    insert = database.engine.insert(removed)
    upsert = insert.on_conflict_do_update(
        index_elements=["broadcast", "line"],
        set_={"value": insert.excluded.value, "reason": insert.excluded.reason},
    )
    await database.transact("keep removed lines", lambda connection: connection.execute(upsert, list(values.values())))
