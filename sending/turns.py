"""A few at a time among all threads and event loops of this process, in the order of their coming."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Turns:
    """Queues, one for each key. Whoever is first in its queue has the turn.

    Tasks that Prefect maps run in a thread and an event loop each, so a lock of asyncio can't be shared by them.

    Args:
        at_once: How many of a queue have their turn at a time.

    Example:
        >>> turns = Turns()
        >>> async def send():
        ...     async with turns.of("graph:100000000000001"):
        ...         return "alone"
        >>> asyncio.run(send())
        'alone'
    """

    def __init__(self, at_once: int = 1) -> None:
        self._at_once, self._lock = at_once, threading.Lock()
        self._queues: dict[Hashable, deque[_Waiting]] = {}

    @asynccontextmanager
    async def of(self, key: Hashable) -> AsyncIterator[None]:
        """Wait for the turn, and have it as long as the `async with` lasts."""
        waiting = _Waiting()
        with self._lock:
            queue = self._queues.setdefault(key, deque())
            queue.append(waiting)
            if len(queue) <= self._at_once:
                waiting.go()
        try:
            await waiting.turn
            yield
        finally:
            with self._lock:
                queue.remove(waiting)
                if not queue:
                    del self._queues[key]
                elif len(queue) >= self._at_once:
                    queue[self._at_once - 1].go()


class _Waiting:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.turn: asyncio.Future[None] = self._loop.create_future()

    def go(self) -> None:
        """Say from any thread that it is first; more than once where others before it gave up."""
        self._loop.call_soon_threadsafe(lambda: None if self.turn.done() else self.turn.set_result(None))
