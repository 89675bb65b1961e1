"""What other runs do and left behind: which one sends now, sends whose process is gone, how often a broadcast was resumed."""

import asyncio
import datetime
from collections import Counter
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.states import SendState
from .database import Database
from .liveness import host_identity, process_exists
from .records import BroadcastRecord, Row
from .rows import as_row
from .schema import leases, sends

_OPEN = (SendState.QUEUED.value, SendState.SENDING.value)
# More than a run may be ahead of what Prefect's server has recorded, which is what a kill can leave untold.
_UNTOLD_AT_MOST = 4_000
# More than two heartbeats.
_LOOK_AGAIN_SECONDS = 2.5


@dataclass(frozen=True, slots=True)
class RunPart:
    """One run's part in a broadcast.

    Attributes:
        joined_at: When it began to send.
        left_at: When it ended, or was found to be gone; None while it sends.
        unknown: Sends that are unknown because it was gone before their answer came.
    """

    joined_at: datetime.datetime
    left_at: datetime.datetime | None
    unknown: int


async def rows_of_ended_runs(database: Database, record: BroadcastRecord) -> list[Row]:
    """Give the rows that were settled last by runs that are no more, each with the id of a task run of its own."""
    settled = (
        sa.select(sends)
        .where(sends.c.broadcast == record.number, sends.c.task_run_id != "", sends.c.state.not_in(_OPEN))
        .order_by(sends.c.settled_at.desc())
        .limit(_UNTOLD_AT_MOST)
    )
    living = sa.select(leases.c.key).where(leases.c.broadcast == record.number, leases.c.left_at.is_(None))

    async def work(connection: AsyncConnection) -> list[Row]:
        still_there = set((await connection.execute(living)).scalars())
        entries = (await connection.execute(settled)).all()
        shared = Counter(entry.task_run_id for entry in entries)  # of many rows: a batch's, which Prefect's engine told
        return [
            as_row(entry, record)
            for entry in entries
            if shared[entry.task_run_id] == 1 and _lease_key(entry.claim) not in still_there
        ]

    return await database.read("look for sends of runs that are gone", work)


async def runs(database: Database, record: BroadcastRecord) -> list[RunPart]:
    """Give the runs that sent a broadcast, the first one first, with what each left unknown."""
    joined = (
        sa.select(leases.c.key, leases.c.joined_at, leases.c.left_at)
        .where(leases.c.broadcast == record.number)
        .order_by(leases.c.joined_at, leases.c.id)
    )
    unknown = sa.select(sends.c.claim).where(
        sends.c.broadcast == record.number, sends.c.state == SendState.UNKNOWN.value
    )

    async def work(connection: AsyncConnection) -> list[RunPart]:
        left = Counter(_lease_key(claim) for claim in (await connection.execute(unknown)).scalars())
        return [RunPart(entry.joined_at, entry.left_at, left[entry.key]) for entry in await connection.execute(joined)]

    return await database.read("list the runs of a broadcast", work)


async def is_being_sent(database: Database, record: BroadcastRecord) -> bool:
    """Whether a run is sending the broadcast: its process lives on this host, or its heart beats on another."""
    here = host_identity()
    query = sa.select(leases.c.key, leases.c.host, leases.c.process, leases.c.beat).where(
        leases.c.broadcast == record.number, leases.c.left_at.is_(None)
    )

    async def work(connection: AsyncConnection) -> dict[str, tuple[str, str, int]]:
        return {entry.key: (entry.host, entry.process, entry.beat) for entry in await connection.execute(query)}

    before = await database.read("look for runs that send", work)
    elsewhere = {}
    for key, (host, process, beat) in before.items():
        exists = process_exists(process) if here and host == here and process else None
        if exists:
            return True
        if exists is None:
            elsewhere[key] = beat
    if not elsewhere:
        return False
    await asyncio.sleep(_LOOK_AGAIN_SECONDS)
    after = await database.read("look for runs that send", work)
    return any(after[key][2] != beat for key, beat in elsewhere.items() if key in after)


def _lease_key(claim: str) -> str:
    """The lease's key in the token of a claim."""
    return claim.rpartition(".")[0]
