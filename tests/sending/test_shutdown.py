"""What a broadcast changes in its process, and puts back: SIGTERM, the log level, garbage collection."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Iterator

import pytest
from prefect_whatsapp.models import StopReason
from prefect_whatsapp.sending.shutdown import imports_uncollected, quiet_task_logs, sigterm_stops
from prefect_whatsapp.sending.stop import StopSignal


@pytest.fixture
def handled() -> Iterator[list[int]]:
    """A SIGTERM handler of the program's own, and what it was told."""
    told: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    yield told
    signal.signal(signal.SIGTERM, previous)


async def test_sigterm_stops_the_sending_and_is_handed_on_when_all_is_settled(handled: list[int]) -> None:
    stop = StopSignal()
    with sigterm_stops(stop):
        os.kill(os.getpid(), signal.SIGTERM)
        assert await stop.wait(60)
        assert (stop.reason, handled) == (StopReason.CANCELLED, [])
        os.kill(os.getpid(), signal.SIGTERM)  # once more, while it settles
        await asyncio.sleep(0.05)
        assert handled == []
    assert handled == [signal.SIGTERM]


async def test_without_sigterm_its_handler_is_back_and_is_told_nothing(handled: list[int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_stops(StopSignal()):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    assert handled == []


async def test_an_error_goes_out_instead_of_the_signal(handled: list[int]) -> None:
    stop = StopSignal()

    async def fail() -> None:
        with sigterm_stops(stop):
            os.kill(os.getpid(), signal.SIGTERM)
            await stop.wait(60)
            raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        await fail()
    assert handled == []


async def test_in_another_thread_nothing_is_changed(handled: list[int]) -> None:
    def inside() -> object:
        with sigterm_stops(StopSignal()):
            return signal.getsignal(signal.SIGTERM)

    assert await asyncio.to_thread(inside) is signal.getsignal(signal.SIGTERM)


def test_task_runs_write_no_log_rows_meanwhile() -> None:
    logger = logging.getLogger("prefect.task_runs")
    before = logger.level
    with quiet_task_logs():
        assert not logger.isEnabledFor(logging.ERROR)
    assert logger.level == before


def test_what_was_there_before_is_not_looked_at_by_the_garbage_collector() -> None:
    with imports_uncollected():
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_what_somebody_else_froze_stays_frozen() -> None:
    gc.freeze()
    try:
        # Frozen objects that are released meanwhile lower the count; a thaw makes it 0.
        before = gc.get_freeze_count()
        with imports_uncollected():
            assert 0 < gc.get_freeze_count() <= before
        assert 0 < gc.get_freeze_count() <= before
    finally:
        gc.unfreeze()


def test_two_broadcasts_at_once_thaw_only_when_the_first_ends() -> None:
    with imports_uncollected():
        with imports_uncollected():
            pass
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


async def test_the_first_reason_to_stop_stays() -> None:
    stop = StopSignal()
    assert not await stop.wait(0.01)
    stop.set(StopReason.ACCOUNT, "token expired")
    stop.set(StopReason.CANCELLED, "later")
    stop.fail(OSError("later still"))
    assert (stop.reason, stop.sentence) == (StopReason.ACCOUNT, "token expired")
    assert isinstance(stop.failure, OSError)
