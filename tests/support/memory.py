"""What a piece of work holds in memory at its highest."""

import tracemalloc
from collections.abc import Awaitable, Callable


def traced_peak(work: Callable[[], object], *, tries: int = 3) -> int:
    """The highest number of bytes that Python held while `work` ran.

    The trace sees every thread of the process, and Prefect's own allocate now and then (250 kB were seen): the least of
    several tries is the work's own.
    """
    return min(_traced_once(work) for _ in range(tries))


async def async_traced_peak(work: Callable[[], Awaitable[object]], *, tries: int = 2) -> int:
    """As `traced_peak`, of a coroutine in the loop that runs."""
    peaks = []
    for _ in range(tries):
        tracemalloc.start()
        try:
            await work()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return min(peaks)


def _traced_once(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
