"""What a send waits for before its request may leave: a row, the record, its turn, and room among the requests."""

import asyncio
import math
import sys
from collections import deque
from types import TracebackType
from typing import Self

from ..ledger import Lease, Row
from ..models.errors import LedgerError
from .backpressure import Backpressure
from .pace import Pace
from .policy import Streak
from .semaphore import ResizableSemaphore
from .stop import StopSignal

MAX_IN_FLIGHT = 64
UNPACED_IN_FLIGHT = 32
WINDOW_AT_MOST = 256
WAITING_ALONE_AT_MOST = 256
# Rows more than requests in flight, which are being claimed or settled meanwhile, as a part of the requests: without them
# 16 in flight at 50 ms an answer made 258 sends a second, of the 288 that the same client makes without a ledger. As many
# as the ledger takes of the time of an answer, for a process that is killed leaves each of them unknown.
FEWEST_BETWEEN, MOST_BETWEEN = 0.25, 1.0
LEDGER_SECONDS = 0.01  # a claim and a settlement, both by a group commit to disk
SIZING_SECONDS = 0.5
LOOK_SECONDS = 0.05


class Admission:
    """Lets rows in and requests out; a context manager around the sending.

    Memory doesn't grow with the list: at any time it holds one window of rows and those at work.

    Args:
        lease: This run's hold on the ledger's rows.
        pace: This process's part of the sender's rate.
        stop: Ends each wait.
        backpressure: Bounds how far the sends run ahead of what the Prefect server has recorded; None for no bound.
        in_flight: Requests at once; 0 chooses what the pace needs, at most 64.
        max_messages: Sends of this run, at most; 0 for no bound.

    Attributes:
        requests: Holds the requests in flight to a number. Claims and settlements are made outside of it, so that it is
            never idle while the ledger commits.
        claims: Holds the rows between claim and answer to a few more than that: what is claimed is `unknown` after a crash,
            also where its request never left.
        pace: As given.
    """

    def __init__(
        self,
        lease: Lease,
        pace: Pace,
        stop: StopSignal,
        *,
        backpressure: Backpressure | None = None,
        in_flight: int = 0,
        max_messages: int = 0,
    ) -> None:
        self.pace = pace
        self._lease, self._stop, self._backpressure, self._in_flight = lease, stop, backpressure, in_flight
        self._left = max_messages or math.inf
        # One send alone first: a verdict on the account or the media then costs one row, not a window of them.
        self.requests, self.claims, self._rows = ResizableSemaphore(1), ResizableSemaphore(1), ResizableSemaphore(1)
        self._answered, self._in_trouble = False, False
        self._regained: float = math.inf  # requests at once, on the way back from trouble
        self._answer_seconds = 0.0
        self._at_work: set[int] = set()
        self._waiting_alone = 0
        self._buffer: deque[Row] = deque()
        self._sizing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sizing = asyncio.create_task(self._keep_sizing())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sizing:
            self._sizing.cancel()
        # A ledger that failed is not asked once more: leaving it frees what is reserved, now or by the next run.
        if self._buffer and not isinstance(raised or self._stop.failure, LedgerError):
            await self._lease.give_back([*self._buffer])
            self._buffer.clear()

    # Rows -----------------------------------------------------------------------------------------------------------

    async def row(self) -> Row | None:
        """Wait for a row, for the server to have recorded enough, and for room among the rows at work.

        Returns:
            The row, to be given to `leave` in the end; None where nothing is left to send, or where it is to stop.
        """
        # The row first: a run that waits for rows of another must not hold the room that its own waiting rows need.
        if not await self._fill():
            return None
        if self._backpressure:
            await self._backpressure.room()
        await self._rows.acquire()
        if self._stop.is_set():
            self._rows.release()
            return None
        row = self._buffer.popleft()
        self._left -= 1
        self._at_work.add(row.id)
        return row

    def leave(self, row: Row) -> None:
        """Give a row's room to another; once is enough, and more does no harm."""
        if row.id in self._at_work:
            self._at_work.remove(row.id)
            self._rows.release()

    async def wait_alone(self, row: Row, seconds: float) -> None:
        """Wait for one row alone: its room goes to others meanwhile, unless too many wait already."""
        if self._waiting_alone >= WAITING_ALONE_AT_MOST:
            await self._stop.wait(seconds)
            return
        self._waiting_alone += 1
        self.leave(row)
        try:
            await self._stop.wait(seconds)
        finally:
            self._waiting_alone -= 1
        if not self._stop.is_set():
            await self._rows.acquire()
            self._at_work.add(row.id)

    async def _fill(self) -> bool:
        """Have rows at hand; wait for rows that another run holds, for should it die, they come back to us."""
        while not self._buffer and self._left > 0 and not self._stop.is_set():
            self._buffer.extend(await self._lease.take(int(min(self._window(), self._left))))
            if self._buffer or await self._lease.recover():
                continue
            outstanding = await self._lease.outstanding()
            if not outstanding.queued and not outstanding.held_by_others:
                return False
            await self._pause_for_others()
        return bool(self._buffer) and not self._stop.is_set()

    async def _pause_for_others(self) -> None:
        """Others hold the rest, or all of the sender's rate: as soon as this run gets a part of that, it goes on."""
        without_share = self._lease.share <= 0
        for _ in range(20):
            if await self._stop.wait(LOOK_SECONDS) or (without_share and self._lease.share > 0):
                return

    def _window(self) -> int:
        """Rows to hold at a time: half a second's, so that at the end no run idles long while another still sends."""
        rate = self.pace.rate
        return WINDOW_AT_MOST if math.isinf(rate) else max(4, min(WINDOW_AT_MOST, int(rate / 2)))

    # Requests -------------------------------------------------------------------------------------------------------

    async def turn(self) -> bool:
        """Wait for a row's turn by the pace; False where the broadcast stops instead."""
        await self.pace.turn(unless=self._stop.is_set)
        return not self._stop.is_set()

    @property
    def held_back(self) -> bool:
        """Whether a row whose turn it was is to wait for another turn before it is claimed."""
        return self._stop.is_set() or self.pace.paused

    async def room_for_request(self) -> bool:
        """Wait for room among the requests, to be given back by `requests.release`.

        Returns:
            False, and no room, where the service is in trouble and another request is on its way: it may hang, and what is
            claimed behind it would be `unknown` after a crash.
        """
        if self._in_trouble and self.requests.used:
            return False
        return await self.requests.acquire()

    async def departure(self) -> float | None:
        """Let a claimed row's request leave now.

        Returns:
            When it leaves; None where it must not, because meanwhile the broadcast was stopped, the service asked for a
            pause, or the ledger has not heard of this run for so long that another may hold the row for unknown.
        """
        if not self._may_leave():
            return None
        await self.pace.departure(unless=self._stop.is_set)
        if not self._may_leave():
            return None
        self._lease.departs()
        return self.pace.now()

    def _may_leave(self) -> bool:
        return not self._stop.is_set() and not self.pace.paused and self._lease.healthy

    def accepted(self, seconds: float) -> None:
        """Take note of how long the service took to accept a message."""
        before = self._answer_seconds
        self._answer_seconds = before + (seconds - before) * 0.1 if before else seconds
        self.pace.accepted()

    def follow(self, streak: Streak, *, answered: bool) -> None:
        """Let one request out at a time while the service is in trouble, and as many as the pace needs otherwise.

        On the way back each answer lets one more out, so that their number doubles each time: a service that loses every
        second answer then loses one or two before that is seen, and not a window of them.

        Args:
            streak: What came back since the last accepted message.
            answered: Whether the last answer decided on its row.
        """
        if streak.in_trouble:
            if not self._in_trouble:
                self._in_trouble, self._regained = True, 1
                self.requests.resize(1)
                self.claims.resize(1)
                self.requests.turn_away()
            if (seconds := streak.known_at + streak.pause - self.pace.now()) > 0:
                self.pace.pause(seconds)
        elif self._in_trouble or self._regained < math.inf or (answered and not self._answered):
            self._in_trouble = False
            self._regained += 1
            self._answered = self._answered or answered
            self._size()

    def _size(self) -> None:
        """After the first answer, follow what the pace needs: rate × answer time, with room for slow answers."""
        if self._answered and not self._in_trouble:
            wanted = self._in_flight or self._needed()
            if wanted <= self._regained:
                self._regained = math.inf
            requests = int(min(wanted, self._regained))
            between = LEDGER_SECONDS / max(self._answer_seconds, LEDGER_SECONDS)
            rows = requests + math.ceil(requests * min(max(between, FEWEST_BETWEEN), MOST_BETWEEN))
            self.requests.resize(requests)
            self.claims.resize(rows)
            self._rows.resize(rows if requests == wanted else max(rows, self._rows.limit))

    async def _keep_sizing(self) -> None:
        while not await self._stop.wait(SIZING_SECONDS):
            self._size()
        # Who waits for room may be waiting for sends that Prefect's engine never comes to.
        self._rows.resize(sys.maxsize)
        self.claims.resize(sys.maxsize)  # nor need it wait for a request that hangs: it claims nothing any more

    def _needed(self) -> int:
        rate = self.pace.rate
        if math.isinf(rate):
            return UNPACED_IN_FLIGHT
        return max(2, min(MAX_IN_FLIGHT, math.ceil(rate * (self._answer_seconds + 0.05) * 2)))
