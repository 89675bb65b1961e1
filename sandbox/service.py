"""What the simulated services have in common: a call comes in, faults strike, the truth is kept, it is answered."""

import asyncio
import json
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from .faults import SPECIAL, Fault, FaultKind, Faults
from .links import Links
from .settings import SandboxSettings
from .truth import Action, Message, Truth
from .webhooks import Webhooks, Writer

HTML_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


@dataclass(slots=True)
class Call:
    """One request, as it came in.

    Attributes:
        method: HTTP method.
        path: Path within the service.
        query_string: As sent.
        headers: Names in lower case.
        body: The whole body.
        base: Where the service was reached, such as `http://127.0.0.1:8600/graph`.
    """

    method: str
    path: str
    query_string: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    base: str = ""

    @property
    def query(self) -> dict[str, str]:
        """Query parameters; the last of a name counts."""
        return dict(parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True)) if self.query_string else {}

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(slots=True)
class Answer:
    """One answer.

    Attributes:
        body: A JSON value, or bytes that go as they are.
        status: HTTP status.
        headers: More headers.
        content_type: Of bytes.
        reason: Why it is a refusal: the service's code or the fault's name; empty where it is none.
        throttled: Whether it is a refusal for speed.
        drop: How the connection is dropped instead of an answer; empty for an answer.
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    reason: str = ""
    throttled: bool = False
    drop: str = ""

    def content(self) -> bytes:
        """The body's bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(slots=True)
class Room:
    """What the services share."""

    settings: SandboxSettings
    truth: Truth
    faults: Faults
    links: Links
    webhooks: Webhooks


class Service(ABC):
    """One service: reads its own calls, speaks its own words.

    Attributes:
        name: The provider's.
        special_faults: Faults that not every service has and this one knows.
        webhooks_by: Writes its webhooks; None where it posts none.
    """

    name: ClassVar[str]
    special_faults: ClassVar[frozenset[FaultKind]] = frozenset()
    webhooks_by: ClassVar[type[Writer] | None] = None

    def __init__(self, room: Room) -> None:
        self.settings, self.truth, self.faults, self.links = room.settings, room.truth, room.faults, room.links
        self.webhooks = room.webhooks
        self._number = 0
        self._since = time.time_ns() // 1000

    @classmethod
    @abstractmethod
    def account(cls, settings: SandboxSettings) -> dict[str, Any]:
        """Give the fields of the provider's block that reach the account here, without the address."""

    @abstractmethod
    async def answer(self, call: Call) -> Answer:
        """Answer one call."""

    @abstractmethod
    def refusal(self, fault: Fault) -> Answer:
        """Say a fault in the service's words."""

    @abstractmethod
    def acceptance(self, message: Message, fault: Fault | None) -> Answer:
        """Say that a message was accepted; `fault` is one that lets it through, such as `queued`."""

    def holds(self, fault: Fault, message: Message) -> bool:
        """Whether the service accepts the message under this fault, if in other words."""
        return fault.kind is FaultKind.QUEUED

    def hesitates(self, fault: Fault) -> float:
        """Seconds that the service takes by itself before it refuses."""
        return 0.0

    def refused(self, fault: Fault, message: Message) -> Answer:
        """Refuse this message for a fault."""
        return self.refusal(fault)

    def next_number(self) -> int:
        """Count up, for ids."""
        self._number += 1
        return self._number

    def mark(self, number: int) -> int:
        """A number for ids, that no other service's message has, and none of an earlier process on the same ledger."""
        return (self._since + number) << 8 | zlib.crc32(self.name.encode()) & 0xFF

    async def send(self, message: Message) -> Answer:
        """Take a message whose request is in order: let faults strike, accept it, answer."""
        latency, fault = self._strike(Action.SEND, message.recipient)
        unreadable = fault is not None and fault.kind in _UNREADABLE
        if fault is None or not (unreadable or not self.holds(fault, message)):
            self.truth.accept(message)
            answer = self.acceptance(message, fault)
            await self.goes_out(message)
            await _pass(latency)
            return answer
        accepted = b""
        if fault.accepted:  # and the sender is told otherwise, or nothing
            self.truth.accept(message)
            accepted = self.acceptance(message, None).content()
            await self.goes_out(message)
            await _pass(latency)
            self.truth.unanswered(message.recipient)
            await _pass(fault.seconds)
        else:
            await _pass(latency + fault.seconds + self.hesitates(fault))
        if unreadable:
            return self._unreadable(fault, accepted)
        answer = self.refused(fault, message)
        if fault.accepted:
            answer.reason, answer.throttled = "", False
        return answer

    async def goes_out(self, message: Message) -> None:
        """Hand an accepted message on to the phones."""
        await self.webhooks.accepted(message)

    async def struck(self, action: Action) -> Answer | None:
        """Let faults strike a call that isn't a send; None where it goes well."""
        latency, fault = self._strike(action)
        await _pass(latency)
        if fault is None:
            return None
        await _pass(fault.seconds)
        return self._unreadable(fault) if fault.kind in _UNREADABLE else self.refusal(fault)

    def _strike(self, action: Action, recipient: str = "") -> tuple[float, Fault | None]:
        return self.faults.strike(self.name, action, recipient, unknown=SPECIAL - self.special_faults)

    def _unreadable(self, fault: Fault, answer: bytes = b"") -> Answer:
        reason = "" if answer else fault.kind
        if fault.kind is FaultKind.HTML:
            headers = throttle_headers(fault)
            return Answer(HTML_PAGE, fault.status or 500, headers, content_type="text/html", reason=reason)
        if fault.kind is FaultKind.EMPTY:
            return Answer(b"", fault.status or 200, reason=reason)
        if fault.kind is FaultKind.MALFORMED:
            return Answer((answer or b'{"messages": [{"id": "')[:21], fault.status or 200, reason=reason)
        return Answer(answer or b" " * 64, reason=reason, drop=fault.how)


_UNREADABLE = {FaultKind.DROP, FaultKind.HTML, FaultKind.EMPTY, FaultKind.MALFORMED}


async def _pass(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)


def throttle_headers(fault: Fault) -> dict[str, str]:
    """`Retry-After`, where the fault has one."""
    return {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
