"""All errors in one tree, split by who must act.

    WhatsAppError
    ├── InputError                  you: what was passed in can't be used; nothing was sent
    │   ├── AudioError              … the audio: not audio, empty, too large, ffmpeg refused it
    │   ├── SourceError             … its source: no such key or bucket, refused, deleted
    │   ├── AddressError            … one address: not a number or chat id, no country code, two readings
    │   ├── RecipientListError      … the list: empty, without a usable column, an unknown region
    │   └── UnsupportedError        … the provider has no such feature; names provider, parameter and reason
    ├── ProviderError               the service answered, and its answer is one of four verdicts
    │   ├── RetryLaterError         nobody: certainly not accepted; send again after `retry_after`
    │   ├── RecipientRefusedError   nobody: this recipient can't get it; the others can
    │   ├── RequestRefusedError     you: nobody can get it; the media or the request is at fault
    │   └── AccountError            the account's owner: token, payment, session, restriction
    ├── TransportError              the network
    │   ├── NotSentError            … before the request was written: certainly not accepted
    │   └── OutcomeUnknownError     … after: the service may have accepted it
    └── LedgerError                 you: the broadcast's name stands for something else, or the ledger can't be written
        ├── LedgerAwayError         nobody: it did not answer, or another process held it, for longer than its patience
        ├── BroadcastMismatchError
        ├── ClaimLostError          this run was considered dead and another took over its rows: nothing was sent
        ├── OptedOutError           nobody: the recipient asked for no more messages; the row is skipped
        └── BroadcastStoppedError   the broadcast stopped early; its `report` says where it stands

Every error survives pickling, and none holds a token or a whole phone number.
"""

from enum import StrEnum
from typing import Any, Literal

from .masking import mask_numbers
from .report import Report


class Verdict(StrEnum):
    """What a service's refusal means for the broadcast."""

    RETRY = "retry"  # surely not accepted; this message again, later
    RECIPIENT = "recipient"  # this one can't get it; go on with the others
    REQUEST = "request"  # nobody can get it: the media or the request is at fault; stop
    ACCOUNT = "account"  # the account can't send; stop, leave the rest pending


class ErrorKind(StrEnum):
    """The kind of problem that an error or an outcome stands for. The ledger stores the value with each row."""

    UNSPECIFIED = ""
    # The account can't send.
    AUTH = "auth"  # token, key or permission
    POLICY = "policy"  # the business account is restricted
    RESTRICTED = "restricted"  # the number is held back for spam: going on makes it worse
    ACCOUNT = "account"  # registration or terms
    PAYMENT = "payment"  # the plan allows no more
    SESSION = "session"  # the gateway's session with the phone is down
    # Later.
    THROTTLE = "throttle"  # the sender is too fast
    BARE_THROTTLE = "bare throttle"  # a status of 429 without the service's own words: perhaps a proxy's
    ADDRESS = "address"  # something else answers at this address, or the service has no such path
    PAIR = "pair"  # too many messages to this one recipient
    TRANSIENT = "transient"  # the service's own trouble, surely not accepted
    UNREACHABLE = "unreachable"  # no connection: the request never left
    # Nobody can get it.
    REQUEST = "request"  # the body is wrong
    MEDIA = "media"  # this media fails for everyone
    MEDIA_ID = "media id"  # the media id is gone or another number's: upload once more
    TEMPLATE = "template"  # the opener's template
    # This recipient can't get it.
    PARAMETER = "parameter"  # a value of this row, such as its address
    RECIPIENT = "recipient"  # this person can't get it
    WINDOW = "window"  # the 24-hour window is closed: an opener is needed
    COUNTRY = "country"  # the account may not write to this country
    GROUP = "group"  # the group can't get it
    OPTED_OUT = "opted out"  # this person asked for no more messages; no request was made
    FORGOTTEN = "forgotten"  # this person's data was erased before anything was sent; no request was made
    FAILED_LATER = "failed later"  # the service took the message, and told by a webhook that it failed
    QUOTE = "quote"  # the message to quote is refused
    UNSUPPORTED = "unsupported"  # the service has no such feature; no request was made
    UNEXPLAINED = "unexplained"  # the service says no, and not why
    # Nobody knows.
    TIMEOUT = "timeout"  # the service ran out of time
    TROUBLE = "trouble"  # the service broke down
    NO_ANSWER = "no answer"  # the answer was lost on the way, or says neither yes nor no
    RUN_GONE = "run gone"  # the run that was sending it ended without recording an outcome


# Of people who are skipped for ever: nobody has to see to them.
NO_MORE_MESSAGES = frozenset({ErrorKind.OPTED_OUT, ErrorKind.FORGOTTEN})


class WhatsAppError(Exception):
    """Base class of all errors that this package raises on purpose.

    Args:
        message: One sentence: what was wrong, with which object, and what to do.

    Attributes:
        kind: The kind of problem.
    """

    kind: ErrorKind = ErrorKind.UNSPECIFIED

    def __init__(self, message: str) -> None:
        self.message = mask_numbers(message)
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__)


def _rebuild(kind: type[WhatsAppError], facts: dict[str, Any]) -> WhatsAppError:
    error = kind.__new__(kind)
    Exception.__init__(error, facts.get("message", ""))
    error.__dict__.update(facts)
    return error


class InputError(WhatsAppError, ValueError):
    """What was passed in can't be used; nothing was sent."""


class AudioError(InputError):
    """The audio can't be sent: not audio, empty, too large, or ffmpeg refused it."""


class SourceError(InputError):
    """The audio or list was not found, or may not be read."""


class AddressError(InputError):
    """A recipient's address can't be used.

    Args:
        reason: Why, without what was given: it may stand in a report.
        shown: What was given, shortened and without whole numbers; for the person who entered it.
    """

    def __init__(self, reason: str, shown: str = "") -> None:
        self.reason, self.shown = mask_numbers(reason), mask_numbers(shown)
        super().__init__(f"{reason} ({shown})" if shown else reason)


class RecipientListError(InputError):
    """The recipient list can't be used as a whole."""


class UnsupportedError(InputError):
    """The provider has no such feature.

    Args:
        provider: The service's name, such as `graph`.
        parameter: The parameter that can't be honoured.
        reason: Why, and what to use instead.
    """

    kind = ErrorKind.UNSUPPORTED

    def __init__(self, provider: str, parameter: str, reason: str) -> None:
        self.provider, self.parameter, self.reason = provider, parameter, mask_numbers(reason)
        super().__init__(f"{provider} refuses {parameter}: {reason}")


class ProviderError(WhatsAppError):
    """A service answered with a refusal.

    Args:
        message: The service's text, or ours if it had none.
        provider: The service's name, such as `graph`.
        code: The service's own error code, or the HTTP status as text.
        http_status: Status of the answer.
        retry_after: Seconds until another try makes sense; None where the service didn't say.
        scope: Whom a retry concerns: the whole `sender`, or this `recipient` alone.
        kind: The kind of refusal.
        trace_id: The service's own id of the request, for its support.
    """

    verdict: Verdict

    def __init__(
        self,
        message: str,
        *,
        provider: str,
        code: str = "",
        http_status: int = 0,
        retry_after: float | None = None,
        scope: Literal["sender", "recipient"] = "sender",
        kind: ErrorKind = ErrorKind.UNSPECIFIED,
        trace_id: str = "",
    ) -> None:
        self.provider, self.code, self.http_status = provider, mask_numbers(code), http_status
        self.retry_after, self.scope, self.kind, self.trace_id = retry_after, scope, kind, mask_numbers(trace_id)
        super().__init__(message)


class RetryLaterError(ProviderError):
    """Certainly not accepted; send the same message again after `retry_after` seconds."""

    verdict = Verdict.RETRY


class RecipientRefusedError(ProviderError):
    """This recipient can't get it; the others can. `ErrorKind.WINDOW` means that an opener is needed first."""

    verdict = Verdict.RECIPIENT


class RequestRefusedError(ProviderError):
    """Nobody can get it: the media (`ErrorKind.MEDIA`, `MEDIA_ID`) or the request is at fault."""

    verdict = Verdict.REQUEST


class AccountError(ProviderError):
    """The account can't send: token, payment, session or restriction."""

    verdict = Verdict.ACCOUNT


class TransportError(WhatsAppError):
    """The network failed.

    Args:
        message: What failed, with host and method, never with a query string.
        provider: The provider that was called.
    """

    def __init__(self, message: str, *, provider: str = "") -> None:
        self.provider = provider
        super().__init__(message)


class NotSentError(TransportError):
    """The request was *not* sent: there was no connection. Safe to try again."""

    kind = ErrorKind.UNREACHABLE


class OutcomeUnknownError(TransportError):
    """The request may have been accepted: its answer was lost. Not safe to try again."""

    kind = ErrorKind.NO_ANSWER


class LedgerError(WhatsAppError):
    """The ledger can't be used as asked."""


class LedgerAwayError(LedgerError):
    """The ledger stayed away, or locked by another process, for longer than its patience: run it again later."""


class BroadcastMismatchError(LedgerError):
    """The broadcast's name already stands for other content, kind or sender."""


class ClaimLostError(LedgerError):
    """The row no longer belongs to this run; nothing was sent."""


class OptedOutError(LedgerError):
    """The recipient asked for no more messages; nothing was sent, and the row is skipped."""

    kind = ErrorKind.OPTED_OUT


class BroadcastStoppedError(LedgerError):
    """The broadcast stopped early; the next run of the same name sends what is pending.

    Args:
        message: Why it stopped.
        report: Where it stands.
    """

    def __init__(self, message: str, *, report: Report) -> None:
        self.report = report
        super().__init__(message)


VERDICT_ERRORS: dict[Verdict, type[ProviderError]] = {
    Verdict.RETRY: RetryLaterError,
    Verdict.RECIPIENT: RecipientRefusedError,
    Verdict.REQUEST: RequestRefusedError,
    Verdict.ACCOUNT: AccountError,
}
