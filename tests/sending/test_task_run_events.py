"""A send's task run, told to the server by its final event: the same event as the engine's, and none lost."""

import asyncio
import contextlib
import dataclasses
import datetime
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect import flow, get_client, tags
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_whatsapp.cli.prefect_server import prefect_server
from prefect_whatsapp.ledger import Outcome, Row
from prefect_whatsapp.models import SendState
from prefect_whatsapp.sending import backpressure
from prefect_whatsapp.sending.backpressure import Backpressure
from prefect_whatsapp.sending.event_runs import EventTaskRuns, ended_run_of, events_of_this_flow_run
from prefect_whatsapp.sending.stop import StopSignal
from prefect_whatsapp.sending.task_run_events import LIST_LENGTH, EndedRun, TaskRunEvents, new_run_id, run_key
from prefect_whatsapp.sending.task_runs import EngineTaskRuns

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]
OUTCOMES = [
    Outcome(SendState.ACCEPTED),
    Outcome(SendState.SKIPPED, error_text="the window is closed"),
    Outcome(SendState.UNKNOWN, error_text="the answer was lost"),
    Outcome(SendState.FAILED, error_text="131026: not on WhatsApp"),
    Outcome(SendState.QUEUED, error_text="the broadcast stopped"),
]
Send = Callable[[Row, str], Awaitable[Outcome]]

# Where ours differs from the engine's, and why. Anything else is a change of Prefect's that is to be looked at.
KNOWN_DIFFERENCES = {
    "follows",  # there is no event before it
    "payload.initial_state",  # nor a state
    "payload.intended.from",
    "payload.validated_state.state_details.untrackable_result",  # the engine notes that there is a result which it doesn't keep
    "payload.task_run.task_key",  # a hash of the task's code, and there is none of a run that is told afterwards
    # What differs between any two runs.
    "id",
    "occurred",
    "received",
    "resource.prefect.resource.id",
    "resource.prefect.state-timestamp",
    "payload.task_run.dynamic_key",
    "payload.task_run.expected_start_time",
    "payload.task_run.start_time",
    "payload.task_run.end_time",
    "payload.task_run.total_run_time",
}


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.state)
async def test_our_event_is_the_engine_s_final_event_field_by_field(outcome: Outcome) -> None:
    engines, ours = await _both(outcome)
    assert {path for path, pair in _differences(engines, ours)} <= KNOWN_DIFFERENCES, _differences(engines, ours)


async def test_the_known_differences_are_still_there() -> None:
    """One that is gone from the list's reasons would hide a change of Prefect's."""
    engines, ours = await _both(OUTCOMES[0])
    assert {path for path, pair in _differences(engines, ours)} >= {"follows", "payload.initial_state"}
    assert ours["payload"]["validated_state"]["state_details"] == {}


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.state)
async def test_the_server_shows_such_a_run_as_it_shows_the_engine_s(outcome: Outcome) -> None:
    @flow
    async def broadcast() -> list[dict[str, Any]]:
        async def send(row: Row, run_id: str) -> Outcome:
            return outcome

        with tags("weekly"):
            await _engine(send, _row(1))
            await _told(send, _row(2))
        return await _runs(_flow_run_id(), 2)

    shown = await broadcast()
    engines, ours = sorted(shown, key=lambda run: "-" in run["dynamic_key"][8:9])
    if not ours["dynamic_key"].startswith("2-"):
        engines, ours = ours, engines
    differ = {name for name in engines if engines[name] != ours[name]}
    own = {
        "id",
        "task_key",
        "created",
        "updated",
        "dynamic_key",
        "state_id",
        "state",
        "expected_start_time",
        "start_time",
    }
    timed = {"end_time", "total_run_time", "estimated_run_time", "estimated_start_time_delta"}
    assert differ <= own | timed
    assert ours["tags"] == ["weekly"]
    assert {"type", "name", "message"} <= {k for k in ours["state"] if ours["state"][k] == engines["state"][k]}


async def test_a_run_told_twice_is_one_run() -> None:
    @flow
    async def broadcast() -> int:
        async with _events() as events:
            run = _ended(1)
            for _ in range(2):
                events.tell(run)
                await events.flush()
            events.tell(_ended(2))
            return len(await _runs(_flow_run_id(), 2))

    assert await broadcast() == 2


async def test_a_run_takes_no_more_than_a_list_at_a_time() -> None:
    posted: list[int] = []

    @flow
    async def broadcast() -> None:
        async with _events() as events:
            _spy(events, posted)
            for number in range(LIST_LENGTH + 3):
                events.tell(_ended(number))
            await events.flush()

    await broadcast()
    assert posted == [LIST_LENGTH, 3]


async def test_what_the_server_lost_is_told_again_one_by_one() -> None:
    posted: list[int] = []

    @flow
    async def broadcast() -> tuple[int, int, int]:
        async with _events() as events:
            kept = [_ended(number) for number in range(3)]
            for run in kept:
                events.tell(run)
            await events.flush()
            await _runs(_flow_run_id(), 3)
            _lose(events)
            lost = [_ended(number) for number in range(3, 7)]
            for run in lost:
                events.tell(run)
            await events.flush()
            _spy(events, posted)
            again = await events.tell_missing_again()
            return again, events.unseen, len(await _runs(_flow_run_id(), 7))

    assert await broadcast() == (4, 4, 7)
    assert posted == [1, 1, 1, 1]


async def test_an_event_that_is_told_again_has_an_id_of_its_own_and_is_of_the_same_run() -> None:
    """Prefect's broker passes on an id once in five minutes, also where its recorder then dropped the event."""

    @flow
    async def broadcast() -> None:
        async with _events() as events:
            run, event = _ended(1), events._contract.event
            assert event(run) == event(run)
            again = event(run, again=True)
            assert again["id"] != event(run)["id"]
            assert again | {"id": ""} == event(run) | {"id": ""}

    await broadcast()


async def test_nothing_is_told_of_a_flow_run_that_was_deleted() -> None:
    """Its events could not be recorded, and would take others' with them."""
    seen: list[Any] = []

    @flow
    async def broadcast() -> None:
        async with _events() as events:
            events.tell(_ended(1))
            await events.flush()
            await _runs(_flow_run_id(), 1)
            async with get_client() as client:
                await client.delete_flow_run(_flow_run_id())
            seen.append(await events.tell_missing_again())
            posted: list[int] = []
            _spy(events, posted)
            events.tell(_ended(2))
            await events.flush()
            seen.extend([events.deleted, posted])

    with pytest.raises(ObjectNotFound):  # Prefect itself, which can't end a run that is gone
        await broadcast()
    assert seen == [0, True, []]


@pytest.mark.ci
async def test_the_sends_of_a_deleted_flow_run_take_no_other_s_with_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The recorder drops a batch in which one event can't be recorded: the count stands still, and each is told again."""
    monkeypatch.setattr(backpressure, "STILL_SECONDS", 4.0)
    monkeypatch.setattr(backpressure, "LAST_POLL_SECONDS", 1.0)
    deleted: list[dict[str, Any]] = []
    posted: list[int] = []

    @flow
    async def goes() -> None:
        async with _events() as events:
            async with get_client() as client:
                await client.delete_flow_run(_flow_run_id())
            deleted.extend(events._contract.event(_ended(number)) for number in range(20))

    @flow
    async def stays() -> tuple[bool, int]:
        async def send(row: Row, run_id: str) -> Outcome:
            return OUTCOMES[0]

        async with _events() as events:
            _mix(events, deleted)
            _spy(events, posted)
            async with Backpressure(_flow_run_id(), stop=StopSignal(), events=events) as pressure:
                runs = _task_runs(EventTaskRuns, send, events=events, backpressure=pressure)
                runs._probed, runs._unproved = True, None  # the server takes such events: it has shown one before
                for number in range(20):
                    runs.start(_row(number))
                await runs.settled()
                return await pressure.caught_up(), len(await _runs(_flow_run_id(), 20))

    # Of its own: the tests' server records each event alone, so that none is dropped with another.
    with prefect_server(tmp_path) as server, temporary_settings({PREFECT_API_URL: f"{server.url}/api"}):
        with pytest.raises(ObjectNotFound):  # Prefect itself, which can't end a run that is gone
            await goes()
        assert await stays() == (True, 20)
    assert sum(posted) >= 40, "the batch was lost, else nothing would be told again"
    assert posted[-20:] == [1] * 20, "told again one by one"


async def test_a_server_that_is_away_gets_the_events_later() -> None:
    @flow
    async def broadcast() -> tuple[int, int]:
        async with _events() as events:
            fails = _fail(events, httpx.ConnectError("away"), times=2)
            events.tell(_ended(1))
            await _until(lambda: not fails)
            return len(await _runs(_flow_run_id(), 1)), events.told

    assert await broadcast() == (1, 1)


async def test_sends_whose_process_was_killed_before_it_told_are_told_on_resume() -> None:
    @flow
    async def broadcast() -> tuple[int, int, set[str]]:
        async with _events() as events:
            known, forgotten = _ended(1), _ended(2, OUTCOMES[2])
            events.tell(known)
            await events.flush()
            await _runs(_flow_run_id(), 1)
            first = await events.tell_those_missing([known, forgotten])
            shown = await _runs(_flow_run_id(), 2)
            second = await events.tell_those_missing([known, forgotten])
            return first, second, {run["state_name"] for run in shown}

    assert await broadcast() == (1, 0, {"Completed", "Unknown"})


async def test_a_server_that_does_not_show_the_first_run_gets_all_of_them_from_the_engine(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "prefect_whatsapp.recorder")

    async def send(row: Row, run_id: str) -> Outcome:
        return OUTCOMES[2] if row.id == 2 else OUTCOMES[0]

    @flow
    async def broadcast() -> list[dict[str, Any]]:
        async with _events() as events:
            runs = _task_runs(EventTaskRuns, send, events=events, probe_seconds=0.5)
            _lose(events)
            for number in (1, 2):
                runs.start(_row(number))
            await _until(lambda: bool(events.refusal))
            runs.start(_row(3))
            await runs.settled()
        return await _runs(_flow_run_id(), 3)

    shown = await broadcast()
    assert sorted(run["state_name"] for run in shown) == ["Completed", "Completed", "Unknown"]
    assert len([record for record in caplog.records if "does not record task runs" in record.message]) == 1


async def test_a_server_that_refuses_the_events_gets_all_of_them_from_the_engine() -> None:
    async def send(row: Row, run_id: str) -> Outcome:
        return OUTCOMES[0]

    @flow
    async def broadcast() -> tuple[str, int]:
        async with _events() as events:
            runs = _task_runs(EventTaskRuns, send, events=events)
            request = httpx.Request("POST", "http://127.0.0.1/api/events")
            refusal = httpx.HTTPStatusError("no", request=request, response=httpx.Response(422, request=request))
            _fail(events, refusal, times=100)
            runs.start(_row(1))
            await _until(lambda: bool(events.refusal))
            runs.start(_row(2))
            await runs.settled()
            return events.refusal, len(await _runs(_flow_run_id(), 2))

    assert await broadcast() == ("answers with HTTP 422", 2)


async def test_a_send_that_raises_is_a_failed_run_without_what_it_raised() -> None:
    async def send(row: Row, run_id: str) -> Outcome:
        raise RuntimeError("the ledger said +16505550123")

    @flow
    async def broadcast() -> list[dict[str, Any]]:
        async with _events() as events:
            runs = _task_runs(EventTaskRuns, send, events=events)
            runs.start(_row(1))
            await runs.settled()
        return await _runs(_flow_run_id(), 1)

    (run,) = await broadcast()
    assert run["state_name"] == "Failed"
    assert "0123" not in run["state"]["message"]


def test_ids_sort_by_when_they_were_made_and_are_version_7() -> None:
    first = new_run_id()
    assert first.version == 7
    assert first.variant == "specified in RFC 4122"
    assert abs(int(first.hex[:12], 16) / 1000 - datetime.datetime.now(datetime.UTC).timestamp()) < 60
    assert len({new_run_id() for _ in range(1000)}) == 1000


def test_the_key_of_a_run_names_its_row_and_attempt_and_is_never_another_run_s() -> None:
    assert run_key(17, 2, UUID(int=0xBEEF)).startswith("17-2-")
    assert run_key(17, 2, uuid4()) != run_key(17, 2, uuid4())


# Helpers ---------------------------------------------------------------------------------------------------------------


async def _both(outcome: Outcome) -> tuple[dict[str, Any], dict[str, Any]]:
    """The final event of the engine and ours, of one flow, as the server keeps them."""

    @flow
    async def broadcast() -> tuple[str, str]:
        ids: list[str] = []

        async def send(row: Row, run_id: str) -> Outcome:
            ids.append(run_id)
            return outcome

        with tags("weekly"):
            await _engine(send, _row(1))
            await _told(send, _row(1))
        return ids[0], ids[1]

    engine_id, our_id = await broadcast()
    return await _final_event(engine_id), await _final_event(our_id)


def _task_runs(kind: Any, send: Send, **others: Any) -> Any:
    """Task runs whose sends do this."""
    delivery, admission = SimpleNamespace(send=send), SimpleNamespace(leave=lambda _: None)
    return kind(delivery, admission, StopSignal(), kind="audio", **others)


async def _engine(send: Send, row: Row) -> None:
    runs = _task_runs(EngineTaskRuns, send)
    runs.start(row)
    await runs.settled()


async def _told(send: Send, row: Row) -> None:
    async with _events() as events:
        runs = _task_runs(EventTaskRuns, send, events=events)
        runs.start(row)
        await runs.settled()


async def _final_event(run_id: str) -> dict[str, Any]:
    body = {
        "filter": {"resource": {"id": [f"prefect.task-run.{run_id}"]}, "order": "DESC"},
        "limit": 10,
    }
    for _ in range(200):
        async with get_client() as client:
            events = (await client.request("POST", "/events/filter", json=body)).json()["events"]
        if events and events[0]["resource"]["prefect.state-type"] not in ("PENDING", "RUNNING"):
            return dict(events[0])
        await asyncio.sleep(0.1)
    raise AssertionError(f"no final event of {run_id}")


def _differences(one: Any, other: Any, path: str = "") -> list[tuple[str, tuple[Any, Any]]]:
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted({*one, *other})
        return [
            found
            for name in names
            for found in _differences(one.get(name, "absent"), other.get(name, "absent"), f"{path}.{name}".strip("."))
        ]
    return [] if one == other else [(path, (one, other))]


def _row(number: int) -> Row:
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


def _ended(number: int, outcome: Outcome = OUTCOMES[0]) -> EndedRun:
    row = dataclasses.replace(
        _row(number), state=outcome.state, error_text=outcome.error_text, task_run_id=str(new_run_id())
    )
    return ended_run_of("audio", row)


def _flow_run_id() -> UUID:
    context = FlowRunContext.get()
    assert context
    assert context.flow_run
    return context.flow_run.id


@contextlib.asynccontextmanager
async def _events() -> AsyncIterator[TaskRunEvents]:
    """The events of the flow run that is running."""
    events = await events_of_this_flow_run("audio")
    assert events
    async with events:
        yield events


def _spy(events: TaskRunEvents, posted: list[int]) -> None:
    post = events._post

    async def spied(runs: Any, **how: Any) -> None:
        posted.append(len(runs))
        await post(runs, **how)

    events._post = spied  # type: ignore[method-assign]


def _mix(events: TaskRunEvents, others: list[dict[str, Any]]) -> None:
    """Let one of these events precede each of ours, as long as there are some: whatever the recorder takes has both."""

    async def mixed(runs: Any, **how: Any) -> None:
        body = []
        for ended in runs:
            body += [others.pop()] if others else []
            body.append(events._contract.event(ended, **how))
        assert events._client
        await events._client.request("POST", "/events", json=body)

    events._post = mixed  # type: ignore[method-assign]


def _lose(events: TaskRunEvents) -> None:
    """Let the next lists be taken and never recorded, until they are told one by one."""
    post = events._post
    lists = 1

    async def lost(runs: Any, **how: Any) -> None:
        nonlocal lists
        if lists > 0 or len(runs) > 1:
            lists -= 1
            return
        await post(runs, **how)

    events._post = lost  # type: ignore[method-assign]


def _fail(events: TaskRunEvents, error: Exception, *, times: int) -> list[int]:
    left = list(range(times))
    post = events._post

    async def failing(runs: Any, **how: Any) -> None:
        if left:
            left.pop()
            raise error
        await post(runs, **how)

    events._post = failing  # type: ignore[method-assign]
    return left


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110  # nobody tells of it
            await asyncio.sleep(0.05)


async def _runs(flow_run_id: UUID, count: int) -> list[dict[str, Any]]:
    """The task runs that the server shows as ended, once there are so many."""
    shown: list[dict[str, Any]] = []
    for _ in range(300):
        async with get_client() as client:
            answer = await client.request(
                "POST", "/task_runs/filter", json={"flow_runs": {"id": {"any_": [str(flow_run_id)]}}}
            )
        shown = [run for run in answer.json() if run["state_type"] not in (None, "PENDING", "RUNNING")]
        if len(shown) >= count:
            break
        await asyncio.sleep(0.1)
    return shown
