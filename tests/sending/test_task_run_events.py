"""A send's task run, told to the server by its final event: none is lost, and none costs another's."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect import flow, get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_whatsapp.cli.prefect_server import prefect_server
from prefect_whatsapp.ledger import Outcome, Row
from prefect_whatsapp.sending import backpressure
from prefect_whatsapp.sending.backpressure import Backpressure
from prefect_whatsapp.sending.event_runs import EventTaskRuns
from prefect_whatsapp.sending.stop import StopSignal
from prefect_whatsapp.sending.task_run_events import LIST_LENGTH, TaskRunEvents
from told_runs import (
    OUTCOMES,
    ended_run,
    row_numbered,
    shown_runs,
    task_runs_that,
    this_flow_run,
    told_events,
)

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]


async def test_a_run_told_twice_is_one_run() -> None:
    @flow
    async def broadcast() -> int:
        async with told_events() as events:
            run = ended_run(1)
            for _ in range(2):
                events.tell(run)
                await events.flush()
            events.tell(ended_run(2))
            return len(await shown_runs(this_flow_run(), 2))

    assert await broadcast() == 2


async def test_a_run_takes_no_more_than_a_list_at_a_time() -> None:
    posted: list[int] = []

    @flow
    async def broadcast() -> None:
        async with told_events() as events:
            _spy(events, posted)
            for number in range(LIST_LENGTH + 3):
                events.tell(ended_run(number))
            await events.flush()

    await broadcast()
    assert posted == [LIST_LENGTH, 3]


async def test_what_the_server_lost_is_told_again_one_by_one() -> None:
    posted: list[int] = []

    @flow
    async def broadcast() -> tuple[int, int]:
        async with told_events() as events:
            kept = [ended_run(number) for number in range(3)]
            for run in kept:
                events.tell(run)
            await events.flush()
            await shown_runs(this_flow_run(), 3)
            _lose(events)
            lost = [ended_run(number) for number in range(3, 7)]
            for run in lost:
                events.tell(run)
            await events.flush()
            _spy(events, posted)
            again = await events.tell_missing_again()
            return again, len(await shown_runs(this_flow_run(), 7))

    assert await broadcast() == (4, 7)
    assert posted == [1, 1, 1, 1]


async def test_nothing_is_told_of_a_flow_run_that_was_deleted() -> None:
    """Its events could not be recorded, and would take others' with them."""
    seen: list[Any] = []

    @flow
    async def broadcast() -> None:
        async with told_events() as events:
            events.tell(ended_run(1))
            await events.flush()
            await shown_runs(this_flow_run(), 1)
            async with get_client() as client:
                await client.delete_flow_run(this_flow_run())
            seen.append(await events.tell_missing_again())
            posted: list[int] = []
            _spy(events, posted)
            events.tell(ended_run(2))
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
        async with told_events() as events:
            async with get_client() as client:
                await client.delete_flow_run(this_flow_run())
            deleted.extend(events._contract.event(ended_run(number)) for number in range(20))

    @flow
    async def stays() -> tuple[bool, int]:
        async def send(row: Row, run_id: str) -> Outcome:
            return OUTCOMES[0]

        async with told_events() as events:
            _mix(events, deleted)
            _spy(events, posted)
            async with Backpressure(this_flow_run(), stop=StopSignal(), events=events) as pressure:
                runs = task_runs_that(EventTaskRuns, send, events=events, backpressure=pressure)
                runs._probed, runs._unproved = True, None  # the server takes such events: it has shown one before
                for number in range(20):
                    runs.start(row_numbered(number))
                await runs.settled()
                return await pressure.caught_up(), len(await shown_runs(this_flow_run(), 20))

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
        async with told_events() as events:
            fails = _fail(events, httpx.ConnectError("away"), times=2)
            events.tell(ended_run(1))
            await _until(lambda: not fails)
            return len(await shown_runs(this_flow_run(), 1)), events.told

    assert await broadcast() == (1, 1)


async def test_sends_whose_process_was_killed_before_it_told_are_told_on_resume() -> None:
    @flow
    async def broadcast() -> tuple[int, int, set[str]]:
        async with told_events() as events:
            known, forgotten = ended_run(1), ended_run(2, OUTCOMES[2])
            events.tell(known)
            await events.flush()
            await shown_runs(this_flow_run(), 1)
            first = await events.tell_those_missing([known, forgotten])
            shown = await shown_runs(this_flow_run(), 2)
            second = await events.tell_those_missing([known, forgotten])
            return first, second, {run["state_name"] for run in shown}

    assert await broadcast() == (1, 0, {"Completed", "Unknown"})


async def test_what_a_killed_run_had_told_just_before_is_not_waited_for_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server had it in its queue when the next flow run looked; recorded, it is the killed one's and not this one's."""
    monkeypatch.setattr(backpressure, "STILL_SECONDS", 1.0)
    monkeypatch.setattr(backpressure, "GIVE_UP_SECONDS", 15.0)
    told = [ended_run(number) for number in range(3)]

    @flow
    async def killed() -> None:
        async with told_events() as events:
            for run in told:
                events.tell(run)
            await events.flush()
            await shown_runs(this_flow_run(), 3)

    @flow
    async def resumed() -> tuple[bool, int, int]:
        async def none(ids: object) -> set[UUID]:
            return set()

        async with told_events() as events, Backpressure(this_flow_run(), stop=StopSignal(), events=events) as pressure:
            with monkeypatch.context() as patch:
                patch.setattr(events, "_shown", none)
                pressure.started += await events.tell_those_missing(told)
            return await pressure.caught_up(), pressure.recorded, pressure.lost

    await killed()
    assert await resumed() == (True, 3, 0)


async def test_a_server_that_does_not_show_the_first_run_gets_all_of_them_from_the_engine(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "prefect_whatsapp.recorder")

    async def send(row: Row, run_id: str) -> Outcome:
        return OUTCOMES[2] if row.id == 2 else OUTCOMES[0]

    @flow
    async def broadcast() -> list[dict[str, Any]]:
        async with told_events() as events:
            runs = task_runs_that(EventTaskRuns, send, events=events, probe_seconds=0.5)
            _lose(events)
            for number in (1, 2):
                runs.start(row_numbered(number))
            await _until(lambda: bool(events.refusal))
            runs.start(row_numbered(3))
            await runs.settled()
        return await shown_runs(this_flow_run(), 3)

    shown = await broadcast()
    assert sorted(run["state_name"] for run in shown) == ["Completed", "Completed", "Unknown"]
    assert len([record for record in caplog.records if "does not record task runs" in record.message]) == 1


async def test_a_server_that_refuses_the_events_gets_all_of_them_from_the_engine() -> None:
    async def send(row: Row, run_id: str) -> Outcome:
        return OUTCOMES[0]

    @flow
    async def broadcast() -> tuple[str, int]:
        async with told_events() as events:
            runs = task_runs_that(EventTaskRuns, send, events=events)
            request = httpx.Request("POST", "http://127.0.0.1/api/events")
            refusal = httpx.HTTPStatusError("no", request=request, response=httpx.Response(422, request=request))
            _fail(events, refusal, times=100)
            runs.start(row_numbered(1))
            await _until(lambda: bool(events.refusal))
            runs.start(row_numbered(2))
            await runs.settled()
            return events.refusal, len(await shown_runs(this_flow_run(), 2))

    assert await broadcast() == ("answers with HTTP 422", 2)


async def test_a_send_that_raises_is_a_failed_run_without_what_it_raised() -> None:
    async def send(row: Row, run_id: str) -> Outcome:
        raise RuntimeError("the ledger said +16505550123")

    @flow
    async def broadcast() -> list[dict[str, Any]]:
        async with told_events() as events:
            runs = task_runs_that(EventTaskRuns, send, events=events)
            runs.start(row_numbered(1))
            await runs.settled()
        return await shown_runs(this_flow_run(), 1)

    (run,) = await broadcast()
    assert run["state_name"] == "Failed"
    assert "0123" not in run["state"]["message"]


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
