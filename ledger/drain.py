"""One run's work on one broadcast: reserve rows, claim, settle, keep alive, keep to its part of the pace."""

import asyncio
import datetime
import hashlib
import itertools
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.masking import mask
from ..models.states import SendState
from ..providers.errors import ClaimLostError, LedgerError
from .database import Database, cause
from .owners import Owner, Share, Watch, enter, host_identity, leave, process_identity, tick
from .records import BroadcastRecord, Outcome, Outstanding, Row, storable
from .rows import as_row
from .schema import owner_counts, owners, sends
from .writer import Claim, GroupWriter, Settlement

logger = logging.getLogger(__name__)

_FINAL = frozenset({SendState.ACCEPTED, SendState.FAILED, SendState.SKIPPED, SendState.UNKNOWN})
_TAKE_LIMIT = 500
_GONE = "its run is gone, before"
_ENDED = "its run ended before"


class Drain:
    """What `LedgerStore.join` gives. Not to be made otherwise, and not to be used by two event loops.

    Attributes:
        record: The broadcast.
        sender: Whose pace is shared, such as `graph:106540352242922`.
        company: How many runs of this sender or this broadcast live, this one among them.
    """

    def __init__(
        self,
        database: Database,
        writer: GroupWriter,
        record: BroadcastRecord,
        *,
        flow_run_id: str,
        sender: str,
        messages_per_second: float,
        lapse_seconds: float,
        beat_seconds: float,
    ) -> None:
        self.record, self.sender, self.company = record, sender, 1
        self._database, self._writer = database, writer
        self._flow_run_id, self._rate = flow_run_id, messages_per_second
        self._lapse_seconds, self._beat_seconds = lapse_seconds, beat_seconds
        self._watch = Watch(lapse_seconds)
        self._share = Share()
        self._key, self._owner_id = "", 0
        self._held: dict[int, Row] = {}
        self._tokens: dict[int, str] = {}
        self._unsent: dict[int, str] = {}
        self._tokens_made = itertools.count(1)
        self._taking = asyncio.Lock()
        self._doubtful = False
        self._cursor = 0
        self._ended = False
        self._beating = asyncio.Lock()
        self._beat_at = 0.0
        self._last_claim = -math.inf
        self._heart: asyncio.Task[None] | None = None

    @property
    def share(self) -> float:
        """Messages a second that this owner may send now: its part of the sender's rate; infinite for no limit.

        0 while others have it all: then `take` gives nothing, and rows that are reserved are given back by themselves.
        """
        return self._share.obeyed

    @property
    def healthy(self) -> bool:
        """Whether the ledger heard of this owner lately enough for nobody to take it for dead."""
        return tick() - self._beat_at < self._lapse_seconds / 2

    async def take(self, n: int) -> list[Row]:
        """Reserve rows for this owner; they stay `queued`.

        Args:
            n: How many at most (of which at most 500 are given).

        Returns:
            Rows in the order of the list; none where nothing is free, or where this owner's share is 0.

        Raises:
            LedgerError: The ledger stayed away for longer than its patience.
        """
        if n <= 0 or self.share <= 0 or self._ended:
            return []
        wanted = min(n, _TAKE_LIMIT)

        async def attempt() -> list[Row] | None:
            doubtful, self._doubtful = self._doubtful, True
            async with self._database.writing() as connection:
                taken = await self._reserve(connection, wanted, doubtful)
            self._doubtful = False
            return taken

        async with self._taking:
            rows = await self._database.patiently("reserve rows", attempt)
            self._held.update((row.id, row) for row in rows or ())
        if rows is None:  # another run took this one for dead
            await self.recover()
        return rows or []

    async def _reserve(self, connection: AsyncConnection, wanted: int, doubtful: bool) -> list[Row] | None:
        """One transaction of `take`; None where this owner was declared gone."""
        alive = sa.select(owners.c.id).where(owners.c.id == self._owner_id, owners.c.left_at.is_(None))
        if (await connection.execute(alive.with_for_update(read=True))).scalar_one_or_none() is None:
            return None
        queued = (
            sa.select(sends)
            .where(sends.c.broadcast == self.record.number, sends.c.state == SendState.QUEUED)
            .order_by(sends.c.id)
            .with_for_update(skip_locked=True)
        )
        found: list[Row] = []
        if doubtful:
            # An earlier transaction may have reserved rows without our hearing of it.
            ours = (await connection.execute(queued.where(sends.c.owner == self._owner_id))).all()
            found = [as_row(entry, self.record) for entry in ours if entry.id not in self._held]
        free = queued.where(sends.c.owner.is_(None))
        fresh: list[Row] = []
        # From where the last call ended: PostgreSQL's index is full of dead entries before that.
        for part in (free.where(sends.c.id > self._cursor), free.where(sends.c.id <= self._cursor)):
            if (missing := wanted - len(found) - len(fresh)) > 0:
                fresh += [as_row(entry, self.record) for entry in await connection.execute(part.limit(missing))]
        if fresh:
            reserve = sa.update(sends).where(sends.c.id.in_([row.id for row in fresh])).values(owner=self._owner_id)
            await connection.execute(reserve)
            self._cursor = max(self._cursor, *(row.id for row in fresh))
        return sorted(found + fresh, key=lambda row: row.id)

    async def claim(self, row: Row, *, task_run_id: str = "") -> None:
        """Make it durable that this row is being sent. Only when this returns may the request leave.

        Args:
            row: One that `take` gave, or that was settled as `queued`.
            task_run_id: Prefect's run that sends it.

        Raises:
            ClaimLostError: The row is no longer this owner's; nothing was sent, and the row is to be let go.
            LedgerError: It could not be recorded, so nothing may be sent.
        """
        if row.id not in self._held:
            raise self._lost(row)
        await self._until_healthy()
        owner = self._owner_id
        token = f"{owner}.{next(self._tokens_made)}"
        try:
            got = await self._writer.submit(Claim(row.id, owner, token, task_run_id, _now()))
        except asyncio.CancelledError:
            self._unclaim(row.id, token)  # the claim is carried out all the same, and this right after it
            raise
        except LedgerError:
            self._unsent[row.id] = token  # perhaps recorded, surely not sent
            raise
        if not got:
            self._held.pop(row.id, None)
            raise self._lost(row)
        self._tokens[row.id] = token
        if not self.healthy:
            await self._confirm(row, owner, token)
        self._last_claim = tick()

    async def _confirm(self, row: Row, owner: int, token: str) -> None:
        """The commit took so long that others may have taken this owner for dead: ask before anything is sent."""
        try:
            await self._until_healthy()
        except LedgerError:
            self._tokens.pop(row.id, None)
            self._unsent[row.id] = token
            raise
        if self._owner_id != owner:
            self._tokens.pop(row.id, None)
            self._unclaim(row.id, token)
            raise self._lost(row)

    async def settle(self, row: Row, outcome: Outcome) -> None:
        """Make an outcome durable.

        It also corrects a row that was held as `unknown`, or queued again, because this owner was taken for dead. Once
        called, it is carried out even if the caller is cancelled.

        Args:
            row: One that this drain claimed.
            outcome: What became of it. `queued` means surely not accepted: the row stays reserved for another claim.

        Raises:
            ClaimLostError: Another owner has claimed the row since.
            LedgerError: It could not be recorded; the row will be `unknown`.
        """
        token = self._tokens.pop(row.id, None)
        if token is None:
            raise LedgerError(f"row {row.id} can't be settled: this run has no open claim on it")
        if outcome.state not in _FINAL and outcome.state is not SendState.QUEUED:
            raise LedgerError(f"row {row.id} can't be settled as {outcome.state}")
        held = self._held.pop(row.id, None) if outcome.state in _FINAL else None
        clean = Outcome(
            outcome.state,
            storable(outcome.message_id),
            storable(outcome.status_text),
            storable(outcome.error_code),
            storable(outcome.error_text),
            storable(outcome.error_kind),
        )
        try:
            matched = await self._writer.submit(Settlement(row.id, token, clean, _now()))
        except LedgerError:
            self._tokens[row.id] = token
            if held is not None:
                self._held[row.id] = held
            raise
        if not matched:
            self._held.pop(row.id, None)
            raise ClaimLostError(
                f"the outcome of row {row.id} ({mask(row.recipient)}) came too late: another run has claimed it since"
            )

    async def give_back(self, rows: Sequence[Row]) -> None:
        """Free rows that were reserved and not sent."""
        async with self._taking:
            await self._give_back(rows)

    async def _give_back(self, rows: Sequence[Row]) -> None:
        ids = [row.id for row in rows if self._held.pop(row.id, None) is not None]
        for start in range(0, len(ids), _TAKE_LIMIT):
            free = (
                sa.update(sends)
                .where(
                    sends.c.id.in_(ids[start : start + _TAKE_LIMIT]),
                    sends.c.owner == self._owner_id,
                    sends.c.state == SendState.QUEUED,
                )
                .values(owner=None)
            )

            async def attempt(free: sa.Update = free) -> None:
                async with self._database.writing() as connection:
                    await connection.execute(free)

            await self._database.patiently("give rows back", attempt)

    async def outstanding(self) -> Outstanding:
        """Count what is left to do; rows of owners that are gone count as held until `recover` frees them."""
        here = sends.c.broadcast == self.record.number
        queued, held = sends.c.state == SendState.QUEUED, sends.c.owner.is_not(None)

        def count(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
            return sa.select(sa.func.count()).select_from(sends).where(here, *conditions).scalar_subquery()

        query = sa.select(
            count(queued),
            count(held, queued),
            count(held, sends.c.owner != self._owner_id),
            count(held, sends.c.owner == self._owner_id),
        )

        async def attempt() -> Outstanding:
            async with self._database.reading() as connection:
                all_queued, reserved, others, ours = (await connection.execute(query)).one()
            return Outstanding(queued=all_queued - reserved, held_by_others=others, held_by_us=ours)

        return await self._database.patiently("count what is left", attempt)

    async def recover(self) -> int:
        """Free what owners that are gone had reserved, and hold as `unknown` what they were sending.

        Returns:
            How many rows that were.
        """
        return await self._database.patiently("look for owners that are gone", self._beat)

    async def _until_healthy(self) -> None:
        """Wait until the ledger has heard of this owner lately: only then is it not taken for dead."""
        deadline = tick() + self._database.patience_seconds
        while not self.healthy:
            if tick() > deadline:
                raise LedgerError(
                    f"the ledger at {self._database.address.shown} did not hear of this run for"
                    f" {self._lapse_seconds / 2 + self._database.patience_seconds:.0f} s, so nothing more is sent"
                )
            await asyncio.sleep(min(0.05, self._beat_seconds))

    def _lost(self, row: Row) -> ClaimLostError:
        return ClaimLostError(
            f"row {row.id} ({mask(row.recipient)}) is no longer this run's to send: it was given back, or this run was taken"
            " for dead and another took its rows; nothing was sent"
        )

    def _unclaim(self, row_id: int, token: str) -> None:
        """Nothing was sent under that claim: queue the row again."""
        self._unsent[row_id] = token

        def done(written: asyncio.Future[bool]) -> None:
            if not written.cancelled() and written.exception() is None and self._unsent.get(row_id) == token:
                del self._unsent[row_id]

        self._writer.submit(Settlement(row_id, token, Outcome(SendState.QUEUED), _now())).add_done_callback(done)

    async def _enter(self) -> None:
        """Join, look after the owners that are gone, and begin to beat."""
        await self._database.patiently("join the broadcast", self._beat)
        self._heart = asyncio.create_task(self._keep_beating(), name="ledger heartbeat")

    async def _leave(self) -> None:
        """Free what is reserved, settle what was surely not sent, hold what may have been, and say goodbye."""
        try:
            await self._writer.flush()
            self._ended = True
            for row_id, token in self._unsent.items():
                await self._writer.submit(Settlement(row_id, token, Outcome(SendState.QUEUED), _now()))

            async def attempt() -> None:
                async with self._database.writing() as connection:
                    await _retire(connection, self._owner_id, self.record.number, _ENDED, self._goodbye())

            await self._database.patiently("leave the broadcast", attempt)
        except LedgerError as failure:
            logger.warning("This run could not say goodbye; the next one will see that it is gone: %s", failure)
        finally:
            leave(self._key)
            if self._heart is not None:
                self._heart.cancel()
                await asyncio.wait([self._heart])

    def _goodbye(self) -> dict[str, Any]:
        """What to write of the share: nothing where this owner claimed nothing lately, else the others wait a second."""
        return {"left_tick": tick()} if tick() - self._last_claim < 2 else {"left_tick": tick(), "share": 0.0}

    async def _keep_beating(self) -> None:
        told = False
        while True:
            await asyncio.sleep(self._beat_seconds)
            try:
                async with asyncio.timeout(max(self._beat_seconds, self._lapse_seconds / 4)):
                    await self._beat()
                told = False
            except Exception as failure:
                if not told:
                    logger.warning("The ledger did not take this run's heartbeat: %s", cause(failure))
                told = True

    async def _beat(self) -> int:
        """One heartbeat: see who lives, free what the gone had, share the pace, and be seen."""
        async with self._beating:
            began = tick()
            async with self._database.writing() as connection:
                if not self._database.is_sqlite:
                    lock = sa.select(sa.func.pg_advisory_xact_lock(_lock_number(self.sender)))
                    await connection.execute(lock)
                listed = await self._listed_owners(connection)
                mine = next((owner for owner in listed if owner.key == self._key and not owner.left), None)
                if mine is None and self._ended:
                    return 0
                if mine is None:
                    mine = await self._register(connection)
                recovered, living = await self._look_after(connection, listed, mine)
                written = await self._share_out(connection, listed, living, mine)
                await connection.execute(
                    sa.update(owners).where(owners.c.id == mine.id).values(beat=owners.c.beat + 1, share=written)
                )
            self._owner_id = mine.id
            self._share.obey(written)
            self._beat_at, self.company = began, len(living)
        if self.share <= 0 and (idle := [row for row in self._held.values() if row.id not in self._tokens]):
            # Whoever has the whole rate would wait for these rows for ever.
            await self.give_back(idle)
        return recovered

    async def _listed_owners(self, connection: AsyncConnection) -> list[Owner]:
        counting = sa.select(owners).where(owner_counts)
        query = sa.union(
            counting.where(owners.c.sender == self.sender),
            counting.where(owners.c.broadcast == self.record.number),
        )
        return [
            Owner(
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

    async def _register(self, connection: AsyncConnection) -> Owner:
        """Join, or join anew after another run took this one for dead: what it had reserved is no longer its own."""
        if self._owner_id:
            logger.warning("This run was taken for dead and joins anew; rows it had reserved were freed.")
            leave(self._key)
        self._held.clear()
        self._cursor = 0
        self._share = Share()
        self._key = uuid.uuid4().hex
        enter(self._key)
        values = {
            "key": self._key,
            "broadcast": self.record.number,
            "sender": self.sender,
            "host": host_identity(),
            "process": process_identity(),
            "rate": self._rate,
        }
        insert = sa.insert(owners).values(**values, flow_run_id=self._flow_run_id, joined_at=_now())
        key = (await connection.execute(insert)).inserted_primary_key
        assert key is not None
        facts = {**values, "rate": self._rate or math.inf}
        return Owner(id=key.id, beat=0, share=0.0, left=False, left_tick=None, **facts)  # type: ignore[arg-type]

    async def _look_after(
        self, connection: AsyncConnection, listed: list[Owner], mine: Owner
    ) -> tuple[int, list[Owner]]:
        """Retire the owners that are gone; how many rows that freed or held, and who lives."""
        now, recovered, living = tick(), 0, [mine]
        for owner in listed:
            if owner.left or owner.id == mine.id:
                continue
            if not self._watch.is_gone(owner, now):
                living.append(owner)
                continue
            here = owner.host == host_identity() and bool(owner.host)
            # From another host it stopped by itself long ago, its share with it.
            goodbye = {"left_tick": now} if here else {"share": 0.0}
            recovered += await _retire(connection, owner.id, owner.broadcast, _GONE, goodbye, beat=owner.beat)
        self._watch.forget({owner.id for owner in listed})
        # What an owner reserved in the very moment in which it was retired.
        left = (
            sa.select(sends.c.owner)
            .join(owners, owners.c.id == sends.c.owner)
            .where(sends.c.broadcast == self.record.number, owners.c.left_at.is_not(None))
        )
        for number in (await connection.execute(left.distinct())).scalars().all():
            recovered += await _free_rows(connection, number, self.record.number, _GONE)
        return recovered, living

    async def _share_out(
        self, connection: AsyncConnection, listed: list[Owner], living: list[Owner], mine: Owner
    ) -> float:
        """The share to write for this owner, after the shares of those that left long enough ago are struck off."""
        now, lingering = tick(), 0.0
        for owner in listed:
            if owner.sender == self.sender and owner not in living:
                if owner.left and self._watch.has_settled(owner, now):
                    await connection.execute(sa.update(owners).where(owners.c.id == owner.id).values(share=0.0))
                else:
                    lingering += owner.share
        ours = [owner for owner in living if owner.sender == self.sender]
        return self._share.next_written(
            {owner.id: owner.rate for owner in ours},
            mine.id,
            written=mine.share,
            lingering=lingering,
            others=sum(owner.share for owner in ours if owner is not mine),
            now=now,
        )


async def _retire(
    connection: AsyncConnection,
    owner: int,
    broadcast: int,
    reason: str,
    goodbye: dict[str, Any],
    *,
    beat: int | None = None,
) -> int:
    """Mark an owner as left and look after its rows; nothing where its beat has moved since it was looked at."""
    leaving = sa.update(owners).where(owners.c.id == owner, owners.c.left_at.is_(None))
    if beat is not None:
        leaving = leaving.where(owners.c.beat == beat)
    result = await connection.execute(leaving.values(left_at=_now(), **goodbye))
    if beat is not None and not result.rowcount:
        return 0
    return await _free_rows(connection, owner, broadcast, reason)


async def _free_rows(connection: AsyncConnection, owner: int, broadcast: int, reason: str) -> int:
    theirs = (sends.c.broadcast == broadcast, sends.c.owner == owner)
    sending = (*theirs, sends.c.state == SendState.SENDING)
    query = sa.select(sends.c.id, sends.c.claimed_at).where(*sending).with_for_update()
    in_doubt = (await connection.execute(query)).all()
    for row_id, claimed_at in in_doubt:
        text = f"claimed at {claimed_at:%H:%M:%S} UTC on {claimed_at:%d %b %Y}; {reason} an answer was recorded"
        await connection.execute(
            sa.update(sends)
            .where(*sending, sends.c.id == row_id)
            .values(state=SendState.UNKNOWN, owner=None, settled_at=_now(), error_text=text, error_kind="run gone")
        )
    freed = await connection.execute(
        sa.update(sends).where(*theirs, sends.c.state != SendState.SENDING).values(owner=None)
    )
    return len(in_doubt) + freed.rowcount


def _lock_number(sender: str) -> int:
    digest = hashlib.sha256(f"prefect-whatsapp owners of {sender}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


async def finish(work: Callable[[], Awaitable[None]]) -> None:
    """Carry something out to its end, whatever cancellation comes meanwhile, and pass that on afterwards."""
    task = asyncio.ensure_future(work())
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as cancellation:
                if task.done():
                    break
                cancelled = cancellation
    task.result()
    if cancelled is not None:
        raise cancelled
