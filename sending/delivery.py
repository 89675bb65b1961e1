"""One row: pace → claim → gate → request → settle, and what each answer means.

The claim is durable before the request leaves, the outcome after the answer; whatever happens between leaves a claim
without an outcome, which the ledger names `unknown`. This is the one owner of every retry: only what surely was not
accepted is sent again, and within a bound.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from ..ledger import Lease, Outcome, Row
from ..models import Receipt, Recipient, SendState, StopReason
from ..models.errors import (
    AccountError,
    ClaimLostError,
    ErrorKind,
    NotSentError,
    OptedOutError,
    OutcomeUnknownError,
    ProviderError,
    RecipientRefusedError,
    RequestRefusedError,
    RetryLaterError,
    UnsupportedError,
    WhatsAppError,
)
from ..providers.http_types import Exchange
from ..providers.transport import AsyncClient
from .pace import Pace, pair_backoff
from .semaphore import ResizableSemaphore

TRANSIENT_TRIES = 5  # about 15 s of waiting; 131000 and its like either pass at once or don't
PAIR_TRIES = 5  # 1, 4, 16 and 64 s of waiting
UNREACHABLE_TRIES = 5
# A sender that was throttled this long without one message accepted is not slow, it is shut.
THROTTLED_AT_MOST_SECONDS = 900.0
# So many refusals of the request in a row and nothing accepted between: the fault is not in the rows.
SAME_REFUSALS = 5


Wait = Callable[[], Awaitable[None]]


class Build(Protocol):
    """Builds the exchange that sends this broadcast's message to one recipient."""

    def __call__(self, to: Recipient, *, callback: str) -> Exchange[Receipt]:
        """Build it; raises `UnsupportedError` where the service can't carry it to this recipient."""
        ...


@dataclass
class Tally:
    """What this run did; the ledger has the last word on the broadcast."""

    accepted: int = 0
    failed: int = 0
    skipped: int = 0
    unknown: int = 0
    throttles: int = 0
    stopped: str = ""
    reason: StopReason | None = None
    answer_seconds: float = 0.0

    @property
    def settled(self) -> int:
        """Rows that got an outcome in this run."""
        return self.accepted + self.failed + self.skipped + self.unknown

    def count(self, state: SendState) -> None:
        """Add one outcome."""
        match state:
            case SendState.ACCEPTED:
                self.accepted += 1
            case SendState.FAILED:
                self.failed += 1
            case SendState.SKIPPED:
                self.skipped += 1
            case SendState.UNKNOWN:
                self.unknown += 1


class Stop(Exception):  # not an error: the row stays queued and the broadcast stops
    """Raised within a delivery that finds the broadcast stopping; nothing was sent."""


class Delivery:
    """Sends one message to one row's recipient after another.

    Args:
        lease: This run's hold on the ledger's rows.
        client: The account's open client.
        build: Builds the message for one recipient.
        pace: This process's part of the sender's rate.
        gate: Holds the requests in flight to a number. Claims and settlements are made outside of it, so that it is
            never idle while the ledger commits.
        park: Waits while one recipient alone must, so that others go on.
        renew_media: Uploads the media once more when the service disowns its id; returns the new way to build. None
            where the service keeps no media.
    """

    def __init__(
        self,
        lease: Lease,
        client: AsyncClient,
        *,
        build: Build,
        pace: Pace,
        gate: ResizableSemaphore,
        park: Callable[[float], Awaitable[None]],
        renew_media: Callable[[], Awaitable[Build]] | None = None,
    ) -> None:
        self.tally = Tally()
        self.stopping = asyncio.Event()
        self.first_answer = asyncio.Event()
        self._lease, self._client, self._build, self._pace = lease, client, build, pace
        self._gate, self._park, self._renew_media = gate, park, renew_media
        self._renewal: asyncio.Task[Build] | None = None
        self._refusals: tuple[str, int] = ("", 0)
        self._throttled_since: float | None = None

    def stop(self, reason: StopReason, why: str) -> None:
        """Let the sends in flight settle and leave the rest queued.

        Args:
            reason: What kind of reason.
            why: One sentence for the report.
        """
        if not self.stopping.is_set():
            self.tally.reason, self.tally.stopped = reason, why
            self.stopping.set()
            self.first_answer.set()

    async def deliver(self, row: Row, task_run_id: str = "") -> Outcome:
        """Send one row's message and record what became of it.

        Args:
            row: A row that this run has taken.
            task_run_id: The task run that the ledger names beside it.

        Returns:
            What was recorded; `queued` where the broadcast stopped before this message was accepted.

        Raises:
            LedgerError: The ledger can't be written; the row is `unknown` if its request had left.
        """
        tries: dict[str, int] = {}
        outcome = Outcome(SendState.QUEUED)
        try:
            while outcome.state is SendState.QUEUED:
                await self._pace.turn(unless=self.stopping.is_set)
                if self.stopping.is_set():
                    break
                await self._lease.claim(row, task_run_id=task_run_id)
                outcome = await self._attempt(row, tries)
        except OptedOutError as refused:  # settled by the claim itself
            outcome = Outcome(SendState.SKIPPED, error_text=refused.message, error_kind=refused.kind)
        except (Stop, ClaimLostError):
            outcome = Outcome(SendState.QUEUED)
        self.tally.count(outcome.state)
        return outcome

    async def _attempt(self, row: Row, tries: dict[str, int]) -> Outcome:
        """One claimed request; settles it, waits where it is to be sent again."""
        async with self._gate:
            outcome, wait = await self._request(row, tries)
        await self._lease.settle(row, outcome)
        if outcome.state is SendState.QUEUED and wait:
            await wait()
        if outcome.state is SendState.QUEUED and self.stopping.is_set():
            raise Stop
        return outcome

    async def _request(self, row: Row, tries: dict[str, int]) -> tuple[Outcome, Wait | None]:
        """The request itself, unless meanwhile the broadcast was stopped, the service asked for a pause, or the ledger
        has not heard of this run for so long that another may hold the row for unknown.
        """
        if not self._may_leave():
            return Outcome(SendState.QUEUED), None
        await self._pace.departure(unless=self.stopping.is_set)
        if not self._may_leave():
            return Outcome(SendState.QUEUED), None
        self._lease.departs()
        build, sent_at = self._build, time.monotonic()
        wait: Wait | None = None
        try:
            to = Recipient(to=row.recipient, name=row.name, reply_to=row.reply_to)
            receipt = await self._client.run(build(to, callback=row.callback))
        except WhatsAppError as refusal:
            outcome, wait = self._read(refusal, tries, sent_at, build)
        else:
            self._accepted(sent_at)
            outcome = Outcome(SendState.ACCEPTED, message_id=receipt.message_id, status_text=receipt.status_text)
        if outcome.state is not SendState.QUEUED:
            self.first_answer.set()
        return outcome, wait

    def _may_leave(self) -> bool:
        return not self.stopping.is_set() and not self._pace.paused and self._lease.healthy

    def _accepted(self, sent_at: float) -> None:
        took = time.monotonic() - sent_at
        self.tally.answer_seconds += ((took - self.tally.answer_seconds) * 0.1) if self.tally.answer_seconds else took
        self._pace.accepted()
        self._throttled_since, self._refusals = None, ("", 0)

    def _read(
        self, refusal: WhatsAppError, tries: dict[str, int], sent_at: float, build: Build
    ) -> tuple[Outcome, Wait | None]:
        """What a refusal means for this row, and how long to wait where it is sent again."""
        match refusal:
            case OutcomeUnknownError():
                return _outcome(SendState.UNKNOWN, refusal), None
            case RecipientRefusedError(kind=ErrorKind.WINDOW):
                return _outcome(SendState.SKIPPED, refusal), None
            case RecipientRefusedError(kind=ErrorKind.UNEXPLAINED):
                return self._refused_alike(refusal), None
            case RecipientRefusedError() | UnsupportedError():
                return _outcome(SendState.FAILED, refusal), None
            case RetryLaterError(scope="recipient"):
                return self._again(refusal, tries, "pair", PAIR_TRIES, pair_backoff)
            case RetryLaterError(kind=ErrorKind.THROTTLE):
                return self._throttled(refusal, sent_at)
            case RetryLaterError():
                return self._again(refusal, tries, "transient", TRANSIENT_TRIES, _transient_backoff)
            case NotSentError():
                outcome, wait = self._again(refusal, tries, "unreachable", UNREACHABLE_TRIES, _transient_backoff)
                if outcome.state is SendState.FAILED:
                    self.stop(StopReason.OUTAGE, refusal.message)
                    return _outcome(SendState.QUEUED, refusal), None
                return outcome, wait
            case AccountError():
                self.stop(StopReason.ACCOUNT, refusal.message)
                return _outcome(SendState.QUEUED, refusal), None
            case RequestRefusedError(kind=ErrorKind.MEDIA_ID) if self._renew_media and not tries.get("media id"):
                tries["media id"] = 1
                return _outcome(SendState.QUEUED, refusal), lambda: self._renew(build)
            case RequestRefusedError():
                return self._refused_alike(refusal), None
            case _:  # an answer that fits no verdict is no proof of a refusal
                return _outcome(SendState.UNKNOWN, refusal), None

    def _again(
        self,
        refusal: WhatsAppError,
        tries: dict[str, int],
        kind: str,
        bound: int,
        backoff: Callable[[int], float],
    ) -> tuple[Outcome, Wait | None]:
        failures = tries.get(kind, 0)
        tries[kind] = failures + 1
        if tries[kind] >= bound:
            return _outcome(SendState.FAILED, refusal), None
        seconds = max(backoff(failures), getattr(refusal, "retry_after", None) or 0.0)
        return _outcome(SendState.QUEUED, refusal), lambda: self._park(seconds)

    def _throttled(self, refusal: RetryLaterError, sent_at: float) -> tuple[Outcome, Wait | None]:
        now = time.monotonic()
        self.tally.throttles += 1
        self._throttled_since = self._throttled_since or now
        self._pace.throttled(refusal.retry_after, sent_at)
        if now - self._throttled_since > THROTTLED_AT_MOST_SECONDS:
            self.stop(
                StopReason.THROTTLED,
                f"{refusal.message}; nothing was accepted for {THROTTLED_AT_MOST_SECONDS / 60:.0f} minutes",
            )
        return _outcome(SendState.QUEUED, refusal), None

    def _refused_alike(self, refusal: ProviderError) -> Outcome:
        """A refusal that may be nobody's own: several of one kind in a row, and the broadcast stops."""
        code, count = self._refusals
        self._refusals = (refusal.code, count + 1 if refusal.code == code else 1)
        if refusal.kind in (ErrorKind.MEDIA, ErrorKind.MEDIA_ID) or self._refusals[1] >= SAME_REFUSALS:
            self.stop(StopReason.REQUEST, refusal.message)
        return _outcome(SendState.FAILED, refusal)

    async def _renew(self, build: Build) -> None:
        """Upload once more, however many rows found the id disowned at the same time."""
        assert self._renew_media
        if build is not self._build:
            return  # another row has renewed it since this one was built
        if self._renewal is None:
            self._renewal = asyncio.ensure_future(self._renew_media())
        renewal = self._renewal
        try:
            self._build = await asyncio.shield(renewal)
        except WhatsAppError as failure:
            self.stop(StopReason.REQUEST, f"the media could not be uploaded again: {failure.message}")
        if self._renewal is renewal:
            self._renewal = None  # the service may disown the new id too, later in a long broadcast


def _outcome(state: SendState, refusal: WhatsAppError) -> Outcome:
    code = refusal.code if isinstance(refusal, ProviderError) else ""
    return Outcome(state, error_code=code, error_text=refusal.message, error_kind=refusal.kind)


def _transient_backoff(failures: int) -> float:
    return float(min(2**failures, 30))
