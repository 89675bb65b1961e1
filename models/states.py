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


ACCEPTED_STATES = frozenset({SendState.ACCEPTED, SendState.SENT, SendState.DELIVERED, SendState.READ, SendState.PLAYED})
