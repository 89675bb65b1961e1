"""What the recipients' phones do with a message: how far it gets, and what they answer.

A phone that nobody told anything is switched off: the service sends the message, and nothing comes back.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import floor
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .faults import find_simulated, recipient_key
from .truth import Message

Step = Literal["accepted", "sent", "delivered", "read", "played", "failed", "reply"]
Reply = Literal["text", "button", "reaction", "audio", "contacts", "call"]
_STEPS: dict[str, tuple[Step, ...]] = {
    "nothing": (),
    "sent": ("sent",),
    "delivered": ("sent", "delivered"),
    "read": ("sent", "delivered", "read"),
    "played": ("sent", "delivered", "read", "played"),
    "failed": ("failed",),
    "failed, then delivered": ("failed", "delivered"),
}


class Phone(BaseModel):
    """What some phones do; the first one told that fits a message decides.

    Attributes:
        does: How far a message gets. Only a voice note is played; anything else is read. `failed, then delivered` is
            what a person with several devices may look like.
        code: Graph's code for `failed`, such as 131026, 131047, 131049 or 131053.
        chat_open: The chat is open, so that `read` comes at once, without `delivered`.
        seconds: Before each step.
        reply: What the person answers in the end; empty for nothing.
        text: What a text or a tapped button says.
        service: Only messages of this service; empty for all.
        recipients: Only these people, in any spelling; empty for all.
        fraction: This part of the messages, evenly spread by count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    does: Literal["nothing", "sent", "delivered", "read", "played", "failed", "failed, then delivered"] = "read"
    code: int = 131026
    chat_open: bool = False
    seconds: float = Field(default=0.1, ge=0)
    reply: Literal["", "text", "button", "reaction", "audio", "contacts", "call"] = ""
    text: str = "Thank you!"
    service: str = ""
    recipients: frozenset[str] = frozenset()
    fraction: float = Field(default=1.0, gt=0, le=1)

    @field_validator("service")
    @classmethod
    def _is_simulated(cls, value: str) -> str:
        return find_simulated(value) if value else value

    @model_validator(mode="before")
    @classmethod
    def _recipients_by_one_spelling(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("recipients"):
            return values | {"recipients": [recipient_key(str(each)) for each in values["recipients"]]}
        return values


class Writing(BaseModel):
    """What a person writes, unasked.

    Attributes:
        service: By which service it comes.
        sender: The person, in any spelling.
        reply: Its kind.
        text: What it says.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str
    sender: str
    reply: Reply = "text"
    text: str = "Hello!"

    @field_validator("service")
    @classmethod
    def _is_simulated(cls, value: str) -> str:
        return find_simulated(value)


@dataclass(frozen=True, slots=True)
class Update:
    """One thing that a service has to tell.

    Attributes:
        step: What happened; `accepted` is the message of ours as the session's own phone shows it.
        message: The message it concerns; one without an id where a person writes unasked.
        at: When, in seconds since the epoch.
        number: Counts up, for ids.
        code: Graph's code of a failure.
        reply: The kind of what a person wrote.
        text: What it says.
    """

    step: Step
    message: Message
    at: float
    number: int
    code: int = 0
    reply: Reply = "text"
    text: str = ""


class Phones:
    """The phones as they were told, in that order."""

    def __init__(self, phones: Iterable[Phone] = ()) -> None:
        self._told = [_Told(phone) for phone in phones]
        self._number = time.time_ns() // 1000  # so that a later process makes other ids

    def add(self, *phones: Phone) -> None:
        """Let these phones behave so, where none told before fits."""
        self._told.extend(map(_Told, phones))

    def clear(self) -> None:
        """Switch all phones off."""
        self._told.clear()

    def report(self) -> list[dict[str, Any]]:
        """List what was told, each with how many messages it `met` and `took`."""
        return [
            told.phone.model_dump(mode="json", exclude_defaults=True) | {"met": told.met, "took": told.took}
            for told in self._told
        ]

    def next_number(self) -> int:
        """Count up."""
        self._number += 1
        return self._number

    def updates(self, message: Message) -> Iterator[Update]:
        """Say what becomes of a message, each step at its time."""
        at = message.at
        yield Update("accepted", message, at, self.next_number())
        phone = next((told.phone for told in self._told if told.takes(message)), None)
        if phone is None:
            yield Update("sent", message, at, self.next_number())
            return
        for step in _STEPS[phone.does]:
            if (step == "played" and not message.voice) or (step == "delivered" and phone.chat_open):
                continue
            at += phone.seconds
            yield Update(step, message, at, self.next_number(), code=phone.code)
        if phone.reply:
            at += phone.seconds
            yield Update("reply", message, at, self.next_number(), reply=phone.reply, text=phone.text)


class _Told:
    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.met = self.took = 0

    def takes(self, message: Message) -> bool:
        phone = self.phone
        if phone.service not in ("", message.service):
            return False
        if phone.recipients and message.recipient not in phone.recipients:
            return False
        self.met += 1
        if floor(self.met * phone.fraction) == floor((self.met - 1) * phone.fraction):
            return False
        self.took += 1
        return True
