"""Giving way to a service's throttle, and finding the way back to what it grants.

The curve is that of TCP CUBIC (RFC 9438), whose task is the same: after a refusal down by a factor, then up fast while
far below the rate that was refused, slowly around it, and faster again where nothing is refused there any more.
"""

import math

SLOWED_TO = 0.7  # of the rate that was reached
APPROACHED = 0.98  # of the rate that was refused: just below it few calls are wasted
# From a bucket at half the rate, filled by the second, this takes 95 % and more, 1 % and less of the calls refused.
RECOVERY_SECONDS = 20.0
RECOVERY_STOPS = 10.0  # times the pause that a refusal cost: what is dear is tried less often
RECOVERY_AT_MOST = 900.0
LEAST_RATE = 1.0  # messages a second: a sender is never slowed to a standstill, that is what Retry-After is for
# Beyond the rate that was refused it rises by at least this part of the share (of 100 a second where there is no
# limit), so that a throttle met by the first few messages, which says little, is soon made good.
LEAST_RISE = 0.05


class ThrottleBackoff:
    """How far below its share a process stays, since the service refused more."""

    def __init__(self) -> None:
        self._from = self._to = self._share = math.inf
        self._slowed_at = -math.inf
        self._rising_since: float | None = None
        self._recovery = RECOVERY_SECONDS

    @property
    def active(self) -> bool:
        """Whether the service's word binds now."""
        return self._from < math.inf

    def throttled(self, now: float, sent_at: float, *, share: float, reached: float, pause: float = 0.0) -> None:
        """Go down, unless the refused request left before the last time that one did.

        Args:
            now: The time.
            sent_at: When the refused request left.
            share: Messages a second without a backoff; what is known of the limit grows and shrinks with it.
            reached: Messages a second that went out lately.
            pause: Seconds for which the service wants nothing at all.
        """
        if sent_at <= self._slowed_at or not reached > 0:
            return
        least = min(LEAST_RATE, share) if share > 0 else LEAST_RATE
        self._from, self._to = max(SLOWED_TO * reached, least), max(APPROACHED * reached, least)
        self._share, self._slowed_at, self._rising_since = share, now, None
        self._recovery = min(max(RECOVERY_SECONDS, RECOVERY_STOPS * pause), RECOVERY_AT_MOST)

    def accepted(self, now: float) -> None:
        """Begin to rise, with the first message accepted since the last refusal."""
        if self.active and self._rising_since is None:
            self._rising_since = now

    def rate(self, now: float, share: float) -> float:
        """Messages a second, at most `share`; where the backoff is over, `share`."""
        if not self.active:
            return share
        rate = self._from
        if self._rising_since is not None:
            x = max(now - self._rising_since, 0.0) / self._recovery - 1.0
            rise = self._to - self._from
            if x > 0:
                rise = max(rise, LEAST_RISE * (share if share < math.inf else 100.0))
            rate = self._to + rise * x**3
        if 0 < share < math.inf and 0 < self._share < math.inf:
            rate *= share / self._share  # another process has come or gone: the service's limit is the sender's
        if rate < share:
            return rate
        if share > 0:
            self._from = math.inf
        return share
