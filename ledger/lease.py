"""One run's work on one broadcast: reserve rows, claim them, settle them, give them back."""

import asyncio
import datetime
import itertools
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence

import anyio
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import ClaimLostError, LedgerError, OptedOutError
from ..models.masking import mask
from ..models.message_ids import MAX_MESSAGE_ID
from ..models.states import SETTLED_STATES, SendState
from .database import Database
from .engines import Claim, Settlement
from .heartbeat import Heartbeat
from .people import OPTED_OUT_TEXT, skip_if_opted_out
from .records import BroadcastRecord, Outcome, Outstanding, Row, storable
from .reservation import Reservation
from .writer import GroupWriter

logger = logging.getLogger(__name__)


class Lease:
    """What `LedgerStore.join` gives. Not to be made otherwise, and not to be used by two event loops.

    Attributes:
        record: The broadcast.
        sender: Whose pace is shared, such as `graph:106540352242922`.
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
        remembers_departures: bool = False,
        resend: bool = False,
    ) -> None:
        self._resend = (flow_run_id or uuid.uuid4().hex) if resend else ""
        self.record, self.sender = record, sender
        self._database, self._writer = database, writer
        self._heartbeat = Heartbeat(
            database,
            record,
            flow_run_id=flow_run_id,
            sender=sender,
            messages_per_second=messages_per_second,
            lapse_seconds=lapse_seconds,
            beat_seconds=beat_seconds,
            remembers_departures=remembers_departures,
            after_beat=self._yield_rows,
        )
        self._reservation = Reservation(database, self._heartbeat, record, resend=self._resend)
        self._tokens: dict[int, str] = {}
        self._unsent: dict[int, str] = {}
        self._claiming: set[int] = set()
        self._tokens_made = itertools.count(1)

    @property
    def share(self) -> float:
        """Messages a second that this lease may send now: its part of the sender's rate; infinite for no limit.

        0 while others have it all: then `take` gives nothing, and rows that are reserved are given back by themselves.
        """
        return self._heartbeat.share

    @property
    def seconds_since_departure(self) -> float:
        """Seconds since any run of this sender last sent; infinite where `join` wasn't asked to keep that."""
        return self._heartbeat.seconds_since_departure

    @property
    def active_runs(self) -> int:
        """How many runs of this sender or this broadcast live, this one among them."""
        return self._heartbeat.active_runs

    @property
    def healthy(self) -> bool:
        """Whether the ledger heard of this lease lately enough for nobody to take it for dead."""
        return self._heartbeat.healthy

    async def take(self, n: int, *, account_key: str = "") -> list[Row]:
        """Reserve rows for this lease; they stay `queued`.

        Args:
            n: How many at most (of which at most 500 are given).
            account_key: Only the row of this recipient (`Recipient.account_key`); empty for any.

        Returns:
            Rows in the order of the list; none where nothing is free, or where this lease's share is 0.

        Raises:
            LedgerError: The ledger stayed away for longer than its patience.
        """
        rows = await self._reservation.take(n, account_key)
        if rows is None:  # another run took this one for dead
            await self.recover()
        return rows or []

    async def consent(self, *, only_gone: bool = False) -> int:
        """Let this flow run send again what is unknown now, each row once for all its tries; nobody else may.

        Args:
            only_gone: Only rows of runs that are gone: what this very run made unknown is not sent again by itself.

        Returns:
            How many rows that are.
        """
        return await self._reservation.consent(only_gone=only_gone)

    async def claim(self, row: Row, *, task_run_id: str = "", message_id: str = "") -> None:
        """Make it durable that this row is being sent. Only when this returns may the request leave.

        Args:
            row: One that `take` gave, or that was settled as `queued`.
            task_run_id: Prefect's run that sends it.
            message_id: The id that the message will have, where the service lets us choose it: by it a receipt or a look-up
                finds the row whatever becomes of this run.

        Raises:
            ClaimLostError: The row is no longer this lease's; nothing was sent, and the row is to be let go.
            OptedOutError: The recipient opted out; nothing was sent, and the row is settled as skipped.
            LedgerError: It could not be recorded, so nothing may be sent.
        """
        await self._heartbeat.until_healthy()
        await self._heartbeat.will_depart()
        self._reservation.forget_lost()
        if row.id not in self._reservation.held:
            raise self._lost(row)
        lease_id = self._reservation.lease_id
        token = f"{self._heartbeat.key}.{next(self._tokens_made)}"
        self._claiming.add(row.id)
        try:
            got = await self._writer.submit(
                Claim(row.id, lease_id, token, task_run_id, _now(), self._resend, storable(message_id, MAX_MESSAGE_ID))
            )
            if got:
                self._tokens[row.id] = token
        except asyncio.CancelledError:
            self._unclaim(row.id, token)  # the claim is carried out all the same, and this right after it
            raise
        except LedgerError:
            self._unsent[row.id] = token  # perhaps recorded, surely not sent
            raise
        finally:
            self._claiming.discard(row.id)
        if not got:
            self._reservation.held.pop(row.id, None)
            if await self._skip_if_opted_out(row, lease_id):
                raise OptedOutError(f"row {row.id} ({mask(row.recipient)}) is skipped: {OPTED_OUT_TEXT}")
            raise self._lost(row)
        if not self.healthy:
            await self._confirm(row, lease_id, token)
        self.departs()

    async def _skip_if_opted_out(self, row: Row, lease_id: int) -> bool:
        """Whether the claim failed because the recipient opted out: then the row is skipped."""
        change = skip_if_opted_out(row.id, lease_id, _now())

        async def work(connection: AsyncConnection) -> bool:
            return (await connection.execute(change)).rowcount > 0

        return await self._database.transact("skip a recipient who opted out", work)

    def departs(self) -> None:
        """Take note that a request leaves: its part of the rate is others' a second later."""
        self._heartbeat.departs()

    async def _confirm(self, row: Row, lease_id: int, token: str) -> None:
        """The commit took so long that others may have taken this lease for dead: ask before anything is sent."""
        try:
            await self._heartbeat.until_healthy()
        except LedgerError:
            self._tokens.pop(row.id, None)
            self._unsent[row.id] = token
            raise
        if self._heartbeat.lease_id != lease_id:
            self._tokens.pop(row.id, None)
            self._unclaim(row.id, token)
            raise self._lost(row)

    async def settle(self, row: Row, outcome: Outcome) -> None:
        """Make an outcome durable.

        It also corrects a row that was held as `unknown`, or queued again, because this lease was taken for dead. Once
        called, it is carried out even if the caller is cancelled.

        Args:
            row: One that this lease claimed.
            outcome: What became of it. `queued` means surely not accepted: the row stays reserved for another claim.

        Raises:
            ClaimLostError: Another lease has claimed the row since.
            LedgerError: It could not be recorded; the row will be `unknown`.
        """
        token = self._tokens.pop(row.id, None)
        if token is None:
            raise LedgerError(f"row {row.id} can't be settled: this run has no open claim on it")
        if outcome.state not in SETTLED_STATES and outcome.state is not SendState.QUEUED:
            raise LedgerError(f"row {row.id} can't be settled as {outcome.state}")
        held = self._reservation.held.pop(row.id, None) if outcome.state in SETTLED_STATES else None
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
                self._reservation.held[row.id] = held
            raise
        if not matched:
            self._reservation.held.pop(row.id, None)
            raise ClaimLostError(
                f"the outcome of row {row.id} ({mask(row.recipient)}) came too late: another run has since claimed it"
            )

    async def give_back(self, rows: Sequence[Row]) -> None:
        """Free rows that were reserved and not sent."""
        await self._reservation.give_back(rows)

    async def _yield_rows(self) -> None:
        """Free what is reserved while others have the whole rate: they would wait for these rows for ever."""
        busy = self._tokens.keys() | self._claiming
        if self.share <= 0 and (idle := [row for row in self._reservation.held.values() if row.id not in busy]):
            await self.give_back(idle)

    async def outstanding(self) -> Outstanding:
        """Count what is left to do, of what may be sent; rows of runs that are gone count as held until `recover` frees them."""
        return await self._reservation.outstanding()

    async def recover(self) -> int:
        """Free what leases that are gone had reserved, and hold as `unknown` what they were sending.

        Returns:
            How many rows that were.
        """
        return await self._database.patiently("look for runs that are gone", self._heartbeat.beat)

    def _lost(self, row: Row) -> ClaimLostError:
        return ClaimLostError(
            f"row {row.id} ({mask(row.recipient)}) is no longer this run's to send: it was given back, or this run was considered"
            " for dead and another took its rows; nothing was sent"
        )

    def unclaim(self, row: Row) -> None:
        """Say that nothing left under this row's claim, without waiting: who claimed it was cancelled."""
        if token := self._tokens.pop(row.id, None):
            self._unclaim(row.id, token)

    def _unclaim(self, row_id: int, token: str) -> None:
        """Nothing was sent under that claim: queue the row again."""
        self._unsent[row_id] = token

        def done(written: asyncio.Future[bool]) -> None:
            if not written.cancelled() and written.exception() is None and self._unsent.get(row_id) == token:
                del self._unsent[row_id]

        self._writer.submit(Settlement(row_id, token, Outcome(SendState.QUEUED), _now())).add_done_callback(done)

    async def _leave(self) -> None:
        """Settle what was surely not sent, then say goodbye."""
        try:
            await self._writer.flush()
            for row_id, token in self._unsent.items():
                await self._writer.submit(Settlement(row_id, token, Outcome(SendState.QUEUED), _now()))
            await self._heartbeat.retire()
        except LedgerError as failure:
            logger.warning("This run could not sign off; the next run will find that it has ended: %s", failure)
        finally:
            await self._heartbeat.stop()


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
