"""What a piece of work holds in memory at its highest."""

import tracemalloc
from collections.abc import Callable


def traced_peak(work: Callable[[], object], *, tries: int = 3) -> int:
    """The highest number of bytes that Python held while `work` ran.

    The trace sees every thread of the process, and Prefect's own allocate now and then (250 kB were seen): the least of
    several tries is the work's own.
    """
    return min(_traced_once(work) for _ in range(tries))


def _traced_once(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
