"""Ground truth: what the services were asked, and what they accepted; constant work for each call."""

import time
from collections import Counter, defaultdict, deque
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """What a call is for."""

    SEND = "send"
    UPLOAD = "upload"
    CHECK = "check"
    OTHER = "other"


@dataclass(slots=True)
class Message:
    """One message that a service accepted.

    Attributes:
        service: The service's name, such as `graph`.
        recipient: E.164 digits of a person, or the group's, newsletter's or user's id.
        kind: `audio`, `contacts` or `text`.
        message_id: The id that was given.
        voice: Whether it was to be a voice note.
        media: Media id, link, or `sha256:` of inline bytes.
        cards: How many contact cards.
        callback: `biz_opaque_callback_data`.
        reply_to: The quoted message's id.
        at: Seconds since the epoch at acceptance.
        seconds: Seconds on the sandbox's monotonic clock since its start or reset.
        body: The parsed request, without inline bytes.
    """

    service: str
    recipient: str
    kind: str
    message_id: str = ""
    voice: bool = False
    media: str = ""
    cards: int = 0
    callback: str = ""
    reply_to: str = ""
    at: float = 0.0
    seconds: float = 0.0
    body: Any = None


@dataclass(slots=True)
class _Second:
    sends: int = 0
    accepted: int = 0
    throttled: int = 0


@dataclass(slots=True)
class _Service:
    calls: int = 0
    sends: int = 0
    uploads: int = 0
    checks: int = 0
    accepted: int = 0
    refused: int = 0


@dataclass(slots=True)
class _Peak:
    """The most events in any sliding second."""

    times: deque[float] = field(default_factory=deque)
    most: int = 0

    def note(self, now: float) -> None:
        times = self.times
        times.append(now)
        while times[0] <= now - 1.0:
            times.popleft()
        self.most = max(self.most, len(times))


class Truth:
    """What happened, by the sandbox's clock.

    Args:
        keep_messages: How many accepted messages are kept whole.
    """

    def __init__(self, keep_messages: int = 200_000) -> None:
        self._keep = keep_messages
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._zero = time.monotonic()
        self._services: defaultdict[str, _Service] = defaultdict(_Service)
        self._accepted: Counter[str] = Counter()
        self._accepted_of: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._callbacks: Counter[str] = Counter()
        self._unanswered: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._messages: deque[Message] = deque(maxlen=self._keep)
        self._seconds: defaultdict[int, _Second] = defaultdict(_Second)
        self._peak_sends, self._peak_accepted = _Peak(), _Peak()
        self._first_send: float | None = None
        self._last_send = 0.0

    def called(self, service: str, action: Action) -> None:
        """Note a call as it arrives."""
        book = self._services[service]
        book.calls += 1
        if action is Action.SEND:
            now = self.now()
            book.sends += 1
            if self._first_send is None:
                self._first_send = now
            self._last_send = now
            self._peak_sends.note(now)
            self._second(now).sends += 1
        elif action is Action.CHECK:
            book.checks += 1

    def accept(self, message: Message) -> None:
        """Note a message as accepted."""
        now = self.now()
        message.at, message.seconds = time.time(), now
        self._services[message.service].accepted += 1
        self._accepted[message.recipient] += 1
        self._accepted_of[message.service][message.recipient] += 1
        if message.callback:
            self._callbacks[message.callback] += 1
        self._messages.append(message)
        self._peak_accepted.note(now)
        self._second(now).accepted += 1

    def uploaded(self, service: str) -> None:
        """Note that media was stored."""
        self._services[service].uploads += 1

    def unanswered(self, recipient: str) -> None:
        """Note that the sender of an accepted message gets no readable answer."""
        self._unanswered[recipient] += 1

    def refused(self, service: str, reason: str, *, throttled: bool = False) -> None:
        """Note a refusal by the service's code or the fault's name."""
        self._services[service].refused += 1
        self._refused[f"{service}:{reason}"] += 1
        if throttled:
            self._second(self.now()).throttled += 1

    def _second(self, now: float) -> _Second:
        return self._seconds[int(now - (now if self._first_send is None else self._first_send))]

    def now(self) -> float:
        """Seconds since start or reset on the monotonic clock."""
        return time.monotonic() - self._zero

    def sent(self, service: str, recipient: str) -> list[Message]:
        """Give what a service sent to one recipient, or to all where none is named, in that order."""
        return [m for m in self._messages if m.service == service and recipient in ("", m.recipient)]

    def messages(self, *, recipient: str = "", since: float = 0.0) -> list[dict[str, Any]]:
        """List accepted messages in order, for one recipient or from a second on."""
        return [asdict(m) for m in self._messages if m.seconds >= since and (not recipient or m.recipient == recipient)]

    def report(self, *, since: float = 0.0, brief: bool = False) -> dict[str, Any]:
        """Everything as one JSON object.

        Args:
            since: Only what was accepted from this second (of `now`) on; the counts of calls stay whole.
            brief: Leave out the maps that grow with the list of recipients.
        """
        accepted = self._accepted
        if since > 0:
            accepted = Counter(m.recipient for m in self._messages if m.seconds >= since)
        total, books = sum(accepted.values()), self._services.values()
        report: dict[str, Any] = {
            "now": self.now(),
            "calls": sum(book.calls for book in books),
            "sends": sum(book.sends for book in books),
            "uploads": sum(book.uploads for book in books),
            "checks": sum(book.checks for book in books),
            "accepted_total": total,
            "recipients": len(accepted),
            "duplicates": {who: count for who, count in accepted.items() if count > 1},
            "duplicates_total": total - len(accepted),
            "unanswered_total": sum(self._unanswered.values()),
            "refused": dict(self._refused),
            "refused_total": sum(self._refused.values()),
            "services": {name: asdict(book) for name, book in self._services.items()},
            "peak_per_second": self._peak_sends.most,
            "peak_accepted_per_second": self._peak_accepted.most,
            "seconds": self._last_send - self._first_send if self._first_send is not None else 0.0,
            "first_send": self._first_send,
            "by_second": [{"second": s} | asdict(counts) for s, counts in sorted(self._seconds.items())],
        }
        if not brief:
            report["accepted"] = dict(accepted)
            report["unanswered"] = dict(self._unanswered)
            report["callbacks"] = dict(self._callbacks)
            for name, counts in self._accepted_of.items():
                report["services"][name]["recipients"] = dict(counts)
        return report
