"""A canary: a few messages first, and the rest only where not too many of them failed."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prefect_whatsapp.blocks import GraphCredentials, Ledger
from prefect_whatsapp.flows import broadcast_audio, canary
from prefect_whatsapp.ledger.canaries import CanaryTally
from prefect_whatsapp.models import StopReason
from prefect_whatsapp.models.errors import BroadcastStoppedError
from prefect_whatsapp.receipts.running import RunningReceiver
from prefect_whatsapp.sandbox.server import RunningSandbox

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]
Arguments = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "_POLL_SECONDS", 0.2)


@pytest.fixture
def receiving(sandbox: RunningSandbox, graph: GraphCredentials, ledger: Ledger) -> Iterator[RunningSandbox]:
    """The sandbox, whose webhooks come into the test's ledger."""
    with RunningReceiver({"graph/sandbox": graph}, ledger=ledger, moved=None, events=False) as receiver:
        sandbox.receive_at(receiver.url, only="graph")
        yield sandbox
        sandbox.reset()


async def test_a_canary_that_arrives_lets_the_rest_go(
    receiving: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    receiving.phones(does="delivered", seconds=0.05)
    report = await broadcast_audio(**broadcast_arguments(12), canary=4)
    assert (report.accepted, report.stop_reason, receiving.truth()["accepted_total"]) == (12, None, 12)
    assert await broadcast_audio(
        **broadcast_arguments(3), canary=50
    )  # a canary that is the whole list waits for nothing


async def test_a_canary_that_fails_late_stops_the_rest_and_says_why_until_it_is_sent_again(
    receiving: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    receiving.phones(does="failed", code=131026, seconds=0.05, fraction=0.5)
    receiving.phones(does="delivered", seconds=0.05)
    arguments = broadcast_arguments(12)
    for _ in range(2):  # the next run finds the same canary, and sends nothing
        with pytest.raises(BroadcastStoppedError, match="2 of the 4 canary messages failed") as stopped:
            await broadcast_audio(**arguments, canary=4)
        assert "131026: Message Undeliverable, 2 times" in str(stopped.value)
        report = stopped.value.report
        assert report
        assert (report.stop_reason, report.failed, report.pending) == (StopReason.CANARY, 2, 8)
        assert receiving.truth()["accepted_total"] == 4
    receiving.switch_off_phones()
    receiving.phones(does="delivered", seconds=0.05)
    report = await broadcast_audio(**arguments, canary=4, retry_failed=True)
    assert (report.accepted, report.failed, receiving.truth()["accepted_total"]) == (12, 0, 14)


async def test_without_the_canary_the_rest_is_sent_whatever_became_of_it(
    receiving: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    receiving.faults(kind="error", code=131026, times=4)
    arguments = broadcast_arguments(12)
    with pytest.raises(BroadcastStoppedError, match="4 of the 4 canary messages failed"):
        await broadcast_audio(**arguments, canary=4)
    report = await broadcast_audio(**arguments)
    assert (report.accepted, report.failed) == (8, 4)


async def test_silence_passes_after_the_wait(
    sandbox: RunningSandbox, broadcast_arguments: Arguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "WAIT_SECONDS", 1.5)
    report = await broadcast_audio(**broadcast_arguments(8), canary=3)
    truth = sandbox.truth()
    assert (report.accepted, truth["accepted_total"]) == (8, 8)
    assert truth["seconds"] > 1


async def test_a_run_that_was_cancelled_while_it_waited_goes_on_waiting(
    receiving: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    arguments = broadcast_arguments(10)
    running = asyncio.create_task(broadcast_audio(**arguments, canary=3))
    async with asyncio.timeout(60):
        accepted = 0
        while accepted < 3:
            await asyncio.sleep(0.1)
            accepted = receiving.truth()["accepted_total"]
    await asyncio.sleep(1)
    assert receiving.truth()["accepted_total"] == 3
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    again = asyncio.create_task(broadcast_audio(**arguments, canary=3))
    await asyncio.sleep(3)
    assert (receiving.truth()["accepted_total"], again.done()) == (3, False)
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


async def test_a_run_with_fewer_messages_than_the_canary_goes_on_with_it_in_the_next(
    receiving: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    receiving.phones(does="read", seconds=0.05)
    arguments = broadcast_arguments(10)
    report = await broadcast_audio(**arguments, canary=4, max_messages=2)
    assert (report.accepted, report.pending) == (2, 8)
    report = await broadcast_audio(**arguments, canary=4, max_messages=5)
    assert (report.accepted, report.pending) == (7, 3)
    assert (await broadcast_audio(**arguments, canary=4)).accepted == 10


@pytest.mark.parametrize(("failed", "stops"), [(0, False), (5, False), (6, True), (50, True)])
def test_more_than_a_tenth_is_too_many(failed: int, stops: bool) -> None:
    tally = CanaryTally(0, 50, failed, 50 - failed, None, [], True)
    assert canary.too_many_failed(tally) is stops
