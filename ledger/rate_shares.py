"""Which part of a sender's rate is whose.

The rate is divided among the sender's living runs without a common clock: a run obeys less at once and writes so only
after it has obeyed it for `SETTLING_SECONDS`; it obeys more only after it has written so, and never more than what the
others' written shares leave. So the sum of what is obeyed in any second stays within the rate.
"""

import math
from dataclasses import dataclass

SETTLING_SECONDS = 1.1
# Who waits for its part of the rate looks this often, but not for ever: the others may never have any to give.
HURRIED_BEAT_SECONDS, HURRY_SECONDS = 0.1, 5.0


def split(rate: float, leases: int) -> list[float]:
    """Divide a rate among leases, the oldest first.

    Args:
        rate: Messages a second; infinite for no limit.
        leases: How many, at least one.

    Returns:
        Their shares: whole numbers but for the oldest's fraction; all of a rate below two each goes to the oldest, as one
        that may hardly send would only hold rows.

    Example:
        >>> split(80, 3)
        [27.0, 27.0, 26.0]
        >>> split(0.5, 2)
        [0.5, 0.0]
    """
    if math.isinf(rate):
        return [math.inf] * leases
    if leases > 1 and rate < 2 * leases:
        return [rate] + [0.0] * (leases - 1)
    if leases == 1:
        return [rate]
    whole, left = divmod(math.floor(rate), leases)
    shares = [float(whole + (place < left)) for place in range(leases)]
    shares[0] += rate - math.floor(rate)
    return shares


@dataclass
class Share:
    """What one lease may send a second: what it obeys, and what it wrote.

    Attributes:
        obeyed: What it keeps to now; never above `written`.
        written: What the ledger says, hence what the others leave to it.
    """

    obeyed: float = 0.0
    written: float = 0.0
    _shrunk_at: float = 0.0
    _wanting_since: float | None = None

    def seconds_to_next_beat(self, regular: float, now: float) -> float:
        """When to look again: soon while a share is to change hands, so that little of the rate lies idle meanwhile.

        Args:
            regular: Seconds between two heartbeats otherwise.
            now: By this process's clock.
        """
        if self.obeyed < self.written:
            return min(regular, max(self._shrunk_at + SETTLING_SECONDS - now, 0.01))
        if self._wanting_since is not None and now - self._wanting_since < HURRY_SECONDS:
            return min(regular, HURRIED_BEAT_SECONDS)
        return regular

    def next_written(
        self, rates: dict[int, float], mine: int, *, written: float, lingering: float, others: float, now: float
    ) -> float:
        """Shrink at once where one must, and say which number to write now.

        Args:
            rates: Living leases of the sender, this one among them, with the rate each is configured for.
            mine: This lease's id.
            written: What the ledger says of this lease; the answer to the last write may have been lost.
            lingering: Shares of leases that left within the last second.
            others: Written shares of the other living leases.
            now: By this process's clock.

        Returns:
            The share to write; `obey` is called with it once it is committed.
        """
        self.written = written
        rate = min(rates.values())
        target = split(rate, len(rates))[sorted(rates).index(mine)]
        if target < self.obeyed:
            self.obeyed, self._shrunk_at = target, now
        else:
            self.obeyed = min(target, written)
        if target > written:
            free = rate if math.isinf(rate) else rate - others - lingering
            granted = max(written, min(target, free))
            self._wanting_since = None if granted >= target else self._wanting_since or now
            return granted
        self._wanting_since = None
        if self.obeyed < written and now - self._shrunk_at >= SETTLING_SECONDS:
            return self.obeyed
        return written

    def obey(self, written: float) -> None:
        """Keep to what has been committed."""
        if written > self.written:
            self.obeyed = written
        self.written = written
