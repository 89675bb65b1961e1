"""The one signal that ends a broadcast's sending, whoever gives it."""

import asyncio

from ..models import StopReason
from ..models.errors import ClaimLostError, WhatsAppError


class StopSignal:
    """Set once; from then on no request leaves, what is in flight settles, and the rest stays pending.

    Attributes:
        reason: What kind of reason; None as long as it isn't set.
        sentence: Why, for the report; empty as long as it isn't set.
        failure: The exception to raise at the end; None where it was set for a reason that is no failure of ours.

    Example:
        >>> stop = StopSignal()
        >>> stop.set(StopReason.CANCELLED, "the flow run was cancelled")
        >>> stop.set(StopReason.OUTAGE, "too late: the first reason stays")
        >>> stop.is_set(), stop.reason, stop.sentence
        (True, <StopReason.CANCELLED: 'cancelled'>, 'the flow run was cancelled')
    """

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self.sentence = ""
        self.failure: BaseException | None = None
        self._event = asyncio.Event()

    def is_set(self) -> bool:
        """Whether nothing more is to be sent."""
        return self.reason is not None

    def set(self, reason: StopReason, sentence: str) -> None:
        """End the sending; the first reason stays.

        Args:
            reason: What kind of reason.
            sentence: Why, for the report.
        """
        if self.reason is None:
            self.reason, self.sentence = reason, sentence
            self._event.set()

    def fail(self, failure: BaseException) -> None:
        """End the sending because something raised: the ledger failed, or we did."""
        if isinstance(failure, ClaimLostError):
            return  # one row is another run's now; that is no reason to stop
        self.failure = self.failure or failure
        if isinstance(failure, WhatsAppError):
            self.set(StopReason.LEDGER, failure.message)
        else:
            self.set(StopReason.INTERNAL, f"unexpected {type(failure).__name__}")

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is set, or for so many seconds.

        Returns:
            Whether it is set.
        """
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        return True
