"""An event loop whose time passes only when nobody has anything to do: hours in a moment, the same each time."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Jump(selectors.SelectSelector):
    """Instead of waiting, set the time to when the wait would end."""

    now = 1_000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everyone waits for something that never comes"
            self.now += timeout
        return ready


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end; `asyncio.sleep` and `loop.time()` go by virtual time."""

    def make_loop() -> asyncio.AbstractEventLoop:
        selector = _Jump()
        loop = asyncio.SelectorEventLoop(selector)
        loop.time = lambda: selector.now  # type: ignore[method-assign]
        return loop

    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(main)


def clock() -> float:
    """Seconds by the running loop's clock."""
    return asyncio.get_running_loop().time()
