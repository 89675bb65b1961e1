"""What became of a broadcast, in whole numbers."""

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .states import ATTENTION_STATES, OPEN_STATES, PROGRESS_STATES, SendState, StopReason


class Report(BaseModel):
    """The state of a broadcast as its ledger has it.

    `planned = accepted + failed + skipped + unknown + pending`, always.

    Attributes:
        broadcast: The broadcast's name.
        planned: Recipients it is to reach.
        accepted: Messages the service took, whatever became of them since. Accepted is not delivered.
        sent: Of the accepted, those that left the service, according to its receipts; each of these four counts those
            that got at least so far.
        delivered: Of them, those that reached the phone.
        read: Of them, those that were seen.
        played: Of them, those whose voice note was heard.
        failed: Refused by the service, at once or later.
        failed_late: Of the failed, those that the service had accepted before it reported their failure.
        skipped: Not sendable to this recipient now, such as a closed 24-hour window.
        opted_out: Of the skipped, those who asked for no more messages, or whose data was erased: nobody has to see to them.
        unknown: A request may have left and its answer was lost; held until `on_unknown="resend"`.
        pending: Not sent yet.
        removed: Rows of the list that were not planned: repeats and unusable ones.
        uploads: Media uploads this run made (0 or 1).
        transcodes: Transcodes this run made (0 or 1).
        seconds: How long this run took.
        stopped: One sentence if the broadcast stopped early; otherwise empty.
        stop_reason: What kind of reason that is; None where it didn't stop.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    broadcast: str
    planned: int = Field(default=0, ge=0)
    accepted: int = Field(default=0, ge=0)
    sent: int = Field(default=0, ge=0)
    delivered: int = Field(default=0, ge=0)
    read: int = Field(default=0, ge=0)
    played: int = Field(default=0, ge=0)
    failed: int = Field(default=0, ge=0)
    failed_late: int = Field(default=0, ge=0)
    skipped: int = Field(default=0, ge=0)
    opted_out: int = Field(default=0, ge=0)
    unknown: int = Field(default=0, ge=0)
    pending: int = Field(default=0, ge=0)
    removed: int = Field(default=0, ge=0)
    uploads: int = Field(default=0, ge=0)
    transcodes: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0)
    stopped: str = ""
    stop_reason: StopReason | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.planned != self.accepted + self.failed + self.skipped + self.unknown + self.pending:
            raise ValueError("planned is not accepted + failed + skipped + unknown + pending")
        return self

    @property
    def needs_attention(self) -> dict[str, int]:
        """How many messages need a person, by what became of them; empty where none does.

        Example:
            >>> Report(broadcast="weekly", planned=9, accepted=5, failed=1, skipped=3, opted_out=3).needs_attention
            {'failed': 1}
        """
        counts = {"failed": self.failed, "skipped": self.skipped - self.opted_out, "unknown": self.unknown}
        return {name: number for name, number in counts.items() if number > 0}

    @property
    def complete(self) -> bool:
        """Whether nobody is left over: every planned recipient's message was accepted."""
        return self.accepted == self.planned


def outcome_counts(counts: Mapping[SendState, int]) -> dict[str, int]:
    """The numbers of a report, of a broadcast's rows by state.

    Example:
        >>> outcome_counts({SendState.DELIVERED: 2, SendState.ACCEPTED: 1})["sent"]
        2
    """
    reached, so_far = {}, 0
    for state in reversed(PROGRESS_STATES):
        so_far += counts.get(state, 0)
        reached[state.value] = so_far
    return {
        "planned": sum(counts.values()),
        **{state.value: reached[state.value] for state in PROGRESS_STATES},
        **{state.value: counts.get(state, 0) for state in SendState if state in ATTENTION_STATES},
        "pending": sum(counts.get(state, 0) for state in OPEN_STATES),
    }
