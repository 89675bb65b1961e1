"""How fast this process may send: its part of the sender's rate kept exactly, and given up where the service says so.

The ledger shares a sender's rate out to processes (`Lease.share`); `Pace` keeps one process to its share. A service
refuses by its own clock, to which each request takes its own time. So sends go evenly and a little slower than the
rate, which leaves room for both; what is late catches up, but never beyond the bound of any second.
"""

import asyncio
import math
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable

from .backoff import ThrottleBackoff

# A second's sends go out over 1.013 s: 98.7 % of the rate, and room for 13 ms more or less on the way to the service
# (4 ms were seen here). A minute shared by two runs keeps above 97 %: 1 % goes with the change of hands.
EVEN_SECONDS = 1.013
# The bound on what really left is a little shorter, or each late wake-up would push back all that comes after it.
BOUND_SECONDS = 1.01
CATCH_UP_SECONDS = 0.5
POLL_SECONDS = 0.25  # the share may change while one waits


class Pace:
    """Lets one process's sends go, first come, first served.

    Args:
        share: Messages a second that this process may send now; asked at each turn. 0 holds all, infinite holds none.
        spacing: Minimum and maximum seconds of a random pause between two sends, for services that watch for regularity.
        idle: Seconds since this sender's last send in whatever run; infinite where that isn't known.
        clock: Seconds by a clock that nobody sets.
        sleep: Waits so many of its seconds.
        rng: Where the random pauses come from.

    Raises:
        ValueError: `spacing` is not two numbers of seconds, the lesser first.

    Example:
        >>> async def send(pace, recipients):
        ...     for recipient in recipients:
        ...         await pace.turn()
        ...         print(recipient)
        >>> asyncio.run(send(Pace(lambda: 80.0), ["Ada", "Bob"]))
        Ada
        Bob

    Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/throughput (80 a second, 1,000
    when upgraded); https://waha.devlike.pro/docs/overview/how-to-avoid-blocking/ (random 30 to 60 seconds).
    """

    def __init__(
        self,
        share: Callable[[], float],
        *,
        spacing: tuple[float, float] | None = None,
        idle: Callable[[], float] = lambda: math.inf,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        if spacing is not None and not 0 <= spacing[0] <= spacing[1] < math.inf:
            raise ValueError(f"spacing is two numbers of seconds, the lesser first, not {spacing}")
        self._share, self._clock, self._sleep = share, clock, sleep
        self._spacing = spacing if spacing and spacing[1] > 0 else None
        self._rng = rng or random.Random()  # noqa: S311 - no secret hangs on it
        self._backoff = ThrottleBackoff()
        self._turns = Departures()
        self._departures = Departures()
        self._in_turn, self._departing = asyncio.Lock(), asyncio.Lock()
        self._slot = -math.inf
        self._idle, self._after_others = idle, True
        self._spaced_until = self._stopped_until = -math.inf

    async def turn(self, *, unless: Callable[[], bool] = lambda: False) -> None:
        """Wait for this process's next slot. A waiter that is cancelled leaves its slot to the next one.

        Args:
            unless: Asked meanwhile; true ends the wait, and nothing is taken.
        """
        if self._share() == math.inf and not self._backoff.active and not self._spacing and not self._in_turn.locked():
            now = self._clock()
            if now >= self._stopped_until:
                self._turns.add(now)
                return
        async with self._in_turn:
            while (wait := self._next() - self._clock()) > 0:
                if unless():
                    return
                await self._sleep(min(wait, POLL_SECONDS))
            self._take()

    def now(self) -> float:
        """The time, by this pace's clock."""
        return self._clock()

    @property
    def paused(self) -> bool:
        """Whether nothing is to leave now: the service asked for a pause (`Retry-After`), or is in trouble."""
        return self._clock() < self._stopped_until

    async def departure(self, *, unless: Callable[[], bool] = lambda: False) -> None:
        """Wait, after whatever lay between `turn` and the request, until the request itself may leave.

        Mostly not at all: only where a stall in between has bunched sends, so that a second would hold too many.

        Args:
            unless: Asked meanwhile; true ends the wait.
        """
        if (share := self._share()) == math.inf:
            return
        async with self._departing:
            while (wait := self._departures.free_at(share) - self._clock()) > 0:
                if unless():
                    return
                await self._sleep(min(wait, POLL_SECONDS))
                share = self._share() or share  # its turn was given already
            self._departures.add(self._clock())

    def throttled(self, retry_after: float | None, sent_at: float) -> None:
        """Slow down, since the service refused a message for the sender's speed.

        Args:
            retry_after: Seconds for which nothing is to be sent; None where the service didn't say.
            sent_at: When that request left, by this pace's clock: refusals of what left before the last slowing down
                are its cause, not news.
        """
        now = self._clock()
        if retry_after is not None and 0 < retry_after < math.inf:
            self._stopped_until = max(self._stopped_until, now + retry_after)
        share = self._share()
        reached = self._turns.rate(now, self._allowed(now, share))
        pause = max(self._stopped_until - now, 0.0)
        self._backoff.throttled(now, sent_at, share=share, reached=reached, pause=pause)

    def pause(self, seconds: float) -> None:
        """Let nothing leave for so long, and then go on at the same speed."""
        self._stopped_until = max(self._stopped_until, self._clock() + seconds)

    def accepted(self) -> None:
        """Take note that the service accepts again; the way back up begins with it."""
        self._backoff.accepted(max(self._clock(), self._stopped_until))

    @property
    def rate(self) -> float:
        """Messages a second that go out now, pauses for a throttle aside; infinite for no limit."""
        rate = self._allowed(self._clock(), self._share())
        return min(rate, 2 / sum(self._spacing)) if self._spacing else rate

    def _allowed(self, now: float, share: float) -> float:
        if not share > 0:  # NaN neither
            return 0.0
        # Whole messages a second, for no second to hold more than the rate: 2 at 2.5, but 1 in 2 s at 0.5.
        whole = share if share < 1 or share == math.inf else math.floor(share + 1e-9)
        return min(self._backoff.rate(now, share), whole)

    def _next(self) -> float:
        """When the next send may go, as things stand."""
        now, share = self._clock(), self._share()
        rate = self._allowed(now, share)
        if rate <= 0:
            self._after_others = True
            return now + POLL_SECONDS
        if self._after_others:  # the pause since what another run sent last
            self._after_others = False
            pause = self._rng.uniform(*self._spacing) if self._spacing else 0.0
            slow = EVEN_SECONDS / rate if rate < 1 else 0.0
            self._spaced_until = max(self._spaced_until, now - self._idle() + max(pause, slow))
        even = self._slot + EVEN_SECONDS / rate
        return max(even, self._turns.free_at(share), self._spaced_until, self._stopped_until)

    def _take(self) -> None:
        now = self._clock()
        rate = self._allowed(now, self._share())
        due = self._slot + (EVEN_SECONDS / rate if rate > 0 else 0.0)
        # What is a little late keeps its slot, so that the next ones catch up; after idleness nothing is owed.
        owed = CATCH_UP_SECONDS / 5 if self._backoff.active else CATCH_UP_SECONDS
        self._slot = due if now - due <= owed else now
        self._turns.add(now)
        if self._spacing:
            self._spaced_until = now + self._rng.uniform(*self._spacing)


class Departures:
    """When the last sends went, and when the next may go for no second to hold more than a rate."""

    _KEPT = 4096  # beyond, in one second, even slots alone keep the rate

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=self._KEPT)

    def add(self, now: float) -> None:
        """Note a send."""
        self._times.append(now)

    def free_at(self, rate: float) -> float:
        """The earliest time of the next send at a rate of so many a second; below 1, of one in `1 / rate` seconds."""
        if rate == math.inf or not rate > 0:
            return -math.inf
        count = max(math.floor(rate + 1e-9), 1)
        if len(self._times) < count:
            return -math.inf
        return self._times[-count] + BOUND_SECONDS * max(1.0, 1 / rate)

    def rate(self, now: float, otherwise: float) -> float:
        """Sends a second lately, or `otherwise` where they are too few to tell or it is less."""
        count, oldest = 0, now
        for moment in reversed(self._times):
            if moment < now - 1.0:
                break
            count, oldest = count + 1, moment
        if count < 5:
            return otherwise if otherwise < math.inf else max(count, 1.0)
        return min(otherwise, count / max(now - oldest, 0.1))
