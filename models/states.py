"""The closed vocabulary of what becomes of a send."""

from enum import StrEnum


class SendState(StrEnum):
    """Where one recipient's message stands in the ledger. Accepted is not delivered."""

    QUEUED = "queued"  # planned, no request has left
    SENDING = "sending"  # claimed: a request may have left, no outcome is recorded yet
    ACCEPTED = "accepted"  # the service took the message
    SENT = "sent"  # a status says that it left the service
    DELIVERED = "delivered"  # a status says that it reached the phone
    READ = "read"  # a status says that it was seen
    PLAYED = "played"  # a status says that the voice note was heard
    FAILED = "failed"  # the service refused it, for this recipient or for all
    SKIPPED = "skipped"  # not sendable to this recipient now (closed window, opted out): no fault of the broadcast
    UNKNOWN = "unknown"  # a request may have left and its answer was lost: held, and named


# What a service tells of a message, and how far that brings its row: a later one here beats an earlier one. `failed` beats
# accepted and sent, and is itself beaten by what the phone tells.
RECEIPT_STATES = (
    SendState.ACCEPTED,
    SendState.SENT,
    SendState.FAILED,
    SendState.DELIVERED,
    SendState.READ,
    SendState.PLAYED,
)
# What becomes of a message that the service took, in its order; each one had those before it.
PROGRESS_STATES = tuple(state for state in RECEIPT_STATES if state is not SendState.FAILED)
ACCEPTED_STATES = frozenset(PROGRESS_STATES)  # the service took the message, whatever became of it since
ARRIVED_STATES = frozenset({SendState.DELIVERED, SendState.READ, SendState.PLAYED})  # the phone has it
IN_DOUBT_STATES = frozenset({SendState.SENDING, SendState.UNKNOWN})  # a request may have left, its answer isn't known
# A receipt is still to come. Not so after `read`: that a voice note was played may never be told.
AWAITING_RECEIPT_STATES = frozenset({SendState.ACCEPTED, SendState.SENT, SendState.DELIVERED, SendState.UNKNOWN})
OPEN_STATES = frozenset({SendState.QUEUED, SendState.SENDING})  # not settled yet
# What a run settles a send with; every other state comes before, or later by a receipt.
SETTLED_STATES = frozenset({SendState.ACCEPTED, SendState.FAILED, SendState.SKIPPED, SendState.UNKNOWN})
ATTENTION_STATES = frozenset({SendState.UNKNOWN, SendState.FAILED, SendState.SKIPPED})  # these need a person


class StopReason(StrEnum):
    """Why a broadcast stopped early; the next run of the same name sends what is pending."""

    CANCELLED = "cancelled"  # a person cancelled the flow run, or its process was told to end
    PAUSED = "paused"  # a person paused the flow run
    ACCOUNT = "account"  # the account can't send
    REQUEST = "request"  # nobody can get it: the media or the request is at fault
    THROTTLED = "throttled"  # the service wants nothing for longer than a run waits
    CANARY = "canary"  # too many of the canary's messages failed
    OUTAGE = "outage"  # the service is unreachable or broken: nothing is accepted
    LEDGER = "ledger"  # the ledger can't be read or written
    INTERNAL = "internal"  # our own fault

    @property
    def by_person(self) -> bool:
        """Whether a person stopped it: then pending sends are not a failure."""
        return self in (StopReason.CANCELLED, StopReason.PAUSED)
