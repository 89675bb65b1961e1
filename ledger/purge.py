"""Purging: of what is older than a limit, only the counts are kept.

A purged broadcast can't be run again: nobody would know any more who got it. That is refused where it begins, and where its
rows are written.
"""

import datetime
from dataclasses import dataclass, fields, replace
from functools import partial

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from . import history
from .database import Database
from .identities import lock_people
from .schema import (
    addresses,
    broadcasts,
    conversations,
    leases,
    media,
    people,
    purged_counts,
    receipts,
    removed,
    replies,
    sends,
    unread,
)

# Approvals wait for seven days, links live for seven, and services post webhooks again for seven.
SHORTEST = datetime.timedelta(days=8)
_TIMES = ("claimed_at", "settled_at", "sent_at", "failed_at", "delivered_at", "read_at", "played_at", "forgotten_at")
_WISHES = ("said_stop_at", "said_start_at", "native_stop_at", "native_start_at")


@dataclass(frozen=True, slots=True)
class Purged:
    """What was purged.

    Attributes:
        broadcasts: Broadcasts of which only counts are kept.
        rows: Their rows.
        removed_lines: Lines of their lists that were not planned.
        receipts: What services told of messages.
        replies: What people wrote, of which the ledger keeps the kind and the time.
        people: People of whom nothing else was known than that they wrote.
        media_ids: Ids of uploads that have expired.
    """

    broadcasts: int = 0
    rows: int = 0
    removed_lines: int = 0
    receipts: int = 0
    replies: int = 0
    people: int = 0
    media_ids: int = 0

    def __add__(self, other: "Purged") -> "Purged":
        return Purged(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


async def purge(database: Database, before: datetime.datetime, actor: history.Actor, *, dry_run: bool) -> Purged:
    """Purge what is older; see `LedgerStore.purge`."""

    async def all_of_it(connection: AsyncConnection) -> Purged:
        done = Purged()
        for number in await _old(connection, before):
            done += await _purge_one(connection, number, before)
        return done + await _purge_rest(connection, before)

    if dry_run:
        return await database.rehearse("be purged", all_of_it)
    total = Purged()
    # A transaction each: the rows of one are all gone or all there, and nobody waits for the whole of it.
    for number in await database.read("look for old broadcasts", lambda connection: _old(connection, before)):
        total += await database.transact("be purged", partial(_purge_one, number=number, before=before))
    total += await database.transact("be purged", partial(_purge_rest, before=before))
    detail = f"older than {before:%Y-%m-%d}: {total.broadcasts:,} broadcasts, {total.rows:,} rows"
    await history.add(database, history.Action.PURGED, actor, detail=detail)
    return total


async def _old(connection: AsyncConnection, before: datetime.datetime) -> list[int]:
    query = sa.select(broadcasts.c.number).where(*_is_old(before)).order_by(broadcasts.c.number)
    return list((await connection.execute(query)).scalars())


def _is_old(before: datetime.datetime) -> list[sa.ColumnElement[bool]]:
    """Whether nothing happened to a broadcast since: no list was read, no run took part, no row moved."""
    number = broadcasts.c.number
    moved = sa.or_(*(sends.c[name] >= before for name in _TIMES))
    joined = sa.or_(leases.c.joined_at >= before, leases.c.left_at >= before)
    return [
        broadcasts.c.purged_at.is_(None),
        broadcasts.c.created_at < before,
        sa.func.coalesce(broadcasts.c.planned_at, broadcasts.c.created_at) < before,
        ~sa.exists().where(sends.c.broadcast == number, moved),
        ~sa.exists().where(leases.c.broadcast == number, joined),
    ]


async def _purge_one(connection: AsyncConnection, number: int, before: datetime.datetime) -> Purged:
    this = sa.select(broadcasts.c.number).where(broadcasts.c.number == number)
    await connection.execute(this.with_for_update())  # a run that writes its list now is waited for, and then seen
    if (await connection.execute(this.where(*_is_old(before)))).first() is None:
        return Purged()
    here = sends.c.broadcast == number
    counting = (
        sa.select(sa.literal(number, sends.c.broadcast.type), sends.c.state, sa.func.count())
        .where(here)
        .group_by(sends.c.state)
    )
    await connection.execute(sa.insert(purged_counts).from_select(["broadcast", "state", "rows"], counting))
    rows = sa.select(sends.c.id).where(here)
    done = Purged(
        broadcasts=1,
        receipts=await _delete(connection, receipts, receipts.c.send.in_(rows)),
        replies=await _delete(connection, replies, replies.c.send.in_(rows)),
        removed_lines=await _delete(connection, removed, removed.c.broadcast == number),
    )
    done = replace(done, rows=await _delete(connection, sends, here))
    moment = datetime.datetime.now(datetime.UTC)
    await connection.execute(sa.update(broadcasts).where(broadcasts.c.number == number).values(purged_at=moment))
    return done


async def _purge_rest(connection: AsyncConnection, before: datetime.datetime) -> Purged:
    """What belongs to no broadcast: webhooks, and people who wrote once and have not opted out."""
    await lock_people(connection)
    done = Purged(
        receipts=await _delete(connection, receipts, receipts.c.received_at < before)
        + await _delete(connection, unread, unread.c.received_at < before),
        replies=await _delete(connection, replies, replies.c.received_at < before),
        media_ids=await _delete(connection, media, media.c.expires_at < before),
    )
    await _delete(connection, conversations, conversations.c.last_inbound_at < before)
    gone = (
        people.c.opted_out.is_(False),
        *(sa.or_(people.c[name].is_(None), people.c[name] < before) for name in _WISHES),
        ~sa.exists().where(conversations.c.person == people.c.id),
        ~sa.exists().where(replies.c.person == people.c.id),
    )
    ids = sa.select(people.c.id).where(*gone)
    await _delete(connection, addresses, addresses.c.person.in_(ids))
    return replace(done, people=await _delete(connection, people, *gone))


async def _delete(connection: AsyncConnection, table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
    return (await connection.execute(sa.delete(table).where(*where))).rowcount
