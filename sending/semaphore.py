"""The window of sends in flight."""

import asyncio
from collections import deque


class ResizableSemaphore:
    """A semaphore whose size may change while it is held.

    Args:
        limit: How many may hold a slot at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._waiting: deque[asyncio.Future[bool]] = deque()

    async def acquire(self) -> bool:
        """Wait for a free slot and take it; first come, first served.

        Returns:
            True; False, and no slot, where `turn_away` came first.
        """
        if self.used < self.limit and not self._waiting:
            self.used += 1
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.release()  # it was granted in the moment of the cancellation
            elif turn in self._waiting:  # else a release has just passed it over
                self._waiting.remove(turn)
            raise

    def release(self) -> None:
        """Give a slot back."""
        self.used -= 1
        self._grant()

    async def __aenter__(self) -> None:
        """Hold a slot as long as the `with` lasts; not for one whose waiters are turned away."""
        if not await self.acquire():
            raise RuntimeError("turned away")

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def resize(self, limit: int) -> None:
        """Change the size; slots beyond a smaller one run out as they are released."""
        self.limit = limit
        self._grant()

    def turn_away(self) -> None:
        """Let everyone who waits go on without a slot."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(False)

    def _grant(self) -> None:
        while self._waiting and self.used < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.used += 1
                turn.set_result(True)
