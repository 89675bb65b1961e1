"""The loop that drains a broadcast: task runs a send and a batch, requests at once, and what ends it."""

import asyncio
import gc
import math
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from memory_lease import MemoryLease, MemoryService, build
from prefect.client.orchestration import get_client
from prefect_whatsapp.models import SendState, StopReason
from prefect_whatsapp.models.errors import ErrorKind, LedgerError, OutcomeUnknownError, RetryLaterError
from prefect_whatsapp.sending.backpressure import Backpressure
from prefect_whatsapp.sending.content import Message
from prefect_whatsapp.sending.dispatcher import Dispatcher
from prefect_whatsapp.sending.pace import Pace
from prefect_whatsapp.sending.stop import StopSignal
from prefect_whatsapp.sending.task_runs import TaskRuns

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]


def dispatcher(lease: MemoryLease, service: MemoryService, stop: StopSignal | None = None, **others: Any) -> Dispatcher:
    pace = Pace(lambda: math.inf)
    return Dispatcher(lease, service, message=Message(build), pace=pace, stop=stop or StopSignal(), **others)  # type: ignore[arg-type]


async def until(so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(120):
        while not so():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("runs", ["send", "batch"])
async def test_a_run_that_waits_for_rows_of_others_leaves_the_only_room_to_its_own_waiting_row(runs: Any) -> None:
    """Two runs of a short list whose first answers were all "later" waited for each other for ever."""
    lease = MemoryLease(1)
    lease.held_by_others = 1

    def settled(_: Any) -> None:
        lease.held_by_others = int(lease.outcomes[100].state is SendState.QUEUED)

    lease.on_settle = settled
    pair = RetryLaterError("later", provider="graph", code="131056", scope="recipient", kind=ErrorKind.PAIR)
    tally = await asyncio.wait_for(dispatcher(lease, MemoryService(pair), runs=runs).run(), 120)
    assert tally.accepted == 1


@pytest.mark.parametrize(("seconds", "rows"), [(0.1, 10), (0.0, 16)], ids=["slow answers", "answers at once"])
@pytest.mark.parametrize("runs", ["send", "batch"])
async def test_requests_at_once_are_no_more_than_was_said_and_rows_at_work_few_more_unless_answers_are_quick(
    runs: Any, seconds: float, rows: int
) -> None:
    lease, service = MemoryLease(60), MemoryService(seconds=seconds)
    sending = dispatcher(lease, service, in_flight=8, runs=runs)
    open_claims: list[int] = []
    in_flight: list[int] = []
    lease.on_claim = lambda _: open_claims.append(len(lease.claimed))
    lease.on_settle = lambda _: in_flight.append(sending.in_flight)
    tally = await asyncio.wait_for(sending.run(), 120)
    assert tally.accepted == 60
    assert service.most == 8 if seconds else service.most <= 8
    assert max(open_claims) < rows
    assert (max(in_flight) <= 8, sending.in_flight) == (True, 0)


@pytest.mark.parametrize(("runs", "names"), [("send", 7), ("batch", 3)])
async def test_every_send_or_batch_is_a_task_run_by_its_name(runs: Any, names: int) -> None:
    seen: list[tuple[int, int]] = []

    async def on_batch(number: int, rows: list[Any]) -> None:
        seen.append((number, len(rows)))

    lease, claims = MemoryLease(7), set[str]()
    original = lease.claim

    async def claim(row: Any, *, task_run_id: str = "", message_id: str = "") -> None:
        claims.add(task_run_id)
        await original(row)

    lease.claim = claim  # type: ignore[method-assign]
    sending = dispatcher(lease, MemoryService(), runs=runs, batch_size=3, on_batch=on_batch)
    await sending.run()
    assert len(claims) == names
    assert "" not in claims
    assert sorted(seen) == ([(1, 3), (2, 3), (3, 1)] if runs == "batch" else [])


async def test_no_more_is_sent_than_the_run_may() -> None:
    lease, service = MemoryLease(20), MemoryService()
    tally = await dispatcher(lease, service, max_messages=7).run()
    assert (tally.accepted, len(service.requests), len(lease.queued)) == (7, 7, 13)


@pytest.mark.parametrize("runs", ["send", "batch"])
async def test_a_ledger_that_fails_ends_the_run_and_what_is_in_flight_settles(runs: Any) -> None:
    lease, service, stop = MemoryLease(200), MemoryService(seconds=0.02), StopSignal()

    def full(_: Any) -> None:
        if len(service.requests) > 20:
            raise LedgerError("the disk is full")

    lease.on_claim = full
    with pytest.raises(LedgerError, match="disk is full"):
        await dispatcher(lease, service, stop, runs=runs).run()
    assert stop.reason is StopReason.LEDGER
    assert not lease.claimed
    assert len(service.requests) < 100


@pytest.mark.parametrize("runs", ["send", "batch"])
async def test_a_cancelled_run_lets_what_is_in_flight_settle(runs: Any) -> None:
    lease, service, stop = MemoryLease(500), MemoryService(seconds=0.3), StopSignal()
    running = asyncio.ensure_future(dispatcher(lease, service, stop, runs=runs).run())
    await until(lambda: service.in_flight > 9)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert stop.reason is StopReason.CANCELLED
    assert not lease.claimed
    assert lease.states().get(SendState.ACCEPTED) == len(service.requests) < 500


async def test_an_unknown_outcome_and_a_stop_are_told_by_the_task_runs_state() -> None:
    lease, service = MemoryLease(1), MemoryService(OutcomeUnknownError("the answer was lost"))
    states: list[Any] = []
    sending = dispatcher(lease, service)
    original = sending._task_runs._run

    def listen(work: Any) -> Any:
        running = original(work)
        running.add_done_callback(lambda done: states.append(done.result()))
        return running

    sending._task_runs._run = listen  # type: ignore[method-assign]
    await sending.run()
    assert [(state.name, state.message) for state in states] == [("Unknown", "the answer was lost")]


async def test_a_task_run_that_prefect_never_comes_to_does_not_keep_a_stopped_broadcast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Inside `tags(…)` Prefect asks its server for a slot before each task run, and waits for a dead one for ever."""
    monkeypatch.setattr("prefect_whatsapp.sending.task_runs.ENGINE_SECONDS", 0.5)
    lease, service, stop = MemoryLease(80), MemoryService(), StopSignal()
    sending, original = dispatcher(lease, service, stop), TaskRuns._run
    held_up = asyncio.Event()

    def hold(self: TaskRuns, work: Any) -> Any:
        async def never() -> None:
            await held_up.wait()
            await work

        if not service.requests:
            return original(self, work)
        work.close()
        return original(self, held_up.wait())  # type: ignore[arg-type]

    monkeypatch.setattr(TaskRuns, "_run", hold)
    running = asyncio.ensure_future(sending.run())
    await until(lambda: sending._admission._rows.used == sending._admission._rows.limit > 1)
    assert not running.done()
    stop.set(StopReason.CANCELLED, "the flow run was cancelled")
    tally = await asyncio.wait_for(running, 120)
    assert tally.accepted == len(service.requests)


async def test_who_waits_for_the_record_hears_of_a_stop() -> None:
    stop = StopSignal()
    backpressure = Backpressure(uuid.uuid4(), stop=stop, max_ahead=1)
    await backpressure.room()
    backpressure.started += 1
    waiting = asyncio.ensure_future(backpressure.room())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    stop.set(StopReason.OUTAGE, "the service is down")
    await asyncio.wait_for(waiting, 60)


async def test_sends_are_never_further_ahead_of_the_record_than_the_bound() -> None:
    lease, service, stop = MemoryLease(50), MemoryService(), StopSignal()
    backpressure = Backpressure(uuid.uuid4(), stop=stop, max_ahead=12)
    running = asyncio.ensure_future(dispatcher(lease, service, stop, backpressure=backpressure).run())
    await until(lambda: len(service.requests) == 12)
    await asyncio.sleep(0.2)
    assert backpressure.started == len(service.requests) == 12
    backpressure.recorded = 12
    backpressure._news.set()  # as each look at the server does
    await until(lambda: len(service.requests) == 24)
    assert backpressure.started == 24
    stop.set(StopReason.CANCELLED, "enough")
    await running


async def test_a_flow_run_that_is_paused_at_the_server_stops_the_sending(prefect_api: str) -> None:
    from prefect import flow
    from prefect.states import Paused

    @flow
    async def nothing() -> None: ...

    stop = StopSignal()
    async with get_client() as client:
        flow_run = await client.create_flow_run(nothing)
        async with Backpressure(flow_run.id, stop=stop):
            await client.set_flow_run_state(flow_run.id, Paused(timeout_seconds=60), force=True)
            assert await stop.wait(10)
    assert stop.reason is StopReason.PAUSED
    assert stop.reason.by_person
    assert "paused at the server" in stop.sentence


async def test_garbage_collection_is_as_it_was_afterwards() -> None:
    lease, frozen = MemoryLease(3), []
    lease.on_claim = lambda _: frozen.append(gc.get_freeze_count())
    await dispatcher(lease, MemoryService()).run()
    assert min(frozen) > 0
    assert gc.get_freeze_count() == 0
