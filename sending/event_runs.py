"""A send becomes a task run by its final event, where the server takes that, and else by Prefect's task engine."""

import asyncio
import datetime
import time
from contextvars import ContextVar
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.logging import get_logger
from prefect.task_engine import run_task_async

from ..ledger import Outcome, Row
from ..models import mask
from .admission import Admission
from .delivery import Delivery
from .event_contract import EndedRun, EndState, EventContract, new_run_id, run_key
from .stop import StopSignal
from .task_run_events import TaskRunEvents
from .task_runs import EngineTaskRuns, send_task, state_of

# A recorder flushes every five seconds on default settings, and has perhaps others' events before ours.
PROBE_SECONDS = 20.0
PROBE_PAUSE_SECONDS = 0.2
_RAISED = EndState(StateType.FAILED, "Failed", "the send raised an unexpected error")
_CANCELLED = EndState(StateType.CRASHED, "Crashed", "the flow run was cancelled while it was sent")

_logger = get_logger("prefect_whatsapp.recorder")


async def events_of_this_flow_run(kind: str) -> TaskRunEvents | None:
    """Make what tells the server of this flow run's sends; None outside of a flow run.

    Args:
        kind: `audio` or `contacts`.
    """
    async with get_client() as client:
        contract = await EventContract.of_this_flow_run(send_task(kind, _tell_ended), client)
    return TaskRunEvents(contract) if contract else None


class EventTaskRuns(EngineTaskRuns):
    """A send is told to the server by its final event alone.

    The first one is looked up. Where the server does not show it as it should within some seconds, Prefect's engine goes
    on with the rest, and what was sent meanwhile is told by the engine too.

    Args:
        events: Tells the server.
        probe_seconds: How long to look for the first run, while the server answers.
        others: As for `TaskRuns`.
    """

    def __init__(
        self,
        delivery: Delivery,
        admission: Admission,
        stop: StopSignal,
        *,
        events: TaskRunEvents,
        probe_seconds: float = PROBE_SECONDS,
        **others: Any,
    ) -> None:
        super().__init__(delivery, admission, stop, **others)
        self._events, self._probe_seconds = events, probe_seconds
        self._unproved: list[EndedRun] | None = []  # None once it is known whether the server shows the first one
        self._probed = False
        self._told_task = send_task(self._kind, _tell_ended)

    def start(self, row: Row) -> None:
        """Start one send, whose task run is told when it has ended."""
        if self._events.refusal:
            super().start(row)
            return
        self._count()
        running = self._run(self._send_and_tell(row))
        running.add_done_callback(lambda _: self._admission.leave(row))

    async def _send_and_tell(self, row: Row) -> None:
        run_id, started_at = new_run_id(), _now()
        state = _RAISED
        try:
            state = EndState.of(state_of(await self._send(row, str(run_id)), stopped=self._stop.sentence))
        except asyncio.CancelledError:
            state = _CANCELLED
            raise
        finally:
            await self._tell(_ended(self._kind, row, run_id, state, started_at, _now()))

    async def _tell(self, ended: EndedRun) -> None:
        if self._unproved is None and self._events.refusal:
            await self._tell_by_engine(ended)
            return
        self._events.tell(ended)
        if self._unproved is not None:
            self._unproved.append(ended)
            if not self._probed:
                self._probed = True
                self._run(self._probe(ended))

    async def _probe(self, ended: EndedRun) -> None:
        """Look for the first run; go on with the engine where the server does not show it as it should."""
        try:
            why = await self._look_for(ended)
        except asyncio.CancelledError:
            self._unproved = None
            raise
        unproved, self._unproved = self._unproved or [], None
        if not why:
            return
        self._events.refuse(why)
        for each in unproved:
            await self._tell_by_engine(each)

    async def _look_for(self, ended: EndedRun) -> str:
        """Why the first run is not shown as it should be; empty where it is."""
        deadline = time.monotonic() + self._probe_seconds
        while not self._events.deleted:
            if self._events.refusal:
                return self._events.refusal
            try:
                await self._events.flush()
                shown = await self._events.state_of(ended.id)
            except httpx.HTTPStatusError as refusal:
                if refusal.response.status_code < 500:
                    return f"answers with HTTP {refusal.response.status_code}"
            except Exception as failure:  # away: it says nothing about what it takes, so time does not count
                _logger.debug("The Prefect server did not answer: %s", type(failure).__name__)
                deadline += PROBE_PAUSE_SECONDS
            else:
                if shown is not None:
                    return _difference(shown, ended)
            if time.monotonic() > deadline:
                return f"did not show the first one within {self._probe_seconds:g} s"
            await asyncio.sleep(PROBE_PAUSE_SECONDS)
        return ""

    async def _tell_by_engine(self, ended: EndedRun) -> None:
        """Make a task run of a send that is over; only its times are later than they were."""
        _over.set(ended)
        to = ended.name.rpartition(" ")[2]
        await run_task_async(self._told_task, task_run_id=ended.id, parameters={"to": to}, return_type="state")


def ended_run_of(kind: str, row: Row) -> EndedRun:
    """Say, from the ledger, how a send ended whose own process could not tell it any more.

    Args:
        kind: `audio` or `contacts`.
        row: A row with an outcome and the id of its task run.
    """
    outcome = Outcome(row.state, error_text=row.error_text)
    ended_at = row.settled_at or _now()
    state = EndState.of(state_of(outcome))
    return _ended(kind, row, UUID(row.task_run_id), state, row.claimed_at or ended_at, ended_at)


def _ended(
    kind: str, row: Row, run_id: UUID, state: EndState, started_at: datetime.datetime, ended_at: datetime.datetime
) -> EndedRun:
    name, key = f"send-{kind} {mask(row.recipient)}", run_key(row.id, row.attempts, run_id)
    return EndedRun(run_id, key, name, state, started_at, started_at, ended_at)


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


_over: ContextVar[EndedRun] = ContextVar("over")


async def _tell_ended(to: str) -> State[Any]:  # it is in the task run's name
    told = _over.get().state
    return State(
        type=told.type, name=told.name, message=told.message or None
    )  # of now: an older one would not replace Running


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
