"""What a broadcast changes in its process while it sends, and puts back."""

import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager


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
    """Keep the garbage collector off what was there before: among Prefect's imports it holds the loop for 155 ms."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
