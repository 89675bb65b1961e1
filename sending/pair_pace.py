"""Keeps one recipient's messages apart, where a flow sends several to the same person."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from ..models import Recipient
from ..providers.dialect import Dialect

_REMEMBERED = 100_000


class PairPace:
    """So many messages to one recipient at once, and after them one in so many seconds.

    For the single sends of one process: a broadcast sends one message to each recipient, and waits out a refusal
    (131056) for that recipient alone. What binds nobody any more is forgotten.

    Args:
        burst: Messages that may go at once.
        seconds: Between two messages to one recipient, on average.
        clock: Seconds by a clock that nobody sets.

    Example:
        >>> pace = PairPace(burst=2, seconds=6.0, clock=lambda: 0.0)
        >>> [pace.take("+16505550123") for _ in range(4)]
        [0.0, 0.0, 6.0, 12.0]

    Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/throughput (pair rate limit).
    """

    def __init__(self, burst: int, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._credit, self._seconds, self._clock = seconds * (burst - 1), seconds, clock
        self._paid_until: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()  # Prefect runs sync tasks in threads

    def take(self, recipient: str) -> float:
        """Count a message to this recipient; the seconds to wait before it goes."""
        with self._lock:
            now = self._clock()
            paid_until = max(self._paid_until.pop(recipient, now), now)
            self._paid_until[recipient] = paid_until + self._seconds
            self._forget(now)
        return max(paid_until - self._credit - now, 0.0)

    def __len__(self) -> int:
        """How many recipients are remembered."""
        return len(self._paid_until)

    def _forget(self, now: float) -> None:
        """Drop two for each that is added, so that none outstays its time for long and no call takes long."""
        for _ in range(2):
            recipient, paid_until = next(iter(self._paid_until.items()))
            if paid_until > now and len(self._paid_until) <= _REMEMBERED:
                return
            del self._paid_until[recipient]


_paces: dict[str, PairPace] = {}


def pair_wait(dialect: Dialect, to: Recipient) -> float:
    """Count a message from this account to this recipient.

    Args:
        dialect: The account's dialect, with the service's `pair_limit`.
        to: The recipient.

    Returns:
        Seconds to wait before the message goes; 0 where the service has no such limit.
    """
    if dialect.pair_limit is None:
        return 0.0
    burst, seconds = dialect.pair_limit
    return _paces.setdefault(dialect.sender, PairPace(burst, seconds)).take(to.to)
