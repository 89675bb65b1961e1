"""Misbehaviour on demand: which call is hit, and by what. How it looks on the wire is each service's own."""

import math
import time
from collections.abc import Iterable
from enum import StrEnum
from math import floor
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ..models.recipient import canonical_address
from ..providers.registry import providers
from .truth import Action


def recipient_key(address: str) -> str:
    """The one spelling that truth and faults compare: E.164 digits, or the id of a group, newsletter or user."""
    return canonical_address(f"+{address}" if address.isdecimal() else address).removeprefix("+")


def find_simulated(name: str) -> str:
    """Give the name of a service that is there.

    Raises:
        ValueError: None has this name.
    """
    if name not in providers():
        raise ValueError(f"there is no service {name!r}; choose one of: {', '.join(providers())}")
    return name


class FaultKind(StrEnum):
    """What can go wrong."""

    LATENCY = "latency"  # the answer takes `seconds`, or something between `seconds` and `max_seconds`
    THROTTLE = "throttle"  # too many requests: each, or those beyond `per_second`
    PAIR = "pair"  # Graph 131056: too many to this recipient
    DROP = "drop"  # the connection is closed without an answer
    HTML = "html"  # a proxy's HTML page, `status` (500)
    EMPTY = "empty"  # 200 and nothing
    MALFORMED = "malformed"  # an answer that is cut off
    SENT_FALSE = "sent_false"  # 200 that says no: Chat-API `sent:false`, Wawp `result:false`
    QUEUED = "queued"  # accepted, held by the service
    EXPIRED_TOKEN = "expired_token"  # noqa: S105 - a fault's name
    WINDOW = "window"  # Graph 131047: the 24-hour window is closed
    SESSION_DOWN = "session_down"  # the account isn't connected
    MEDIA_DISOWNED = "media_disowned"  # Graph forgets the media id that the send names, for good
    REPUTATION = "reputation"  # WAHA's 500 with "server returned error 463"
    ERROR = "error"  # any Graph `code`; a gateway's own words in `details`; both with `status`


# Not every service has these: those that do name them in `Service.special_faults`.
SPECIAL = frozenset(
    {
        FaultKind.PAIR,
        FaultKind.WINDOW,
        FaultKind.MEDIA_DISOWNED,
        FaultKind.SENT_FALSE,
        FaultKind.QUEUED,
        FaultKind.REPUTATION,
    }
)
_EVERYWHERE = {FaultKind.EXPIRED_TOKEN, FaultKind.SESSION_DOWN}


class Fault(BaseModel):
    """One misbehaviour, and the calls it hits.

    Attributes:
        kind: What goes wrong.
        service: Only this service; empty for all that know such a fault.
        on: Calls it hits; `expired_token` and `session_down` hit any call, the others sends, unless it is said.
        recipients: Only sends to these, in any spelling; empty for all.
        fraction: This part of the calls, evenly spread by count: 0.25 hits each fourth.
        after: The first so many calls go well.
        times: It hits at most so many calls.
        for_seconds: It ends by itself so long after it was asked for; 0 lasts.
        accepted: The message was accepted before the sender was told otherwise, or nothing.
        seconds: Latency; for `drop` and the like the time before it happens.
        max_seconds: The most latency; it then varies evenly from `seconds` to this.
        per_second: For `throttle`: calls up to this rate go well (a token bucket).
        burst: The bucket's size; 0 is one second's worth.
        status: HTTP status where a fault has a choice; 0 is the usual one.
        retry_after: Seconds in a `Retry-After` header, of a throttle or a proxy's page; None for no header.
        regain_minutes: Minutes in Graph's `X-Business-Use-Case-Usage`; 0 for no header.
        code: Graph's code for `error`.
        details: Its words, or a gateway's.
        how: A dropped connection is `reset` (RST), `closed` (FIN), or closed amid the answer (`partial`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    service: str = ""
    on: Literal["", "send", "upload", "check", "any"] = ""
    recipients: frozenset[str] = frozenset()
    fraction: float = Field(default=1.0, gt=0, le=1)
    after: int = Field(default=0, ge=0)
    times: int | None = Field(default=None, ge=1)
    for_seconds: float = Field(default=0.0, ge=0)
    accepted: bool = False
    seconds: float = Field(default=0.0, ge=0)
    max_seconds: float = Field(default=0.0, ge=0)
    per_second: float = Field(default=0.0, ge=0)
    burst: float = Field(default=0.0, ge=0)
    status: int = 0
    retry_after: int | None = None
    regain_minutes: int = 0
    code: int = 0
    details: str = ""
    how: Literal["reset", "closed", "partial"] = "reset"

    @model_validator(mode="before")
    @classmethod
    def _recipients_by_one_spelling(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("recipients"):
            return values | {"recipients": [recipient_key(str(each)) for each in values["recipients"]]}
        return values

    @field_validator("service")
    @classmethod
    def _is_simulated(cls, value: str) -> str:
        return find_simulated(value) if value else value

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.kind is FaultKind.ERROR and not (self.code or self.details):
            raise ValueError("an error fault needs Graph's code or a gateway's words")
        if self.max_seconds and self.max_seconds < self.seconds:
            raise ValueError("max_seconds is less than seconds")
        return self


class _Armed:
    """A fault with its counts."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.met = self.hit = 0
        self._ends = time.monotonic() + fault.for_seconds if fault.for_seconds else math.inf
        on = fault.on or ("any" if fault.kind in _EVERYWHERE else "send")
        self._actions = frozenset(Action) if on == "any" else frozenset({Action(on)})
        self._size = fault.burst or max(fault.per_second, 1.0)
        self._tokens, self._filled = self._size, time.monotonic()

    @property
    def over(self) -> bool:
        """Whether it has ended by itself."""
        return time.monotonic() > self._ends

    def strikes(self, service: str, action: Action, recipient: str, unknown: frozenset[FaultKind]) -> bool:
        fault = self.fault
        if self.over:
            return False
        if action not in self._actions or fault.service not in ("", service):
            return False
        if fault.kind in unknown:
            return False
        if fault.recipients and recipient not in fault.recipients:
            return False
        if fault.times is not None and self.hit >= fault.times:
            return False
        self.met += 1
        number = self.met - fault.after
        if number <= 0 or floor(number * fault.fraction) == floor((number - 1) * fault.fraction):
            return False
        if fault.kind is FaultKind.THROTTLE and fault.per_second and self._let_through():
            return False
        self.hit += 1
        return True

    def _let_through(self) -> bool:
        now = time.monotonic()
        self._tokens = min(self._size, self._tokens + (now - self._filled) * self.fault.per_second)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    @property
    def latency(self) -> float:
        fault = self.fault
        if not fault.max_seconds:
            return fault.seconds
        # The golden ratio's multiples spread evenly over the range, the same in every run.
        return fault.seconds + (fault.max_seconds - fault.seconds) * (self.hit * 0.6180339887498949 % 1.0)


class Faults:
    """The faults in force, in the order in which they were told."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._armed = [_Armed(fault) for fault in faults]

    def add(self, *faults: Fault) -> None:
        """Let these faults happen from now on, after the ones that are in force."""
        self._armed = [armed for armed in self._armed if not armed.over]
        self._armed.extend(map(_Armed, faults))

    def clear(self) -> None:
        """Behave."""
        self._armed.clear()

    def in_force(self, kind: FaultKind, service: str) -> bool:
        """Whether a fault of this kind may still hit this service."""
        return any(
            armed.fault.kind is kind
            and armed.fault.service in ("", service)
            and (armed.fault.times is None or armed.hit < armed.fault.times)
            for armed in self._armed
        )

    def strike(
        self, service: str, action: Action, recipient: str = "", *, unknown: frozenset[FaultKind] = frozenset()
    ) -> tuple[float, Fault | None]:
        """Count a call and say what hits it.

        Args:
            service: The service's name.
            action: What the call is for.
            recipient: To whom it sends.
            unknown: Faults that the service doesn't have.

        Returns:
            Seconds of latency, and the first other fault that hits; None where it goes well.
        """
        latency, struck = 0.0, None
        for armed in self._armed:
            if armed.fault.kind is FaultKind.LATENCY:
                if armed.strikes(service, action, recipient, unknown):
                    latency += armed.latency
            elif struck is None and armed.strikes(service, action, recipient, unknown):
                struck = armed.fault
        return latency, struck

    def report(self) -> list[dict[str, Any]]:
        """List the faults in force, each with the calls it met and hit."""
        return [
            armed.fault.model_dump(mode="json", exclude_defaults=True) | {"met": armed.met, "hit": armed.hit}
            for armed in self._armed
        ]
