"""Who holds rows: which of them live, and which part of the sender's pace is whose.

An owner is one lease on one broadcast: a flow run at its dispatch. It is gone when it said so, when its process is gone
(asked of the kernel, on the same host), or when its beat stood still for `lapse_seconds` as watched from another host by
the watcher's own clock. No two clocks are ever compared, so that setting one back does no harm.

The sender's rate is divided among its living owners without a common clock: an owner obeys less at once and writes so
only after it has obeyed it for `SETTLING_SECONDS`; it obeys more only after it has written so, and never more than what
the others' written shares leave. So the sum of what is obeyed in any second stays within the rate.
"""

import math
import os
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

SETTLING_SECONDS = 1.1
# Who waits for its part of the rate looks this often, but not for ever: the others may never have any to give.
HURRIED_BEAT_SECONDS, HURRY_SECONDS = 0.1, 5.0
_SILENT_STEP = 3.0
_DESERTED = 10


def tick() -> float:
    """Seconds by a clock that nobody can set, that all processes of a host share, and that goes on while it sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@lru_cache(maxsize=1)
def host_identity() -> str:
    """This boot of this host and its process ids' namespace; empty where the system doesn't tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{os.uname().nodename}/{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def process_identity(pid: int | None = None) -> str:
    """A process by its id and start time, as ids are used again; empty where the system doesn't tell.

    Args:
        pid: Its id; None for this process.
    """
    pid = os.getpid() if pid is None else pid
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # Fields 3 (state) and 22 (start time) of proc(5); a zombie runs no more.
    return "" if fields[0] in "ZX" else f"{pid}:{fields[19]}"


def process_exists(identity: str) -> bool | None:
    """Whether the process of that identity runs on this host; None where that can't be told."""
    pid = int(identity.partition(":")[0])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # it exists and belongs to another user
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        # Gone since, or hidden (a /proc mounted with hidepid): only the heartbeat can tell.
        return None
    except OSError:
        return None
    return fields[0] not in "ZX" and identity == f"{pid}:{fields[19]}"


# The drains that live in this process, by their keys.
_here: set[str] = set()


def enter(key: str) -> None:
    """Note that a lease of this process lives."""
    _here.add(key)


def leave(key: str) -> None:
    """Note that it lives no more."""
    _here.discard(key)


@dataclass(frozen=True, slots=True)
class Owner:
    """One owner as the ledger has it; the fields are those of `schema.owners`."""

    id: int
    key: str
    broadcast: int
    sender: str
    host: str
    process: str
    beat: int
    rate: float
    share: float
    left: bool
    left_tick: float | None


@dataclass
class Watch:
    """What this process saw of the others' beats and leaving, by its own clock.

    Args:
        lapse_seconds: How long a beat of another host may stand still.
    """

    lapse_seconds: float
    _beats: dict[int, tuple[int, float, float]] = field(default_factory=dict)
    _left: dict[int, float] = field(default_factory=dict)

    def still_for(self, owner: Owner, now: float) -> float:
        """Seconds its beat stood still while this process could see it.

        A step in which this process itself saw nothing (it was stopped, or the database was away) counts for at most
        three seconds, as the other may have been kept from beating by the same thing.
        """
        beat, seen_at, still = self._beats.get(owner.id, (owner.beat, now, 0.0))
        still = still + min(now - seen_at, _SILENT_STEP, self.lapse_seconds / 4) if beat == owner.beat else 0.0
        self._beats[owner.id] = (owner.beat, now, still)
        return still

    def is_gone(self, owner: Owner, now: float) -> bool:
        """Whether an owner that did not say so is gone."""
        host = host_identity()
        if host and owner.host == host and owner.process:
            if owner.process == process_identity():
                return owner.key not in _here
            exists = process_exists(owner.process)
            if exists is False:
                return True
            if exists:
                # A process that goes on after its lease could not say goodbye; a stopped one is waited for.
                return self.still_for(owner, now) > _DESERTED * self.lapse_seconds
        return self.still_for(owner, now) > self.lapse_seconds

    def has_settled(self, owner: Owner, now: float) -> bool:
        """Whether the last second of an owner that left is over, so that its share is free."""
        if owner.left_tick is not None and owner.host == host_identity() and now - owner.left_tick >= 0:
            return now - owner.left_tick >= SETTLING_SECONDS
        return now - self._left.setdefault(owner.id, now) >= SETTLING_SECONDS

    def forget(self, keep: set[int]) -> None:
        """Drop what was seen of owners that are no longer listed."""
        self._beats = {owner: seen for owner, seen in self._beats.items() if owner in keep}
        self._left = {owner: seen for owner, seen in self._left.items() if owner in keep}


def split(rate: float, owners: int) -> list[float]:
    """Divide a rate among owners, the oldest first.

    Args:
        rate: Messages a second; infinite for no limit.
        owners: How many, at least one.

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
        return [math.inf] * owners
    if owners > 1 and rate < 2 * owners:
        return [rate] + [0.0] * (owners - 1)
    if owners == 1:
        return [rate]
    whole, left = divmod(math.floor(rate), owners)
    shares = [float(whole + (place < left)) for place in range(owners)]
    shares[0] += rate - math.floor(rate)
    return shares


@dataclass
class Share:
    """What one owner may send a second: what it obeys, and what it wrote.

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
            rates: Living owners of the sender, this one among them, with the rate each is configured for.
            mine: This owner's id.
            written: What the ledger says of this owner; the answer to the last write may have been lost.
            lingering: Shares of owners that left within the last second.
            others: Written shares of the other living owners.
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
