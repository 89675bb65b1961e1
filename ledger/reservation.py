"""The rows that one lease has reserved: they stay `queued`, and no other run is given them before they are given back."""

import asyncio
from collections.abc import Sequence
from functools import partial

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import ErrorKind
from ..models.states import SendState
from .approvals import may_be_sent
from .canaries import may_pass_canary
from .database import Database
from .heartbeat import Heartbeat
from .records import BroadcastRecord, Outstanding, Row
from .rows import as_row
from .schema import leases, sends

_TAKE_LIMIT = 500


class Reservation:
    """A lease's part of a broadcast's rows.

    Args:
        database: The ledger's.
        heartbeat: The lease's life: what it reserved is gone once it was taken for dead.
        record: The broadcast.
        resend: The flow run that may send again what is unknown; empty for none.

    Attributes:
        held: The rows, by their numbers.
        lease_id: The lease's number in the ledger when it reserved them.
    """

    def __init__(self, database: Database, heartbeat: Heartbeat, record: BroadcastRecord, *, resend: str) -> None:
        self.held: dict[int, Row] = {}
        self.lease_id = 0
        self._database, self._heartbeat, self._record, self._resend = database, heartbeat, record, resend
        self._taking = asyncio.Lock()
        self._doubtful = False
        self._cursor = 0

    async def take(self, n: int, account_key: str) -> list[Row] | None:
        """Reserve rows; None where this lease was declared gone."""
        if n <= 0 or self._heartbeat.share <= 0 or self._heartbeat.ended:
            return []
        async with self._taking:
            self.forget_lost()
            lease_id, wanted = self.lease_id, min(n, _TAKE_LIMIT)

            async def work(connection: AsyncConnection) -> list[Row] | None:
                doubtful, self._doubtful = self._doubtful, True
                return await self._reserve(connection, lease_id, wanted, doubtful, account_key)

            rows = await self._database.transact("reserve rows", work)
            if rows == [] and self._resend and await self.consent(only_gone=True):
                rows = await self._database.transact("reserve rows", work)
            self._doubtful = False
            self.held.update((row.id, row) for row in rows or ())
        return rows

    async def consent(self, *, only_gone: bool = False) -> int:
        """Let this flow run send again what is unknown now, each row once for all its tries; nobody else may.

        Args:
            only_gone: Only rows of runs that are gone: what this very run made unknown is not sent again by itself.

        Returns:
            How many rows that are.
        """
        change = sa.update(sends).where(
            sends.c.broadcast == self._record.number,
            sends.c.state == SendState.UNKNOWN,
            sends.c.forgotten_at.is_(None),
            sends.c.resend.not_in([self._resend, f"{self._resend} sent"]),
        )
        if only_gone:
            change = change.where(sends.c.error_kind == ErrorKind.RUN_GONE)

        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(change.values(resend=self._resend))).rowcount

        return await self._database.transact("note what may be sent again", work)

    @property
    def _to_send(self) -> sa.ColumnElement[bool]:
        queued = sends.c.state == SendState.QUEUED
        if not self._resend:
            return queued
        return sa.or_(queued, sa.and_(sends.c.state == SendState.UNKNOWN, sends.c.resend == self._resend))

    def forget_lost(self) -> None:
        """Let go of what was reserved before this run was taken for dead and joined anew."""
        if self.lease_id != self._heartbeat.lease_id:
            self.lease_id, self._cursor = self._heartbeat.lease_id, 0
            self.held.clear()

    async def _reserve(
        self, connection: AsyncConnection, lease_id: int, wanted: int, doubtful: bool, account_key: str
    ) -> list[Row] | None:
        """One transaction of `take`; None where this lease was declared gone."""
        alive = sa.select(leases.c.id).where(leases.c.id == lease_id, leases.c.left_at.is_(None))
        if (await connection.execute(alive.with_for_update(read=True))).scalar_one_or_none() is None:
            return None
        queued = (
            sa.select(sends)
            .where(
                sends.c.broadcast == self._record.number,
                self._to_send,
                may_be_sent(self._record.number),
                may_pass_canary(self._record.number),
            )
            .order_by(sends.c.id)
            .with_for_update(skip_locked=True)
        )
        if account_key:
            queued = queued.where(sends.c.account_key == account_key)
        found: list[Row] = []
        if doubtful:
            # An earlier transaction may have reserved rows without our hearing of it.
            ours = (await connection.execute(queued.where(sends.c.owner == lease_id))).all()
            found = [as_row(entry, self._record) for entry in ours if entry.id not in self.held]
        free = queued.where(sends.c.owner.is_(None))
        fresh: list[Row] = []
        # From where the last call ended: PostgreSQL's index is full of dead entries before that.
        for part in (free.where(sends.c.id > self._cursor), free.where(sends.c.id <= self._cursor)):
            if (missing := wanted - len(found) - len(fresh)) > 0:
                fresh += [as_row(entry, self._record) for entry in await connection.execute(part.limit(missing))]
        if fresh:
            reserve = sa.update(sends).where(sends.c.id.in_([row.id for row in fresh])).values(owner=lease_id)
            await connection.execute(reserve)
            self._cursor = max(self._cursor, *(row.id for row in fresh))
        return sorted(found + fresh, key=lambda row: row.id)

    async def give_back(self, rows: Sequence[Row]) -> None:
        """Free rows that were reserved and not sent."""
        async with self._taking:
            self.forget_lost()
            ids = [row.id for row in rows if self.held.pop(row.id, None) is not None]
            for start in range(0, len(ids), _TAKE_LIMIT):
                free = partial(_free, self.lease_id, ids[start : start + _TAKE_LIMIT])
                await self._database.transact("give rows back", free)

    async def outstanding(self) -> Outstanding:
        """Count what is left to do, of what may be sent; rows of runs that are gone count as held until `recover` frees them."""
        here = sends.c.broadcast == self._record.number
        number = self._record.number
        queued = sa.and_(self._to_send, may_be_sent(number), may_pass_canary(number))
        held = sends.c.owner.is_not(None)

        def count(*conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
            return sa.select(sa.func.count()).select_from(sends).where(here, *conditions).scalar_subquery()

        query = sa.select(
            count(queued),
            count(held, queued),
            count(held, sends.c.owner != self._heartbeat.lease_id),
        )

        async def work(connection: AsyncConnection) -> Outstanding:
            all_queued, reserved, others = (await connection.execute(query)).one()
            return Outstanding(queued=all_queued - reserved, held_by_others=others)

        return await self._database.read("count what is left", work)


async def _free(lease_id: int, ids: Sequence[int], connection: AsyncConnection) -> None:
    ours = (sends.c.owner == lease_id, sends.c.state.in_([SendState.QUEUED, SendState.UNKNOWN]))
    await connection.execute(sa.update(sends).where(sends.c.id.in_(ids), *ours).values(owner=None))
