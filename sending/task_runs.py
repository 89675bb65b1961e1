"""How a send becomes a task run in Prefect: the one place that knows."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar
from functools import partial
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_logger
from prefect.runtime import task_run
from prefect.states import Cancelled, Completed, Failed

from ..ledger import Outcome, Row
from ..models import SendState, mask
from .admission import Admission
from .backpressure import Backpressure
from .delivery import Delivery
from .stop import StopSignal

BatchRows = list[tuple[Row, Outcome]]
OnBatch = Callable[[int, BatchRows], Awaitable[None]]

# Together longer than a server's restart.
SHOWING_PAUSES = (1.0, 5.0, 15.0, None)
# What Prefect's engine may still take once a broadcast stops and nothing is being sent: it waits for a server that is
# gone without end where a task run has tags.
ENGINE_SECONDS = 10.0
LOOK_SECONDS = 0.5

_logger = get_logger("prefect_whatsapp.dispatcher")


class TaskRuns(ABC):
    """Starts sends as task runs and waits until they are settled.

    Args:
        delivery: Sends a row.
        admission: Let the rows in, and is told when one is done.
        stop: Set where a send raises.
        kind: `audio` or `contacts`, part of the task runs' names.
        backpressure: Is told of each task run that is started; None where nobody counts.
    """

    def __init__(
        self,
        delivery: Delivery,
        admission: Admission,
        stop: StopSignal,
        *,
        kind: str,
        backpressure: Backpressure | None = None,
    ) -> None:
        self._delivery, self._admission, self._stop, self._backpressure = delivery, admission, stop, backpressure
        self._kind = kind
        self._running: set[asyncio.Task[Any]] = set()
        self._sending = 0

    @abstractmethod
    def start(self, row: Row) -> None:
        """Start the send of a row that was let in, and return at once."""

    async def settled(self) -> None:
        """Wait until every send that was started is settled, also when cancelled meanwhile."""
        cancelled, held_up = False, 0.0
        while self._running:
            try:
                await asyncio.wait(self._running, timeout=LOOK_SECONDS)
            except asyncio.CancelledError:
                cancelled = True
            held_up = held_up + LOOK_SECONDS if self._stop.is_set() and not self._sending else 0.0
            if held_up >= ENGINE_SECONDS:
                _logger.warning(
                    "Prefect does not end %d task runs; the broadcast no longer waits for them.", len(self._running)
                )
                for running in self._running:
                    running.cancel()
                held_up = 0.0
        if cancelled:
            raise asyncio.CancelledError

    async def _send(self, row: Row, run_id: str) -> Outcome:
        """Send a row within its task run."""
        self._sending += 1
        try:
            return await self._delivery.send(row, run_id)
        except Exception as failure:  # whatever it was: raised at the end
            self._stop.fail(failure)  # here, as Prefect keeps it in the run's state
            raise
        finally:
            self._sending -= 1
            self._admission.leave(row)

    def _run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        running = asyncio.create_task(work)
        self._running.add(running)
        running.add_done_callback(self._done)
        return running

    def _count(self) -> None:
        if self._backpressure:
            self._backpressure.started += 1

    def _done(self, running: asyncio.Task[Any]) -> None:
        self._running.discard(running)
        if not running.cancelled() and (failure := running.exception()):
            self._stop.fail(failure)


_row: ContextVar[Row] = ContextVar("row")
_batch: ContextVar["_Batch"] = ContextVar("batch")
_as_task: Any = partial(Task, cache_policy=NO_CACHE, persist_result=False, cache_result_in_memory=False, retries=0)


def send_task(kind: str, run: Callable[[str], Awaitable[Any]]) -> Task[..., Any]:
    """Make the Prefect task of a send: never repeated, cached or kept by Prefect.

    Args:
        kind: `audio` or `contacts`, part of the names.
        run: Takes the masked recipient as `to`.
    """
    made: Task[..., Any] = _as_task(run, name=f"send-{kind}", task_run_name=f"send-{kind} {{to}}")
    return made


class EngineTaskRuns(TaskRuns):
    """A task run a send, by Prefect's engine; arguments as for `TaskRuns`."""

    def __init__(self, delivery: Delivery, admission: Admission, stop: StopSignal, **others: Any) -> None:
        super().__init__(delivery, admission, stop, **others)
        # The row travels in the context: Prefect walks through a task's arguments, and stores them.
        self._task = send_task(self._kind, self._send_current)

    def start(self, row: Row) -> None:
        """Start the task run of one send."""
        self._count()
        _row.set(row)
        running = self._run(self._task(to=mask(row.recipient), return_state=True))
        running.add_done_callback(lambda _: self._admission.leave(row))  # also where Prefect never came to it

    async def _send_current(self, to: str) -> State[Any] | None:
        return state_of(await self._send(_row.get(), str(task_run.id or "")), stopped=self._stop.sentence)


def state_of(outcome: Outcome, *, stopped: str = "") -> State[Any] | None:
    """How the task run of a send ended, by what became of its row.

    Args:
        outcome: What the ledger recorded.
        stopped: Why the broadcast stopped; empty where it goes on.

    Returns:
        The state; None for Completed.
    """
    match outcome.state:
        case SendState.ACCEPTED:
            return None
        case SendState.SKIPPED:
            return Completed(name="Skipped", message=outcome.error_text)
        case SendState.QUEUED:
            return Cancelled(name="NotSent", message=stopped or outcome.error_text)
        case SendState.UNKNOWN:
            return Failed(name="Unknown", message=outcome.error_text)
        case _:
            return Failed(message=outcome.error_text)


class _Batch:
    """Sends that are one task run: filled while it runs, until it is full or nothing is left."""

    def __init__(self, number: int, size: int) -> None:
        self.number, self.left = number, size
        self.rows: asyncio.Queue[Row | None] = asyncio.Queue()

    def add(self, row: Row) -> None:
        self.left -= 1
        self.rows.put_nowait(row)
        if not self.left:
            self.close()

    def close(self) -> None:
        self.left = 0
        self.rows.put_nowait(None)


class BatchTaskRuns(TaskRuns):
    """A task run of up to `batch_size` sends, by Prefect's engine.

    Args:
        batch_size: Sends a task run, at most.
        on_batch: Told of each finished batch: its number, and each row with its outcome.
        others: As for `TaskRuns`.
    """

    def __init__(
        self,
        delivery: Delivery,
        admission: Admission,
        stop: StopSignal,
        *,
        batch_size: int = 500,
        on_batch: OnBatch | None = None,
        **others: Any,
    ) -> None:
        super().__init__(delivery, admission, stop, **others)
        self._batch_size, self._on_batch = batch_size, on_batch
        self._open = _Batch(0, 0)
        name = f"send-{self._kind}"
        self._task = _as_task(self._send_batch, name=f"{name}-batch", task_run_name=f"{name} batch {{number}}")

    def start(self, row: Row) -> None:
        """Hand a row to the batch that is being filled; a full one waits for its answers while the next is filled."""
        if not self._open.left:
            self._open = _Batch(self._open.number + 1, self._batch_size)
            self._count()
            _batch.set(self._open)
            self._run(self._task(number=self._open.number, return_state=True))
        self._open.add(row)

    async def settled(self) -> None:
        """Fill no more, and wait until every batch is settled."""
        if self._open.left:
            self._open.close()
        await super().settled()

    async def _send_batch(self, number: int) -> State[Any] | None:
        batch, run_id = _batch.get(), str(task_run.id or "")
        rows: BatchRows = []

        async def send(row: Row) -> None:
            rows.append((row, await self._send(row, run_id)))

        sends: list[asyncio.Task[None]] = []
        while (row := await batch.rows.get()) is not None:
            sends.append(asyncio.create_task(send(row)))
        failures = [raised for raised in await asyncio.gather(*sends, return_exceptions=True) if raised]
        if failures:
            raise failures[0]
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
            except Exception as failure:  # the server's trouble; the ledger has the rows
                if pause is None:
                    name = type(failure).__name__
                    _logger.warning(
                        "The rows of batch %d are not shown in Prefect (%s); the ledger has them.", number, name
                    )
                    return
                await asyncio.sleep(pause)
            else:
                return
