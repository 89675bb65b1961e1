"""What a broadcast changes in its process while it sends, and puts back: signals, log level, garbage collection."""

import asyncio
import gc
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..models import StopReason
from .stop import StopSignal


@contextmanager
def sigterm_stops(stop: StopSignal) -> Iterator[None]:
    """Let SIGTERM, by which Prefect cancels, stop the sending; hand it on once what was in flight is settled.

    Args:
        stop: What is set when the signal comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is told of signals
        return
    loop, previous, came = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM), False

    def terminate() -> None:
        nonlocal came
        came = True
        stop.set(StopReason.CANCELLED, "the flow run was cancelled")

    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, previous)
    if came:
        signal.raise_signal(signal.SIGTERM)


@contextmanager
def quiet_task_logs() -> Iterator[None]:
    """Prefect writes (and stores) a log row a task run; the run's own state says the same."""
    logger = logging.getLogger("prefect.task_runs")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def imports_uncollected() -> Iterator[None]:
    """Keep the garbage collector off what was there before: among Prefect's imports it holds the loop for 155 ms.

    Python has one frozen generation and no owner of it: where somebody has frozen objects already, they keep theirs and
    this does nothing.
    """
    ours = gc.get_freeze_count() == 0
    if ours:
        gc.freeze()
    try:
        yield
    finally:
        if ours:
            gc.unfreeze()
