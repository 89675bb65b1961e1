"""What webhooks tell, in one vocabulary for the four services.

Nothing in an item is trusted: texts are the world's, times may lie in the future, ids may be any string.
"""

import datetime
from dataclasses import dataclass, field
from typing import Any, Literal

from .masking import mask
from .states import SendState

InboundKind = Literal["text", "button", "reaction", "audio", "contacts", "call", "edit", "revoke", "other"]
_NO_WINDOW = frozenset({"reaction", "edit", "revoke"})


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """The service's word on one message of ours.

    Attributes:
        account: The account that sent it, as in the ledger.
        message_id: Bare id.
        state: `accepted`, `sent`, `delivered`, `read`, `played` or `failed`.
        at: The service's time.
        callback: What we sent along, where the service gives it back.
        code: The service's code of a failure.
        text: Its words of a failure.
        aliases: Other addresses of the recipient that the status tells.
    """

    account: str
    message_id: str
    state: SendState
    at: datetime.datetime
    callback: str = ""
    code: str = ""
    text: str = field(default="", repr=False)
    aliases: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Inbound:
    """A message, tap, reaction or call of a person.

    Attributes:
        account: The account it came to.
        message_id: Bare id.
        at: The service's time.
        kind: What it is.
        addresses: The person's addresses, as many as it tells, the one to answer to first.
        answers: Bare id of the message it answers; empty where it answers none.
        text: What it says, for word lists alone; never kept.
        word: The word of a list that it is; the only text that is kept.
        opted_out: What that word means: True for STOP, False for START; None where it is none.
    """

    account: str
    message_id: str
    at: datetime.datetime
    kind: InboundKind
    addresses: tuple[str, ...] = field(repr=False)
    answers: str = ""
    text: str = field(default="", repr=False)
    word: str = ""
    opted_out: bool | None = None

    @property
    def opens_window(self) -> bool:
        """Whether it counts for Graph's 24 hours: a message, tap or call does, a reaction is not known to."""
        return self.kind not in _NO_WINDOW

    def __repr__(self) -> str:
        who = mask(self.addresses[0]) if self.addresses else "nobody"
        return f"Inbound({self.kind} from {who})"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Preference:
    """A person's choice, made in WhatsApp itself.

    Attributes:
        account: The account it concerns.
        addresses: The person's addresses.
        opted_out: Whether they want no more messages.
        at: The service's time.
        source: Where it was said, such as `user_preferences`.
    """

    account: str
    addresses: tuple[str, ...] = field(repr=False)
    opted_out: bool
    at: datetime.datetime
    source: str


@dataclass(frozen=True, slots=True)
class SamePerson:
    """Addresses that are, or have become, one person's."""

    addresses: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unread:
    """What this version doesn't read, to be kept as it came.

    Attributes:
        account: The account; may be empty.
        name: The service's name of the field or event.
        raw: Its parsed content.
    """

    account: str
    name: str
    raw: Any = field(repr=False)


Item = StatusUpdate | Inbound | Preference | SamePerson | Unread
