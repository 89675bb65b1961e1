"""What the blocks of the three gateways have in common: they lend a person's WhatsApp, and must send like one."""

from abc import ABC
from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import Field, model_validator

from ..media import VoiceSettings
from .sender import Sender


class GatewaySender(Sender, ABC):
    """A WhatsApp session behind a gateway. Use the concrete block of a provider."""

    UNPACED: ClassVar[Mapping[str, float]] = {
        **Sender.UNPACED,
        "min_seconds_between": 0.0,
        "max_seconds_between": 0.0,
    }

    min_seconds_between: float = Field(
        default=30.0,
        ge=0,
        title="Minimum seconds between sends",
        description="Two sends of a broadcast are separated by a random pause between this minimum and the maximum below. "
        "The gateways advise 30 to 60 seconds: numbers that send faster to strangers are banned. Enter 0 in both fields "
        "for no pause. Messages per second, if set, applies as well: the slower of the two decides.",
    )
    max_seconds_between: float = Field(
        default=60.0,
        ge=0,
        title="Maximum seconds between sends",
        description="See the minimum above. For people who wrote to you first, a few seconds are enough.",
    )

    @model_validator(mode="after")
    def _least_is_least(self) -> Self:
        if self.min_seconds_between > self.max_seconds_between:
            raise ValueError("min_seconds_between is greater than max_seconds_between")
        return self

    def voice_settings(self) -> VoiceSettings:
        """As phones record: a gateway hands the bytes to them as they are, and some iPhones refuse other notes."""
        return self._levelled(VoiceSettings.as_phones_record())

    @property
    def random_spacing(self) -> tuple[float, float] | None:
        """Minimum and maximum seconds between two sends; None where both are 0."""
        return (self.min_seconds_between, self.max_seconds_between) if self.max_seconds_between else None
