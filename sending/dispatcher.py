"""The one loop that drains a broadcast: a bounded window of rows, one client, one task run a send or a batch."""

import asyncio
import math
import signal
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_logger
from prefect.runtime import task_run
from prefect.states import Cancelled, Completed, Failed

from ..ledger import Lease, Outcome, Row
from ..models import SendState, StopReason, mask
from ..models.errors import ClaimLostError, WhatsAppError
from ..providers.transport import AsyncClient
from .backpressure import Recorder
from .delivery import Build, Delivery, Tally
from .pace import Pace
from .semaphore import ResizableSemaphore
from .shutdown import imports_uncollected, quiet_task_logs

MAX_IN_FLIGHT = 64
UNPACED_IN_FLIGHT = 32
PARKED_AT_MOST = 256
WINDOW_AT_MOST = 256
# One row more for each so many requests in flight, which is being claimed or settled meanwhile: without them 16 in flight
# at 50 ms an answer made 258 sends a second, of the 288 that the same client makes without a ledger.
REQUESTS_A_ROW_BETWEEN = 4

# Together longer than a server's restart.
SHOWING_PAUSES = (1.0, 5.0, 15.0, None)

_logger = get_logger("prefect_whatsapp.dispatcher")

Runs = Literal["send", "batch"]
BatchRows = list[tuple[Row, Outcome]]


class Dispatcher:
    """Drains a broadcast's queued rows through one client.

    Memory doesn't grow with the list: at any time it holds one window of rows and the sends in flight.

    Args:
        lease: This run's hold on the ledger's rows.
        client: The account's open client.
        build: Builds the message for one recipient.
        pace: This process's part of the sender's rate.
        kind: `audio` or `contacts`, part of the task runs' names.
        recorder: Bounds how far the sends run ahead of what the Prefect server has recorded; None for no bound.
        in_flight: Requests at once; 0 chooses what the pace needs, at most 64.
        runs: `send`: a task run a send; `batch`: a task run of up to `batch_size` sends.
        batch_size: Sends a batch, at most.
        max_messages: Sends of this run, at most; 0 for no bound.
        renew_media: See `Delivery`.
        on_batch: Told of each finished batch: its number, and each row with its outcome.
    """

    def __init__(
        self,
        lease: Lease,
        client: AsyncClient,
        *,
        build: Build,
        pace: Pace,
        kind: str = "audio",
        recorder: Recorder | None = None,
        in_flight: int = 0,
        runs: Runs = "send",
        batch_size: int = 500,
        max_messages: int = 0,
        renew_media: Callable[[], Awaitable[Build]] | None = None,
        on_batch: Callable[[int, BatchRows], Awaitable[None]] | None = None,
    ) -> None:
        self._lease, self._pace, self._recorder = lease, pace, recorder
        self._in_flight, self._runs, self._batch_size = in_flight, runs, batch_size
        self._left = max_messages or math.inf
        self._on_batch = on_batch
        # One send alone first: a verdict on the account or the media then costs one row, not a window of them.
        self._slots, self._gate = ResizableSemaphore(1), ResizableSemaphore(1)
        self._delivery = Delivery(
            lease, client, build=build, pace=pace, gate=self._gate, park=self._park, renew_media=renew_media
        )
        self._parked = 0
        self._buffer: deque[Row] = deque()
        self._sending: dict[int, Row] = {}
        self._failure: BaseException | None = None
        as_task: Any = partial(
            Task, cache_policy=NO_CACHE, persist_result=False, cache_result_in_memory=False, retries=0
        )
        self._send_task = as_task(self._send, name=f"send-{kind}", task_run_name=f"send-{kind} {{to}}")
        self._batch_task = as_task(
            self._send_batch, name=f"send-{kind}-batch", task_run_name=f"send-{kind} batch {{number}}"
        )

    @property
    def tally(self) -> Tally:
        """What this run did so far."""
        return self._delivery.tally

    @property
    def stopping(self) -> bool:
        """Whether no new send will start."""
        return self._delivery.stopping.is_set()

    def stop(self, reason: StopReason, why: str) -> None:
        """Let the sends in flight settle and leave the rest queued.

        Args:
            reason: What kind of reason.
            why: One sentence for the report.
        """
        self._delivery.stop(reason, why)

    async def run(self) -> Tally:
        """Send until nothing is queued, or until stopped.

        Returns:
            What this run did.

        Raises:
            LedgerError: The ledger can't be written; what was in flight is settled or `unknown`.
            asyncio.CancelledError: The flow run was cancelled; likewise.
        """
        running: set[asyncio.Task[Any]] = set()
        opening = asyncio.create_task(self._open_the_window())
        try:
            with quiet_task_logs(), imports_uncollected():
                async with self._until_terminated(running):
                    await (self._run_batches(running) if self._runs == "batch" else self._run_sends(running))
                    await _all(running)
        except asyncio.CancelledError:
            self.stop(StopReason.CANCELLED, "the flow run was cancelled")
            raise
        finally:
            await _all(running)
            opening.cancel()
            # A ledger that failed is not asked once more: leaving it frees what is reserved, now or by the next run.
            if self._buffer and not self._failure:
                await self._lease.give_back([*self._buffer])
        if self._failure:
            raise self._failure
        return self.tally

    # A task run a send ----------------------------------------------------------------------------------------------

    async def _run_sends(self, running: set[asyncio.Task[Any]]) -> None:
        # The row first: a run that waits for rows of another must not hold the slot that its own parked rows wait for.
        while await self._fill() and await self._take_slot():
            row = self._next_row()
            if row is None:
                self._slots.release()
                return
            if self._recorder:
                await self._recorder.room(unless=self._delivery.stopping.is_set)
            self._sending[row.id] = row
            self._spawn(running, self._send_task(to=mask(row.recipient), row=row.id, return_state=True))

    async def _send(self, to: str, row: int) -> State[Any] | None:
        sent = self._sending.pop(row)
        try:
            outcome = await self._delivery.deliver(sent, str(task_run.id or ""))
        except Exception as failure:
            self._fail(failure)  # here, as Prefect keeps it in the run's state
            raise
        finally:
            self._slots.release()
        match outcome.state:
            case SendState.ACCEPTED:
                return None
            case SendState.SKIPPED:
                return Completed(name="Skipped", message=outcome.error_text)
            case SendState.QUEUED:
                return Cancelled(name="NotSent", message=self.tally.stopped or outcome.error_text)
            case SendState.UNKNOWN:
                return Failed(name="Unknown", message=outcome.error_text)
            case _:
                return Failed(message=outcome.error_text)

    # A task run a batch ---------------------------------------------------------------------------------------------

    async def _run_batches(self, running: set[asyncio.Task[Any]]) -> None:
        number = 0
        while await self._fill():
            number += 1
            if self._recorder:
                await self._recorder.room(unless=self._delivery.stopping.is_set)
            # The next batch begins as soon as this one has taken its rows, so that no slot waits for its last answer.
            taken = asyncio.Event()
            batch = self._spawn(running, self._batch_task(number=number, taken=_Opaque(taken), return_state=True))
            batch.add_done_callback(lambda _, taken=taken: taken.set())  # type: ignore[misc]  # mypy can't type the default
            await taken.wait()

    async def _send_batch(self, number: int, taken: "_Opaque") -> State[Any] | None:
        rows: BatchRows = []
        sending: set[asyncio.Task[Any]] = set()
        run_id = str(task_run.id or "")

        async def one(row: Row) -> None:
            try:
                rows.append((row, await self._delivery.deliver(row, run_id)))
            finally:
                self._slots.release()

        try:
            count = 0
            while count < self._batch_size and await self._fill() and await self._take_slot():
                row = self._next_row()
                if row is None:
                    self._slots.release()
                    break
                count += 1
                self._spawn(sending, one(row))
        except Exception as failure:
            self._fail(failure)
            raise
        finally:
            taken.event.set()
            await _all(sending)
        await self._tell(number, rows)
        counts = {state: sum(outcome.state is state for _, outcome in rows) for state in SendState}
        said = ", ".join(f"{n} {'not sent' if s is SendState.QUEUED else s}" for s, n in counts.items() if n)
        if counts[SendState.UNKNOWN]:
            return Failed(name="Unknown", message=said)
        return Completed(message=said)

    async def _tell(self, number: int, rows: BatchRows) -> None:
        """Show a batch's rows in Prefect: its server may be away for a while, and that must not fail the batch."""
        for pause in SHOWING_PAUSES:
            try:
                if self._on_batch and rows:
                    await self._on_batch(number, rows)
            except Exception as failure:
                if pause is None:
                    name = type(failure).__name__
                    _logger.warning(
                        "The rows of batch %d are not shown in Prefect (%s); the ledger has them.", number, name
                    )
                    return
                await asyncio.sleep(pause)
            else:
                return

    # Rows and slots -------------------------------------------------------------------------------------------------

    async def _take_slot(self) -> bool:
        await self._slots.acquire()
        if self.stopping:
            self._slots.release()
            return False
        return True

    def _next_row(self) -> Row | None:
        if self.stopping or self._left <= 0 or not self._buffer:
            return None
        self._left -= 1
        return self._buffer.popleft()

    async def _fill(self) -> bool:
        """Have rows at hand; wait for rows that another run holds, for should it die, they come back to us."""
        while not self._buffer and not self.stopping and self._left > 0:
            self._buffer.extend(await self._lease.take(int(min(self._window(), self._left))))
            if self._buffer:
                break
            if await self._lease.recover():
                continue
            outstanding = await self._lease.outstanding()
            if not outstanding.queued and not outstanding.held_by_others:
                return False
            await self._pause_for_others()
        return bool(self._buffer) and not self.stopping

    async def _pause_for_others(self) -> None:
        """Others hold the rest, or all of the sender's rate: as soon as this run gets a part of that, it goes on."""
        without_share = self._lease.share <= 0
        for _ in range(20):
            await self._pause(0.05)
            if self.stopping or (without_share and self._lease.share > 0):
                return

    def _window(self) -> int:
        """Rows to hold at a time: half a second's, so that at the end no run idles long while another still sends."""
        rate = self._pace.rate
        return WINDOW_AT_MOST if math.isinf(rate) else max(4, min(WINDOW_AT_MOST, int(rate / 2)))

    async def _open_the_window(self) -> None:
        """After the first answer, follow what the pace needs: rate × answer time, with room for slow answers."""
        await self._delivery.first_answer.wait()
        while True:
            requests = self._in_flight or self._needed()
            self._gate.resize(requests)
            self._slots.resize(requests + math.ceil(requests / REQUESTS_A_ROW_BETWEEN))
            await asyncio.sleep(0.5)

    def _needed(self) -> int:
        rate = self._pace.rate
        if math.isinf(rate):
            return UNPACED_IN_FLIGHT
        return max(2, min(MAX_IN_FLIGHT, math.ceil(rate * (self.tally.answer_seconds + 0.05) * 2)))

    async def _park(self, seconds: float) -> None:
        """Wait for one recipient alone: its slot goes to others meanwhile, unless too many wait already."""
        if self._parked >= PARKED_AT_MOST:
            await self._pause(seconds)
            return
        self._parked += 1
        self._slots.release()
        try:
            await self._pause(seconds)
        finally:
            self._parked -= 1
            await self._slots.acquire()

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._delivery.stopping.wait(), seconds)
        except TimeoutError:
            return

    def _spawn(self, running: set[asyncio.Task[Any]], work: Any) -> asyncio.Task[Any]:
        one: asyncio.Task[Any] = asyncio.ensure_future(work)
        running.add(one)
        one.add_done_callback(running.discard)
        one.add_done_callback(self._note)
        return one

    def _note(self, done: asyncio.Task[Any]) -> None:
        if not done.cancelled() and (error := done.exception()):
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """A send that raised: the ledger failed, or we did. Nothing more is sent."""
        if isinstance(error, ClaimLostError):
            return
        self._failure = self._failure or error
        if isinstance(error, WhatsAppError):
            self.stop(StopReason.LEDGER, error.message)
        else:
            self.stop(StopReason.INTERNAL, f"unexpected {type(error).__name__}")

    # Signals --------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _until_terminated(self, running: set[asyncio.Task[Any]]) -> AsyncIterator[None]:
        """Prefect cancels by SIGTERM: stop the taking, let the sends in flight settle, then hand the signal on."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop, previous, came = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM), False

        def terminate() -> None:
            nonlocal came
            came = True
            self.stop(StopReason.CANCELLED, "the flow run was cancelled")

        loop.add_signal_handler(signal.SIGTERM, terminate)
        try:
            yield
            await _all(running)
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, previous)
        if came:
            if self._buffer:
                await self._lease.give_back([*self._buffer])
                self._buffer.clear()
            signal.raise_signal(signal.SIGTERM)


class _Opaque:
    """Keeps Prefect from walking into a task's argument."""

    def __init__(self, event: asyncio.Event) -> None:
        self.event = event


async def _all(running: set[asyncio.Task[Any]]) -> None:
    """Wait for every send in flight, also when we are cancelled meanwhile: each is to settle."""
    cancelled = False
    while running:
        try:
            await asyncio.wait(running)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
