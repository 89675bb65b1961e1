"""Writing a list into the book: who is to get the message, and which lines were not planned."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from ..models.recipient import Recipient
from .database import Database
from .records import BroadcastRecord, RemovedRow, storable
from .schema import removed

_PLAN_SQLITE = (
    "INSERT INTO whatsapp_sends (broadcast, recipient, name, reply_to) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (broadcast, recipient) DO NOTHING"
)
_PLAN_POSTGRES = sa.text(
    "INSERT INTO whatsapp_sends (broadcast, recipient, name, reply_to)"
    " SELECT :broadcast, recipient, name, reply_to FROM unnest(:recipients, :names, :replies)"
    " WITH ORDINALITY AS v(recipient, name, reply_to, place) ORDER BY place"
    " ON CONFLICT (broadcast, recipient) DO NOTHING"
).bindparams(
    sa.bindparam("broadcast", type_=sa.BigInteger),
    *(sa.bindparam(name, type_=postgresql.ARRAY(sa.Text)) for name in ("recipients", "names", "replies")),
)
_NAME_CHARACTERS = 500
_VALUE_CHARACTERS = 200


async def queue(database: Database, record: BroadcastRecord, rows: Sequence[Recipient]) -> int:
    """Queue one chunk of recipients; see `LedgerStore.plan`."""
    cells = [(row.to, storable(row.name, _NAME_CHARACTERS), storable(row.reply_to, _NAME_CHARACTERS)) for row in rows]

    async def attempt() -> int:
        async with database.writing() as connection:
            if database.is_sqlite:
                result = await connection.exec_driver_sql(_PLAN_SQLITE, [(record.number, *cell) for cell in cells])
            else:
                recipients, names, replies = (list(column) for column in zip(*cells, strict=True))
                values = {"broadcast": record.number, "recipients": recipients, "names": names, "replies": replies}
                result = await connection.execute(_PLAN_POSTGRES, values)
            return int(result.rowcount)

    return await database.patiently("queue recipients", attempt)


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
    insert = (sqlite if database.is_sqlite else postgresql).insert(removed)
    upsert = insert.on_conflict_do_update(
        index_elements=["broadcast", "line"],
        set_={"value": insert.excluded.value, "reason": insert.excluded.reason},
    )

    async def attempt() -> None:
        async with database.writing() as connection:
            await connection.execute(upsert, list(values.values()))

    await database.patiently("keep removed lines", attempt)
