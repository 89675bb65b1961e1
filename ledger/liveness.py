"""Which leases live.

A lease is a flow run's hold on one broadcast while it sends. It is gone when it said so, when its process is gone
(asked of the kernel, on the same host), or when its beat stood still for `lapse_seconds` as watched from another host by
the watcher's own clock. No two clocks are ever compared, so that setting one back does no harm.
"""

import os
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from .rate_shares import SETTLING_SECONDS

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


# The leases that live in this process, by their keys.
_here: set[str] = set()


def enter(key: str) -> None:
    """Note that a lease of this process lives."""
    _here.add(key)


def leave(key: str) -> None:
    """Note that it lives no more."""
    _here.discard(key)


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """One lease as the ledger has it; the fields are those of `schema.leases`."""

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

    def still_for(self, lease: LeaseRecord, now: float) -> float:
        """Seconds its beat stood still while this process could see it.

        A step in which this process itself saw nothing (it was stopped, or the database was away) counts for at most
        three seconds, as the other may have been kept from beating by the same thing.
        """
        beat, seen_at, still = self._beats.get(lease.id, (lease.beat, now, 0.0))
        still = still + min(now - seen_at, _SILENT_STEP, self.lapse_seconds / 4) if beat == lease.beat else 0.0
        self._beats[lease.id] = (lease.beat, now, still)
        return still

    def is_gone(self, lease: LeaseRecord, now: float) -> bool:
        """Whether a lease that did not say so is gone."""
        host = host_identity()
        if host and lease.host == host and lease.process:
            if lease.process == process_identity():
                return lease.key not in _here
            exists = process_exists(lease.process)
            if exists is False:
                return True
            if exists:
                # A process that goes on after its lease could not say goodbye; a stopped one is waited for.
                return self.still_for(lease, now) > _DESERTED * self.lapse_seconds
        return self.still_for(lease, now) > self.lapse_seconds

    def has_settled(self, lease: LeaseRecord, now: float) -> bool:
        """Whether the last second of a lease that left is over, so that its share is free."""
        if lease.left_tick is not None and lease.host == host_identity() and now - lease.left_tick >= 0:
            return now - lease.left_tick >= SETTLING_SECONDS
        return now - self._left.setdefault(lease.id, now) >= SETTLING_SECONDS

    def forget(self, keep: set[int]) -> None:
        """Drop what was seen of leases that are no longer listed."""
        self._beats = {lease_id: seen for lease_id, seen in self._beats.items() if lease_id in keep}
        self._left = {lease_id: seen for lease_id, seen in self._left.items() if lease_id in keep}
