"""What an answer means for its row and for the broadcast: pure decisions, no waiting and no ledger.

This is the one owner of every retry. Sent again is only what surely was not accepted: a request that never left, or a
refusal in the service's own words. An answer that may hide an accepted message makes its row `unknown`, and nothing
here ever sends that again. Between the two stands a refusal by its status alone, which means no and doesn't prove it: a
few tries. `failed` means that the service refused this recipient.

`decide` looks at one answer, `Streak` at all of them since the last accepted message, and at how many were lost in all: an
outage must stop the broadcast and not use up its list, also one that comes and goes.
"""

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from ..ledger import Outcome
from ..models import Receipt, SendState, StopReason
from ..models.errors import (
    AccountError,
    ErrorKind,
    NotSentError,
    ProviderError,
    RecipientRefusedError,
    RequestRefusedError,
    RetryLaterError,
    UnsupportedError,
    WhatsAppError,
)

PAIR_TRIES = 5  # 1, 4, 16 and 64 s of waiting
TRANSIENT_TRIES = 5  # about 15 s of waiting; 131000 and its like either pass at once or don't
# Where the service refuses one in six or more and accepts the rest, five in a row befall many a row by chance.
WAVERING_TRIES = 30
# A status of 429 or 404 by itself proves nothing, and a proxy that answers it may have passed the message on: each try may
# be one more message. 32 of them in 25 s were seen.
UNPROVEN_TRIES = 3
LONGEST_BACKOFF_SECONDS = 8.0
# A run doesn't wait longer than this for a service that wants nothing: what is pending goes with the next run.
LONGEST_WAIT_SECONDS = 900.0
# So many refusals of one kind in a row and nothing accepted between: the fault is not in the rows.
ALIKE_REFUSALS = 5
# Tries of one message alone while nothing is accepted: at once, then after 1, 2, 4 and 8 s, so that 15 s are outlived.
# Each of them may be a message that nobody knows of, hence so few.
UNKNOWN_PROBES = 6
# Lost answers beyond one for every ten accepted messages: a service that answers some and loses others must not use up
# the list either. One burst counts once, as a proxy that is started again loses all that is in flight.
LOST_ANSWERS_AT_MOST = 10
ACCEPTED_A_LOST_ANSWER = 10
# Likewise of what it surely refused, and might accept later: beyond five the fault is the service's, not a row's.
REFUSALS_AT_MOST = 5
ACCEPTED_A_REFUSAL = 5
# Tries that surely sent nothing cost nobody anything: they may go on for a minute.
OUTAGE_SECONDS = 60.0
OUTAGE_PROBES = 3

_UNPROVEN = frozenset({ErrorKind.BARE_THROTTLE, ErrorKind.ADDRESS})  # refused by a status, in nobody's own words
_DOWN = frozenset({ErrorKind.TRANSIENT, ErrorKind.SESSION, ErrorKind.UNREACHABLE, ErrorKind.UNSPECIFIED}) | _UNPROVEN
_NOBODYS_OWN = frozenset({ErrorKind.REQUEST, ErrorKind.TEMPLATE, ErrorKind.UNEXPLAINED, ErrorKind.UNSPECIFIED})
_MEDIA = frozenset({ErrorKind.MEDIA, ErrorKind.MEDIA_ID})


class Scope(StrEnum):
    """Whom a wait concerns."""

    SENDER = "sender"  # every message from this account
    RECIPIENT = "recipient"  # this row alone; the others go on


@dataclass(frozen=True, slots=True)
class Tries:
    """What a row has been through in this run, by one kind of error.

    Attributes:
        failures: How often it failed so before.
        accepting: After how many of these the service accepted another row's message: then the trouble is this row's.
        refuses_many: Whether the service refuses others so too, and often: then it is not, for `WAVERING_TRIES` of them.
    """

    failures: int = 0
    accepting: int = 0
    refuses_many: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with an answer.

    Attributes:
        outcome: What the ledger records; `queued` for surely not accepted.
        retry_in: Seconds until this row's next try; None where this run doesn't try it again.
        scope: Whom the wait concerns.
        renew_media: Whether to upload the media once more before the next try.
        stop: Why the broadcast is to stop now; None where it goes on.
    """

    outcome: Outcome
    retry_in: float | None = None
    scope: Scope = Scope.RECIPIENT
    renew_media: bool = False
    stop: StopReason | None = None


def accept(receipt: Receipt) -> Decision:
    """The decision on a message that the service took."""
    return Decision(Outcome(SendState.ACCEPTED, message_id=receipt.message_id, status_text=receipt.status_text))


def decide(error: WhatsAppError, tries: Tries = Tries()) -> Decision:
    """Say what an error means for its row.

    Args:
        error: What the request was answered with, or failed with.
        tries: The row's earlier failures of the same kind.

    Returns:
        The decision; it never sends again what may have been accepted.

    Example:
        >>> decide(NotSentError("no connection"), Tries(failures=2)).retry_in
        4.0
        >>> decide(RetryLaterError("slow down", provider="graph", kind=ErrorKind.THROTTLE, retry_after=3)).scope
        <Scope.SENDER: 'sender'>
    """
    match error:
        case RetryLaterError(scope="recipient"):
            return _pair_limited(error, tries)
        case RetryLaterError() | RequestRefusedError(kind=ErrorKind.ADDRESS):
            return _later(error, tries)
        case NotSentError():
            return _again(error, backoff(tries.failures))
        case RecipientRefusedError(kind=ErrorKind.WINDOW) | UnsupportedError():
            return Decision(_outcome(SendState.SKIPPED, error))
        case RecipientRefusedError():
            return Decision(_outcome(SendState.FAILED, error))
        case RequestRefusedError(kind=ErrorKind.MEDIA_ID) if not tries.failures:
            return Decision(_outcome(SendState.QUEUED, error), retry_in=0.0, renew_media=True)
        case RequestRefusedError():
            stop = StopReason.REQUEST if error.kind in _MEDIA else None
            return Decision(_outcome(SendState.FAILED, error), stop=stop)
        case AccountError():
            return Decision(_outcome(SendState.QUEUED, error), stop=StopReason.ACCOUNT)
        case _:  # an answer that was lost, or fits no verdict, is no proof of a refusal
            return Decision(_outcome(SendState.UNKNOWN, error))


def backoff(failures: int) -> float:
    """Seconds before another try of what surely was not accepted: 1, 2, 4, then 8.

    Example:
        >>> [backoff(failures) for failures in range(5)]
        [1.0, 2.0, 4.0, 8.0, 8.0]
    """
    return min(2.0 ** min(failures, 10), LONGEST_BACKOFF_SECONDS)


def pair_backoff(failures: int) -> float:
    """Seconds to wait for one recipient after a pair limit (131056): 4^X, X from 0.

    Args:
        failures: Refusals for this recipient before this one.

    Example:
        >>> [pair_backoff(failures) for failures in range(4)]
        [1.0, 4.0, 16.0, 64.0]

    Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/throughput
    """
    return 4.0 ** min(max(failures, 0), 10)


def _pair_limited(error: RetryLaterError, tries: Tries) -> Decision:
    if tries.failures < PAIR_TRIES - 1:
        seconds = max(pair_backoff(tries.failures), error.retry_after or 0.0)
        if seconds <= LONGEST_WAIT_SECONDS:
            return _again(error, seconds)
        return Decision(_outcome(SendState.SKIPPED, error))
    if tries.accepting >= PAIR_TRIES - 1:
        return Decision(_outcome(SendState.FAILED, error))
    # The service accepted nobody else's either, or there was nobody else: the next run tries it again.
    return Decision(_outcome(SendState.QUEUED, error), stop=StopReason.THROTTLED)


def _later(error: RetryLaterError | RequestRefusedError, tries: Tries) -> Decision:
    if error.kind in _UNPROVEN and tries.failures >= UNPROVEN_TRIES - 1:
        return Decision(_outcome(SendState.UNKNOWN, error))
    asked = error.retry_after or 0.0
    if asked > LONGEST_WAIT_SECONDS:
        return Decision(
            _outcome(SendState.QUEUED, error), retry_in=asked, scope=Scope.SENDER, stop=StopReason.THROTTLED
        )
    if error.kind is ErrorKind.THROTTLE:
        return _again(error, asked, Scope.SENDER)
    enough = WAVERING_TRIES if tries.refuses_many else TRANSIENT_TRIES
    if tries.accepting >= enough - 1:
        return Decision(_outcome(SendState.FAILED, error))
    return _again(error, max(backoff(tries.failures), asked), Scope.SENDER if asked else Scope.RECIPIENT)


def _again(error: WhatsAppError, seconds: float, scope: Scope = Scope.RECIPIENT) -> Decision:
    return Decision(_outcome(SendState.QUEUED, error), retry_in=seconds, scope=scope)


def _outcome(state: SendState, error: WhatsAppError) -> Outcome:
    code = error.code if isinstance(error, ProviderError) else ""
    return Outcome(state, error_code=code, error_text=error.message, error_kind=error.kind)


@dataclass(frozen=True, slots=True)
class Streak:
    """What came back since the service last accepted a message: whether it is in trouble, and when to stop.

    Requests that were in flight together tell the same thing once: what left before the last trouble was known is its
    echo, not news. From the first trouble on messages go one at a time, then with growing pauses, until one is accepted.

    An accepted message ends the trouble, but not the count of lost answers, of which it makes good a tenth: a service that
    loses every second answer is stopped after some ten of them, one that loses every hundredth never.

    Attributes:
        probes: Troubles in a row, each of a request that left when the one before was known.
        unknown_probes: Those of them that don't prove that the message was refused.
        since: When the first was known.
        known_at: When the last was known.
        throttled_since: When the first throttle was known; None for none.
        refusals: The last refusal that may be nobody's own, by its code, and how many were alike.
        lost: Lost answers of the whole run, ten for each, less one for each accepted message; never below 0.
        lost_at: When the last of them was known.
        refused: Likewise the refusals that may pass, five for each.
        stop: Why the broadcast is to stop; None where it goes on.
    """

    probes: int = 0
    unknown_probes: int = 0
    since: float = 0.0
    known_at: float = 0.0
    throttled_since: float | None = None
    refusals: tuple[str, int] = ("", 0)
    lost: int = 0
    lost_at: float = -math.inf
    refused: int = 0
    stop: StopReason | None = None

    @property
    def in_trouble(self) -> bool:
        """Whether only one message may be in flight."""
        return self.probes > 0

    @property
    def pause(self) -> float:
        """Seconds from `known_at` during which nothing is to leave."""
        return backoff(self.probes - 2) if self.probes > 1 else 0.0

    def after(self, outcome: Outcome, *, sent_at: float, now: float) -> "Streak":
        """Take one more answer into account.

        Args:
            outcome: What was decided of it.
            sent_at: When its request left.
            now: When its answer was there, by the same clock.
        """
        match outcome.state:
            case SendState.ACCEPTED:
                lost, refused = max(self.lost - 1, 0), max(self.refused - 1, 0)
                return Streak(lost=lost, lost_at=self.lost_at, refused=refused)
            case SendState.UNKNOWN:
                return self._lose(sent_at, now)._trouble(sent_at, now, unknown=True)
            case SendState.QUEUED if outcome.error_kind == ErrorKind.THROTTLE:
                since = now if self.throttled_since is None else self.throttled_since
                stop = StopReason.THROTTLED if now - since > LONGEST_WAIT_SECONDS else self.stop
                return replace(self, throttled_since=since, stop=stop)
            case SendState.QUEUED if outcome.error_kind in _DOWN:
                refused = self.refused + ACCEPTED_A_REFUSAL
                unknown = outcome.error_kind in _UNPROVEN
                return replace(self, refused=refused)._trouble(sent_at, now, unknown=unknown)
            case SendState.FAILED if outcome.error_kind in _NOBODYS_OWN:
                code, count = self.refusals
                count = count + 1 if code == outcome.error_code else 1
                stop = StopReason.REQUEST if count >= ALIKE_REFUSALS else self.stop
                return replace(self, refusals=(outcome.error_code, count), stop=stop)
        return self

    @property
    def loses_too_many(self) -> bool:
        """Whether too many answers were lost, though others were accepted between them."""
        return self.lost > LOST_ANSWERS_AT_MOST * ACCEPTED_A_LOST_ANSWER

    @property
    def refuses_many(self) -> bool:
        """Whether the service refused so much that may pass that one row's refusals say nothing of that row."""
        return self.refused > REFUSALS_AT_MOST * ACCEPTED_A_REFUSAL

    def _lose(self, sent_at: float, now: float) -> "Streak":
        if sent_at <= self.lost_at:
            return self
        after = replace(self, lost=self.lost + ACCEPTED_A_LOST_ANSWER, lost_at=now)
        return replace(after, stop=StopReason.OUTAGE) if after.loses_too_many else after

    def _trouble(self, sent_at: float, now: float, *, unknown: bool) -> "Streak":
        if self.probes and sent_at <= self.known_at:
            return self
        probes, unknown_probes = self.probes + 1, self.unknown_probes + unknown
        since = self.since if self.probes else now
        lasting = probes >= OUTAGE_PROBES and now - since >= OUTAGE_SECONDS
        stop = StopReason.OUTAGE if lasting or unknown_probes >= UNKNOWN_PROBES else self.stop
        return replace(self, probes=probes, unknown_probes=unknown_probes, since=since, known_at=now, stop=stop)


NO_TROUBLE = Streak()
