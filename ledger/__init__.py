"""What must not be lost: who was to get what, and what became of it; and the pace it was sent at."""

from .earlier_runs import RunPart
from .lease import Lease
from .records import BroadcastRecord, BroadcastSummary, Outcome, Outstanding, RemovedRow, Row
from .store import LedgerStore

__all__ = [
    "BroadcastRecord",
    "BroadcastSummary",
    "Lease",
    "LedgerStore",
    "Outcome",
    "Outstanding",
    "RemovedRow",
    "Row",
    "RunPart",
]
