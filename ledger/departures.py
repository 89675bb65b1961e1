"""When a sender last sent, for those that wait long between two sends: the next run goes on from there."""

import datetime
import math

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from .database import Database
from .liveness import host_identity, tick
from .schema import departures


async def note(database: Database, sender: str) -> float:
    """Keep that a request of this sender leaves now.

    Returns:
        That moment, by `tick`.
    """
    moment = tick()
    values = {"sender": sender, "at": datetime.datetime.now(datetime.UTC), "host": host_identity(), "tick": moment}
    insert = database.engine.insert(departures).values(values)
    changed = {name: insert.excluded[name] for name in ("at", "host", "tick")}
    upsert = insert.on_conflict_do_update(index_elements=["sender"], set_=changed)
    await database.transact("keep when a request left", lambda connection: connection.execute(upsert))
    return moment


async def last(connection: AsyncConnection, sender: str) -> float:
    """Give the last departure by this host's `tick`; minus infinity where none is known.

    On the host of that departure by the clock that nobody can set. From another host there is only the wall clock: one
    that is behind makes this run wait for longer, up to a whole pause; one that is ahead, for less.
    """
    query = sa.select(departures).where(departures.c.sender == sender)
    entry = (await connection.execute(query)).one_or_none()
    if entry is None:
        return -math.inf
    now = tick()
    if entry.host and entry.host == host_identity() and entry.tick <= now:
        return float(entry.tick)
    ago = (datetime.datetime.now(datetime.UTC) - entry.at).total_seconds()
    return now - max(float(ago), 0.0)
