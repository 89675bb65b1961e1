"""Sends that become task runs, by Prefect's engine or told by their final event."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from prefect import get_client
from prefect.context import FlowRunContext
from prefect_whatsapp.ledger import Outcome, Row
from prefect_whatsapp.models import SendState
from prefect_whatsapp.sending.event_contract import EndedRun, new_run_id
from prefect_whatsapp.sending.event_runs import EventTaskRuns, ended_run_of, events_of_this_flow_run
from prefect_whatsapp.sending.stop import StopSignal
from prefect_whatsapp.sending.task_run_events import TaskRunEvents
from prefect_whatsapp.sending.task_runs import EngineTaskRuns

OUTCOMES = [
    Outcome(SendState.ACCEPTED),
    Outcome(SendState.SKIPPED, error_text="the window is closed"),
    Outcome(SendState.UNKNOWN, error_text="the answer was lost"),
    Outcome(SendState.FAILED, error_text="131026: not on WhatsApp"),
    Outcome(SendState.QUEUED, error_text="the broadcast stopped"),
]
Send = Callable[[Row, str], Awaitable[Outcome]]


def task_runs_that(kind: Any, send: Send, **others: Any) -> Any:
    """Task runs whose sends do this."""
    delivery, admission = SimpleNamespace(send=send), SimpleNamespace(leave=lambda _: None)
    return kind(delivery, admission, StopSignal(), kind="audio", **others)


async def run_by_engine(send: Send, row: Row) -> None:
    runs = task_runs_that(EngineTaskRuns, send)
    runs.start(row)
    await runs.settled()


async def run_and_tell(send: Send, row: Row) -> None:
    async with told_events() as events:
        runs = task_runs_that(EventTaskRuns, send, events=events)
        runs.start(row)
        await runs.settled()


def row_numbered(number: int) -> Row:
    return Row(
        id=number,
        broadcast_id="b",
        recipient="+16505550123",
        name="",
        reply_to="",
        state=SendState.QUEUED,
        attempts=0,
        message_id="",
        status_text="",
        error_code="",
        error_text="",
        error_kind="",
        task_run_id="",
        provider="graph",
        account="1",
    )


def ended_run(number: int, outcome: Outcome = OUTCOMES[0]) -> EndedRun:
    row = dataclasses.replace(
        row_numbered(number), state=outcome.state, error_text=outcome.error_text, task_run_id=str(new_run_id())
    )
    return ended_run_of("audio", row)


def this_flow_run() -> UUID:
    context = FlowRunContext.get()
    assert context
    assert context.flow_run
    return context.flow_run.id


@contextlib.asynccontextmanager
async def told_events() -> AsyncIterator[TaskRunEvents]:
    """The events of the flow run that is running."""
    events = await events_of_this_flow_run("audio")
    assert events
    async with events:
        yield events


async def shown_runs(flow_run_id: UUID, count: int) -> list[dict[str, Any]]:
    """The task runs that the server shows as ended, once there are so many."""
    shown: list[dict[str, Any]] = []
    for _ in range(300):
        async with get_client() as client:
            answer = await client.request(
                "POST", "/task_runs/filter", json={"flow_runs": {"id": {"any_": [str(flow_run_id)]}}}
            )
        # The recorder writes a run before its state.
        shown = [run for run in answer.json() if run["state"] and run["state_type"] not in ("PENDING", "RUNNING")]
        if len(shown) >= count:
            break
        await asyncio.sleep(0.1)
    return shown
