"""How a send becomes a task run: told to the server by its final event, or run by Prefect's task engine."""

import asyncio
import datetime
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import UUID

import httpx
from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.logging import get_logger
from prefect.runtime import task_run
from prefect.states import Completed, Crashed, Failed
from prefect.task_engine import run_task_async

from ..ledger import Row
from ..models import mask
from .task_run_events import EndedRun, EventContract, TaskRunEvents, new_run_id, run_key

# A recorder flushes every five seconds on default settings, and has perhaps others' events before ours.
PROBE_SECONDS = 20.0
PROBE_PAUSE_SECONDS = 0.2

_logger = get_logger("prefect_whatsapp.recorder")

# Sends one row's message under a task run's id; returns the state that the task run is to have, None for Completed.
Send = Callable[[Row, str], Awaitable[State[Any] | None]]


class TaskRuns(Protocol):
    """Makes a task run of each send."""

    async def run(self, row: Row) -> None:
        """Send one row's message within a task run of its own; returns when its outcome is in the ledger."""
        ...


class EngineTaskRuns:
    """A send is run by Prefect's task engine, which emits three events: Pending, Running and how it ended.

    Args:
        kind: `audio` or `contacts`, part of the names.
        send: Sends one row's message.
    """

    def __init__(self, kind: str, send: Send) -> None:
        self._send, self._kind = send, kind
        self._rows: dict[int, Row] = {}
        as_task: Any = partial(
            Task, cache_policy=NO_CACHE, persist_result=False, cache_result_in_memory=False, retries=0
        )
        self.task: Task[..., Any] = as_task(self._run, name=f"send-{kind}", task_run_name=f"send-{kind} {{to}}")
        self._told_task = as_task(_ended, name=f"send-{kind}", task_run_name=f"send-{kind} {{to}}")

    async def run(self, row: Row) -> None:
        """Send one row's message within a task run of its own."""
        self._rows[row.id] = row
        # The state is asked for, so that a send that failed does not raise here: its outcome is in the ledger.
        await self.task(to=mask(row.recipient), row=row.id, return_state=True)

    async def tell(self, ended: EndedRun, to: str) -> None:
        """Make a task run of a send that is over; only its times are later than they were."""
        await run_task_async(
            self._told_task, task_run_id=ended.id, parameters={"to": to, "ended": _Opaque(ended)}, return_type="state"
        )

    async def _run(self, to: str, row: int) -> State[Any] | None:
        return await self._send(self._rows.pop(row), str(task_run.id or ""))


class EventTaskRuns:
    """A send is told to the server by its final event alone, where the server takes that.

    The first send's run is looked up. Where the server does not show it as it should within some seconds, the engine
    goes on with the rest, and what was sent meanwhile is told by the engine too. An async context manager.

    Args:
        kind: `audio` or `contacts`, part of the names.
        send: Sends one row's message.
        probe_seconds: How long to look for the first run, while the server answers.

    Attributes:
        events: Tells the server; None outside of a flow run, where the engine is used.
        fell_back: Whether the engine makes the task runs.
    """

    def __init__(self, kind: str, send: Send, *, probe_seconds: float = PROBE_SECONDS) -> None:
        self.events: TaskRunEvents | None = None
        self.fell_back = False
        self._kind, self._send, self._probe_seconds = kind, send, probe_seconds
        self._engine = EngineTaskRuns(kind, send)
        self._unproved: list[tuple[EndedRun, str]] | None = []  # None once the server has shown the first one
        self._probing: asyncio.Task[None] | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with get_client() as client:
            contract = await EventContract.of_this_flow_run(self._engine.task, client)
        if contract is None:
            self.fell_back = True
        else:
            self.events = await self._stack.enter_async_context(TaskRunEvents(contract))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._probing:
                await asyncio.gather(self._probing, return_exceptions=True)
        finally:
            await self._stack.__aexit__(kind, error, trace)

    async def run(self, row: Row) -> None:
        """Send one row's message, and tell of it."""
        if self.fell_back or self.events is None:
            await self._engine.run(row)
            return
        run_id, started_at = new_run_id(), _now()
        state: State[Any] | None = Failed(message="the send raised an unexpected error")
        try:
            state = await self._send(row, str(run_id))
        except asyncio.CancelledError:
            state = Crashed(message="the flow run was cancelled while it was sent")
            raise
        finally:
            ended = ended_run(
                self._kind, row, run_id=str(run_id), state=state or Completed(), started_at=started_at, ended_at=_now()
            )
            await self._tell(ended, mask(row.recipient))

    async def _tell(self, ended: EndedRun, to: str) -> None:
        assert self.events
        if self.fell_back:
            await self._engine.tell(ended, to)
            return
        self.events.tell(ended)
        if self._unproved is None:
            if self.events.refusal:  # it took the first, and takes no more
                self._fall_back(f"refuses them ({self.events.refusal})")
            return
        self._unproved.append((ended, to))
        if self._probing is None:
            self._probing = asyncio.create_task(self._probe(ended), name="task run probe")

    async def _probe(self, ended: EndedRun) -> None:
        """Look for the first run; go on with the engine where the server does not show it as it should."""
        why = await self._look_for(ended)
        unproved, self._unproved = self._unproved or [], None
        if not why:
            return
        self._fall_back(why)
        for each, to in unproved:
            await self._engine.tell(each, to)

    async def _look_for(self, ended: EndedRun) -> str:
        """Why the first run is not shown as it should be; empty where it is."""
        assert self.events
        deadline = time.monotonic() + self._probe_seconds
        while True:
            try:
                await self.events.flush()
                shown = await self.events.state_of(ended.id)
            except httpx.HTTPStatusError as refusal:
                if refusal.response.status_code < 500:
                    return f"answers with HTTP {refusal.response.status_code}"
            except Exception as failure:  # away: it says nothing about what it takes, so time does not count
                _logger.debug("The Prefect server did not answer: %s", type(failure).__name__)
                deadline += PROBE_PAUSE_SECONDS
            else:
                if shown is not None:
                    return _difference(shown, ended)
            if self.events.deleted:
                return ""
            if time.monotonic() > deadline:
                return f"did not show the first one within {self._probe_seconds:g} s"
            await asyncio.sleep(PROBE_PAUSE_SECONDS)

    def _fall_back(self, why: str) -> None:
        if not self.fell_back:
            self.fell_back = True
            _logger.warning(
                "This Prefect server does not record task runs by their final event: it %s. The broadcast goes on with"
                " Prefect's task engine, which is slower; runs='engine' chooses it from the start.",
                why,
            )


def ended_run(
    kind: str,
    row: Row,
    *,
    run_id: str,
    state: State[Any],
    started_at: datetime.datetime,
    ended_at: datetime.datetime,
) -> EndedRun:
    """Say how a row's send ended.

    Args:
        kind: `audio` or `contacts`.
        row: As it was when it was taken.
        run_id: The task run's id.
        state: How it ended.
        started_at: When it started.
        ended_at: When it ended.
    """
    number = UUID(run_id)
    return EndedRun(
        number,
        run_key(row.id, row.attempts, number),
        f"send-{kind} {mask(row.recipient)}",
        state.model_copy(update={"timestamp": ended_at}),
        started_at,
        started_at,
        ended_at,
    )


def _difference(shown: dict[str, Any], ended: EndedRun) -> str:
    """What the server shows otherwise than it was told."""
    expected = {
        "name": ended.name,
        "state_type": ended.state.type.value,
        "state_name": ended.state.name,
        "dynamic_key": ended.key,
        "run_count": 1,
    }
    wrong = [name for name, value in expected.items() if shown.get(name) != value]
    wrong += [name for name in ("flow_run_id", "start_time", "end_time") if not shown.get(name)]
    return f"shows another {', '.join(wrong)}" if wrong else ""


class _Opaque:
    """Keeps Prefect from walking into a task's argument."""

    def __init__(self, ended: EndedRun) -> None:
        self.ended = ended


async def _ended(to: str, ended: _Opaque) -> State[Any]:  # it is in the task run's name
    told = ended.ended.state
    return State(type=told.type, name=told.name, message=told.message)  # of now: an older one would not replace Running


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
