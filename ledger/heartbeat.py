"""One run's heartbeat in the ledger: it is seen to live, sees to those that don't, and gets its part of the pace."""

import asyncio
import datetime
import logging
import math
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import ErrorKind, LedgerAwayError
from ..models.states import SendState
from . import departures
from .database import Database
from .failures import cause
from .liveness import LeaseRecord, Watch, enter, host_identity, leave, process_identity, tick
from .rate_shares import Share
from .records import BroadcastRecord
from .schema import lease_counts, leases, sends

logger = logging.getLogger(__name__)

_GONE = "its run was lost before"
_ENDED = "its run ended before"


class Heartbeat:
    """The life of one lease in the ledger, from joining a broadcast to leaving it.

    Args:
        database: The ledger's.
        record: The broadcast.
        flow_run_id: Prefect's run.
        sender: Whose pace is shared.
        messages_per_second: What the sender may send; 0 for no limit.
        lapse_seconds: After how long without a heartbeat a lease on another host is gone.
        beat_seconds: Between heartbeats.
        remembers_departures: Whether each departure is kept in the ledger: where a sender waits long between two.
        after_beat: Called after each heartbeat, outside its transaction.

    Attributes:
        lease_id: Its number in the ledger; another one after it was taken for dead and joined anew.
        active_runs: How many runs of this sender or this broadcast live, this one among them.
        last_departure: When a request last left, by `liveness.tick`.
        departed: How many have left, or somewhat more.
        ended: Whether it has left.
        beating: Held during a heartbeat.
    """

    def __init__(
        self,
        database: Database,
        record: BroadcastRecord,
        *,
        flow_run_id: str,
        sender: str,
        messages_per_second: float,
        lapse_seconds: float,
        beat_seconds: float,
        remembers_departures: bool,
        after_beat: Callable[[], Awaitable[None]],
    ) -> None:
        self.lease_id, self.active_runs, self.ended = 0, 1, False
        self.last_departure, self.departed = -math.inf, 0
        self.beating = asyncio.Lock()
        self._database, self._record = database, record
        self._flow_run_id, self._sender, self._rate = flow_run_id, sender, messages_per_second
        self._lapse_seconds, self._beat_seconds = lapse_seconds, beat_seconds
        self._remembers_departures, self._after_beat = remembers_departures, after_beat
        self._senders_departure = -math.inf
        self._watch, self._share = Watch(lapse_seconds), Share()
        self._key, self._beat_at = "", 0.0
        self._heart: asyncio.Task[None] | None = None

    @property
    def key(self) -> str:
        """This lease's own, in any ledger: a restored one gives its numbers again."""
        return self._key

    @property
    def share(self) -> float:
        """Messages a second that this lease keeps to now."""
        return self._share.obeyed

    @property
    def healthy(self) -> bool:
        """Whether the ledger heard of this lease lately enough for nobody to take it for dead."""
        return tick() - self._beat_at < self._lapse_seconds / 2

    @property
    def seconds_since_departure(self) -> float:
        """Seconds since any run of this sender last sent, as far as that is kept; infinite where it isn't."""
        return tick() - self._senders_departure

    async def will_depart(self) -> None:
        """Keep durably that a request is about to leave, where this sender's departures are kept."""
        if self._remembers_departures:
            self._senders_departure = await departures.note(self._database, self._sender)

    def departs(self) -> None:
        """Take note that a request leaves."""
        self.last_departure, self.departed = tick(), self.departed + 1

    async def until_healthy(self) -> None:
        """Wait until the ledger has heard of this lease lately: only then is it surely not taken for dead."""
        deadline = tick() + self._database.patience_seconds
        while not self.healthy:
            if tick() > deadline:
                raise LedgerAwayError(
                    f"the ledger at {self._database.address.shown} received no heartbeat of this run"
                    f" for {self._lapse_seconds / 2 + self._database.patience_seconds:.0f} s, so nothing more is sent"
                )
            await asyncio.sleep(min(0.05, self._beat_seconds))

    async def join(self) -> None:
        """Write the lease down, look after the leases that are gone, and begin to beat."""
        await self._database.patiently("join the broadcast", self.beat)
        self._heart = asyncio.create_task(self._keep_beating(), name="ledger heartbeat")

    async def retire(self) -> None:
        """Free what is reserved, hold as unknown what is being sent, and say goodbye."""
        self.ended = True

        async def work(connection: AsyncConnection) -> None:
            await retire(connection, self.lease_id, self._record.number, _ENDED, self._goodbye())

        await self._database.transact("leave the broadcast", work)

    async def stop(self) -> None:
        """Beat no more, and be no longer among those that live in this process."""
        leave(self._key)
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.wait([self._heart])

    def _goodbye(self) -> dict[str, Any]:
        """What to write of the share: as much as this lease may have sent within the last second; the others wait for that."""
        if tick() - self.last_departure > 2:
            return {"left_tick": tick(), "share": 0.0}
        return {"left_tick": tick(), "share": min(self._share.written, self.departed)}

    async def _keep_beating(self) -> None:
        told = False
        while True:
            soon = self._share.seconds_to_next_beat(self._beat_seconds, tick())
            await asyncio.sleep(self._beat_seconds if told else soon)
            try:
                async with asyncio.timeout(max(self._beat_seconds, self._lapse_seconds / 4)):
                    await self.beat()
                told = False
            except Exception as failure:  # whatever it was: one beat is lost, and who misses several sends nothing more
                if not told:
                    logger.warning("The ledger did not take this run's heartbeat: %s", cause(failure))
                told = True

    async def beat(self) -> int:
        """One heartbeat: see who lives, free what the gone had, share the pace, and be seen."""
        async with self.beating:
            began = tick()
            async with self._database.writing() as connection:
                await self._database.engine.lock_sender(connection, self._sender)
                listed = await self._listed_leases(connection)
                mine = next((lease for lease in listed if lease.key == self._key and not lease.left), None)
                if mine is None and self.ended:
                    return 0
                if mine is None:
                    mine = await self._register(connection)
                recovered, living = await self._look_after(connection, listed, mine)
                if self._remembers_departures:
                    departed = await departures.last(connection, self._sender)
                    self._senders_departure = max(self._senders_departure, departed)
                written = await self._share_out(connection, listed, living, mine)
                await connection.execute(
                    sa.update(leases).where(leases.c.id == mine.id).values(beat=leases.c.beat + 1, share=written)
                )
            self.lease_id = mine.id
            self._share.obey(written)
            self._beat_at, self.active_runs = began, len(living)
        await self._after_beat()
        return recovered

    async def _listed_leases(self, connection: AsyncConnection) -> list[LeaseRecord]:
        counting = sa.select(leases).where(lease_counts)
        query = sa.union(
            counting.where(leases.c.sender == self._sender),
            counting.where(leases.c.broadcast == self._record.number),
        )
        return [
            LeaseRecord(
                id=entry.id,
                key=entry.key,
                broadcast=entry.broadcast,
                sender=entry.sender,
                host=entry.host,
                process=entry.process,
                beat=entry.beat,
                rate=entry.rate or math.inf,
                share=entry.share,
                left=entry.left_at is not None,
                left_tick=entry.left_tick,
            )
            for entry in await connection.execute(query)
        ]

    async def _register(self, connection: AsyncConnection) -> LeaseRecord:
        """Join, or join anew after another run took this one for dead: what it had reserved is no longer its own."""
        if self.lease_id:
            logger.warning(
                "This run was considered dead and has joined again; the rows that it had reserved were released."
            )
            leave(self._key)
        self._share = Share()
        self._key = uuid.uuid4().hex
        enter(self._key)
        values = {
            "key": self._key,
            "broadcast": self._record.number,
            "sender": self._sender,
            "host": host_identity(),
            "process": process_identity(),
            "rate": self._rate,
        }
        insert = sa.insert(leases).values(**values, flow_run_id=self._flow_run_id, joined_at=_now())
        key = (await connection.execute(insert)).inserted_primary_key
        assert key is not None
        facts = {**values, "rate": self._rate or math.inf}
        return LeaseRecord(id=key.id, beat=0, share=0.0, left=False, left_tick=None, **facts)  # type: ignore[arg-type]  # columns by name

    async def _look_after(
        self, connection: AsyncConnection, listed: list[LeaseRecord], mine: LeaseRecord
    ) -> tuple[int, list[LeaseRecord]]:
        """Retire the leases that are gone; how many rows that freed or held, and who lives."""
        now, recovered, living = tick(), 0, [mine]
        for lease in listed:
            if lease.left or lease.id == mine.id:
                continue
            if not self._watch.is_gone(lease, now):
                living.append(lease)
                continue
            here = lease.host == host_identity() and bool(lease.host)
            # From another host it stopped by itself long ago, its share with it.
            goodbye = {"left_tick": now} if here else {"share": 0.0}
            recovered += await retire(connection, lease.id, lease.broadcast, _GONE, goodbye, beat=lease.beat)
        self._watch.forget({lease.id for lease in listed})
        # What a lease reserved in the very moment in which it was retired.
        left = (
            sa.select(sends.c.owner)
            .join(leases, leases.c.id == sends.c.owner)
            .where(sends.c.broadcast == self._record.number, leases.c.left_at.is_not(None))
        )
        for number in (await connection.execute(left.distinct())).scalars().all():
            recovered += await _free_rows(connection, number, self._record.number, _GONE)
        return recovered, living

    async def _share_out(
        self, connection: AsyncConnection, listed: list[LeaseRecord], living: list[LeaseRecord], mine: LeaseRecord
    ) -> float:
        """The share to write for this lease, after the shares of those that left long enough ago are struck off."""
        now, lingering = tick(), 0.0
        for lease in listed:
            if lease.sender == self._sender and lease not in living:
                if lease.left and self._watch.has_settled(lease, now):
                    await connection.execute(sa.update(leases).where(leases.c.id == lease.id).values(share=0.0))
                else:
                    lingering += lease.share
        ours = [lease for lease in living if lease.sender == self._sender]
        return self._share.next_written(
            {lease.id: lease.rate for lease in ours},
            mine.id,
            written=mine.share,
            lingering=lingering,
            others=sum(lease.share for lease in ours if lease is not mine),
            now=now,
        )


async def retire(
    connection: AsyncConnection,
    lease_id: int,
    broadcast: int,
    reason: str,
    goodbye: dict[str, Any],
    *,
    beat: int | None = None,
) -> int:
    """Mark a lease as left and look after its rows; nothing where its beat has moved since it was looked at."""
    leaving = sa.update(leases).where(leases.c.id == lease_id, leases.c.left_at.is_(None))
    if beat is not None:
        leaving = leaving.where(leases.c.beat == beat)
    result = await connection.execute(leaving.values(left_at=_now(), **goodbye))
    if beat is not None and not result.rowcount:
        return 0
    return await _free_rows(connection, lease_id, broadcast, reason)


async def _free_rows(connection: AsyncConnection, lease_id: int, broadcast: int, reason: str) -> int:
    theirs = (sends.c.broadcast == broadcast, sends.c.owner == lease_id)
    sending = (*theirs, sends.c.state == SendState.SENDING)
    query = sa.select(sends.c.id, sends.c.claimed_at).where(*sending).with_for_update()
    in_doubt = (await connection.execute(query)).all()
    for row_id, claimed_at in in_doubt:
        text = f"claimed at {claimed_at:%H:%M:%S} UTC on {claimed_at:%d %b %Y}; {reason} an answer was recorded"
        await connection.execute(
            sa.update(sends)
            .where(*sending, sends.c.id == row_id)
            .values(
                state=SendState.UNKNOWN, owner=None, settled_at=_now(), error_text=text, error_kind=ErrorKind.RUN_GONE
            )
        )
    freed = await connection.execute(
        sa.update(sends).where(*theirs, sends.c.state != SendState.SENDING).values(owner=None)
    )
    return len(in_doubt) + freed.rowcount


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
