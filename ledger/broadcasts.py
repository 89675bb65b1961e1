"""Broadcasts: begun under a name that stands for one content and one account, looked up, and listed."""

import dataclasses
import datetime
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import BroadcastMismatchError
from ..models.masking import mask
from ..models.states import SendState
from .database import Database
from .records import BroadcastRecord, BroadcastSummary
from .schema import broadcasts, purged_counts, sends

_FIELDS = (
    "sender",
    "phone",
    "id",
    "name",
    "kind",
    "provider",
    "account",
    "content",
    "content_label",
    "source",
    "created_at",
    "scheduled_at",
)


# What the first run that knows it adds to a broadcast, and every later one has to have too.
_LEARNED = ("sender", "phone")


async def begin(database: Database, asked: BroadcastRecord) -> BroadcastRecord:
    """Begin a broadcast, or go on with the one of that name; see `LedgerStore.start_broadcast`.

    Raises:
        BroadcastMismatchError: The name stands for something else, or its rows were purged.
    """
    values = {field: getattr(asked, field) for field in _FIELDS}
    insert = database.engine.insert(broadcasts).values(values).on_conflict_do_nothing(index_elements=["name"])

    async def work(connection: AsyncConnection) -> BroadcastRecord:
        found = await _find(connection, asked.name)
        if found is None:
            await connection.execute(insert)
            found = await _find(connection, asked.name)
        assert found is not None
        learned: dict[str, Any] = {
            name: value
            for name in ("scheduled_at", "source")
            if not getattr(found, name) and (value := getattr(asked, name))
        }
        learned |= {name: value for name in _LEARNED if not getattr(found, name) and (value := getattr(asked, name))}
        if learned and not _differ(found, asked):
            await connection.execute(sa.update(broadcasts).where(broadcasts.c.number == found.number).values(**learned))
            found = dataclasses.replace(found, **learned)
        return found

    found = await database.transact("begin a broadcast", work)
    if found.purged_at is not None:
        raise BroadcastMismatchError(purged_text(found.name, found.purged_at))
    if _differ(found, asked):
        raise BroadcastMismatchError(
            f"broadcast {found.name!r} already stands for {_told(found)}, so it can't be used for {_told(asked)}:"
            " give this one another name"
        )
    return found


async def find(database: Database, name: str) -> BroadcastRecord | None:
    """Look a broadcast up by its name."""
    return await database.read("look up a broadcast", lambda connection: _find(connection, name))


async def find_numbered(database: Database, numbers: Collection[int]) -> list[BroadcastRecord]:
    """Look broadcasts up by their numbers, the newest first."""
    query = sa.select(broadcasts).where(broadcasts.c.number.in_(sorted(numbers))).order_by(broadcasts.c.number.desc())

    async def work(connection: AsyncConnection) -> list[BroadcastRecord]:
        return [as_broadcast(entry) for entry in await connection.execute(query)]

    return await database.read("look up broadcasts", work)


async def list_all(database: Database) -> list[BroadcastSummary]:
    """List all broadcasts with their counts, the newest first."""
    listing = sa.select(broadcasts).order_by(broadcasts.c.number.desc())
    counting = (
        sa.select(sends.c.broadcast, sends.c.state, sa.func.count())
        .group_by(sends.c.broadcast, sends.c.state)
        .union_all(sa.select(purged_counts.c.broadcast, purged_counts.c.state, purged_counts.c.rows))
    )

    async def work(connection: AsyncConnection) -> list[BroadcastSummary]:
        records = [as_broadcast(entry) for entry in await connection.execute(listing)]
        counts: dict[int, dict[SendState, int]] = {record.number: {} for record in records}
        for number, state, count in await connection.execute(counting):
            counts.setdefault(number, {})[SendState(state)] = count
        return [BroadcastSummary(record, counts[record.number]) for record in records]

    return await database.read("list the broadcasts", work)


def purged_text(name: str, purged_at: datetime.datetime) -> str:
    """Say why a purged broadcast is not run again."""
    return (
        f"broadcast {name!r} was purged on {purged_at:%d %b %Y}: the ledger no longer knows who got it, so nobody is sent"
        " it again; give this one another name"
    )


def as_broadcast(entry: Any) -> BroadcastRecord:
    """Make a record of what `select(broadcasts)` gave."""
    return BroadcastRecord(
        id=entry.id,
        name=entry.name,
        kind=entry.kind,
        provider=entry.provider,
        account=entry.account,
        content=entry.content,
        content_label=entry.content_label,
        created_at=entry.created_at,
        planned_at=entry.planned_at,
        removed=entry.removed,
        scheduled_at=entry.scheduled_at,
        plan=entry.plan,
        sender=entry.sender,
        phone=entry.phone,
        purged_at=entry.purged_at,
        source=entry.source,
        number=entry.number,
    )


async def _find(connection: AsyncConnection, name: str) -> BroadcastRecord | None:
    entry = (await connection.execute(sa.select(broadcasts).where(broadcasts.c.name == name))).one_or_none()
    return None if entry is None else as_broadcast(entry)


def _differ(found: BroadcastRecord, asked: BroadcastRecord) -> bool:
    known = ((getattr(found, name), getattr(asked, name)) for name in _LEARNED)
    return _promise(found) != _promise(asked) or any(has and wants and has != wants for has, wants in known)


def _promise(record: BroadcastRecord) -> tuple[str, str, str, str]:
    return record.kind, record.provider, record.account, record.content


def _told(record: BroadcastRecord) -> str:
    label = f" {record.content_label}" if record.content_label else ""
    sender = record.sender or f"{record.provider}:{record.account}"
    phone = f" ({mask(record.phone)})" if record.phone else ""
    return f"{record.kind}{label} (content {record.content[:6]}) from {sender}{phone}"
