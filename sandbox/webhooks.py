"""Posts the services' webhooks to a receiver on this machine, as each signs and repeats them, and misbehaves as told."""

import asyncio
import heapq
import random
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ..models.hosts import is_loopback
from ..providers.registry import find_provider, providers
from .faults import find_simulated, recipient_key
from .people import LidForm, other_form
from .phones import Phones, Update, Writing
from .settings import SandboxSettings
from .truth import Message

_AT_ONCE = 16
_KEPT = 200_000
_ORDER = ("accepted", "sent", "failed", "delivered", "read", "played")
_POST_SECONDS = 30.0
_LONGEST_WAIT = 3_600.0


class Webhook(BaseModel):
    """Where a service's webhooks go, and how they misbehave.

    Attributes:
        service: Whose.
        url: The receiver's address, on this machine; Wawp's and Chat-API's end with their secret where nothing is signed.
        at_most: Updates in a body, at most. WAHA and Wawp always post one; Meta up to 1,000.
        collect_seconds: For how long updates are collected for one body.
        early: This part of the messages: what can be told at once is posted, and answered, before the send is answered.
        twice: This part of the updates comes twice, the second time up to half a second later.
        shuffle_seconds: Each update is held for up to so long, so that they come in any order.
        late: This part of the updates comes `late_seconds` late, or when the sandbox is asked to flush.
        late_seconds: A day.
        lost: This part never comes.
        lids: Whether WAHA and Wawp name people by their `@lid`: `beside` the number, or `alone`.
        other_forms: Whether Brazilian and Argentinian numbers come in their other form.
        retries: How often a body is posted again that was not taken; None as the service does. WAHA: 15 times, each
            2 s later; Meta: for days, ever later.
        retry_seconds: Before the first repetition; None as the service does.
        seed: Of what is drawn by lot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: str
    url: str
    at_most: int = Field(default=1, ge=1, le=1000)
    collect_seconds: float = Field(default=0.0, ge=0)
    early: float = Field(default=0.0, ge=0, le=1)
    twice: float = Field(default=0.0, ge=0, le=1)
    shuffle_seconds: float = Field(default=0.0, ge=0)
    late: float = Field(default=0.0, ge=0, le=1)
    late_seconds: float = Field(default=86_400.0, ge=0)
    lost: float = Field(default=0.0, ge=0, le=1)
    lids: LidForm = "never"
    other_forms: bool = False
    retries: int | None = Field(default=None, ge=0)
    retry_seconds: float | None = Field(default=None, gt=0)
    seed: int = 0

    @field_validator("service")
    @classmethod
    def _is_simulated(cls, value: str) -> str:
        writer_of(find_simulated(value))
        return value

    @field_validator("url")
    @classmethod
    def _on_this_machine(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not is_loopback(parts.hostname or ""):
            raise ValueError("webhooks go to an http address on this machine only, such as http://127.0.0.1:8088/…")
        return url


class Writer(ABC):
    """Writes one service's webhooks.

    Args:
        settings: The accounts and their secrets.
        other_forms: Whether Brazilian and Argentinian numbers are named in their other form.
        lids: Whether people are named by their `@lid`: with the phone number beside it, or alone.

    Attributes:
        at_most: Updates in a body.
        signs: Whether the service signs; else the last part of the target's address is its secret.
        retries: How often it posts again what was not taken.
        retry_seconds: After how long first.
        waits_longer: Whether it waits longer each time.
    """

    at_most: ClassVar[int] = 1
    signs: ClassVar[bool] = True
    retries: ClassVar[int]
    retry_seconds: ClassVar[float] = 1.0
    waits_longer: ClassVar[bool] = True

    def __init__(self, settings: SandboxSettings, *, other_forms: bool = False, lids: LidForm = "never") -> None:
        self.settings, self.other_forms, self.lids = settings, other_forms, lids

    @abstractmethod
    def tells(self, update: Update) -> bool:
        """Whether the service tells such an update at all."""

    @abstractmethod
    def bodies(self, updates: Sequence[Update]) -> list[bytes]:
        """The bodies that tell these updates."""

    @abstractmethod
    def headers(self, body: bytes) -> dict[str, str]:
        """What goes with a body: its signature."""


def writer_of(service: str) -> type[Writer]:
    """Give what writes a service's webhooks.

    Raises:
        ValueError: Its simulator posts none.
    """
    found: type[Writer] | None = find_provider(service).load_simulator().webhooks_by
    if found is None:
        raise ValueError(f"the simulator of {service} posts no webhooks")
    return found


def services_that_post() -> list[str]:
    """The services whose simulators post webhooks."""
    return [
        name
        for name, provider in providers().items()
        if provider.simulator and provider.load_simulator().webhooks_by is not None
    ]


@dataclass(frozen=True, slots=True)
class Taken:
    """An update that the receiver has taken.

    Attributes:
        service: Whose.
        recipient: The person, as in the truth.
        message_id: The message it concerns.
        step: What happened.
        at: When, in seconds since the epoch.
        taken_at: When the receiver answered 2xx.
    """

    service: str
    recipient: str
    message_id: str
    step: str
    at: float
    taken_at: float


class Webhooks:
    """All targets and phones; what the services hand their accepted messages to.

    Args:
        settings: The accounts and their secrets.

    Attributes:
        phones: What the phones do.
    """

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self.phones = Phones()
        self._posters: list[_Poster] = []
        self._taken = _Book()

    async def add(self, *webhooks: Webhook) -> None:
        """Post to these from now on.

        Raises:
            ValueError: A receiver of Graph's does not answer Meta's handshake.
        """
        for webhook in webhooks:
            poster = _Poster(webhook, self._settings, self._taken)
            if webhook.service == "graph":
                await self._handshake(webhook, poster)
            self._posters.append(poster)

    async def _handshake(self, webhook: Webhook, poster: "_Poster") -> None:
        query = {
            "hub.mode": "subscribe",
            "hub.verify_token": self._settings.verify_token,
            "hub.challenge": "1158201444",
        }
        try:
            answer = await poster.client.get(webhook.url, params=query)
        except httpx.HTTPError as failure:
            await poster.close()
            raise ValueError(f"the receiver could not be reached: {type(failure).__name__}") from None
        if answer.status_code != 200 or answer.text != "1158201444":
            await poster.close()
            raise ValueError(f"the receiver did not repeat the challenge: HTTP {answer.status_code}")

    async def clear(self) -> None:
        """Post nothing more, also of what waits."""
        posters, self._posters = self._posters, []
        for poster in posters:
            await poster.close()

    def addresses(self, service: str) -> list[str]:
        """Where a service's webhooks go."""
        return [poster.webhook.url for poster in self._posters if poster.webhook.service == service]

    async def accepted(self, message: Message) -> None:
        """Let the phones have an accepted message; what is to be told before the answer is, when this returns."""
        if not self._posters or not message.message_id:
            return
        updates = [*self.phones.updates(message)]
        for poster in self._posters:
            if poster.webhook.service == message.service:
                await poster.tell(updates)

    def wa_id(self, digits: str) -> str:
        """The number as Graph's answers name it, the same as in its webhooks."""
        changed = any(p.webhook.service == "graph" and p.webhook.other_forms for p in self._posters)
        return other_form(digits) if changed else digits

    async def write(self, *writings: Writing) -> None:
        """Let people write, unasked."""
        for writing in writings:
            who = Message(service=writing.service, recipient=recipient_key(writing.sender), kind="text", at=time.time())
            update = Update("reply", who, who.at, self.phones.next_number(), reply=writing.reply, text=writing.text)
            for poster in self._posters:
                if poster.webhook.service == writing.service:
                    await poster.tell([update])

    def flush(self) -> None:
        """Post at once whatever waits."""
        for poster in self._posters:
            poster.flush()

    def taken(self, *, since: float = 0.0) -> list[dict[str, Any]]:
        """List what receivers have taken, in that order; from a moment on, in seconds since the epoch."""
        return [asdict(each) for each in self._taken.entries if each.taken_at >= since]

    def reached(self) -> dict[str, int]:
        """How many messages got at least so far, by what receivers have taken; `failed` are those that got no further."""
        return self._taken.reached()

    def forget(self) -> None:
        """Forget what was taken."""
        self._taken = _Book()
        for poster in self._posters:
            poster.book = self._taken

    def report(self) -> list[dict[str, Any]]:
        """List the targets, each with its counts."""
        return [poster.report() for poster in self._posters]


class _Book:
    """What receivers have taken."""

    def __init__(self) -> None:
        self.entries: deque[Taken] = deque(maxlen=_KEPT)
        self._furthest: dict[tuple[str, str], int] = {}

    def note(self, service: str, updates: Sequence[Update]) -> None:
        at = time.time()
        for update in updates:
            message = update.message
            self.entries.append(Taken(service, message.recipient, message.message_id, update.step, update.at, at))
            if update.step != "reply":
                key, rank = (service, message.message_id), _ORDER.index(update.step)
                self._furthest[key] = max(rank, self._furthest.get(key, 0))

    def reached(self) -> dict[str, int]:
        counts = Counter(self._furthest.values())
        by_phone = ("delivered", "read", "played")
        reached = {step: sum(n for rank, n in counts.items() if rank >= _ORDER.index(step)) for step in by_phone}
        return {**reached, "failed": counts[_ORDER.index("failed")]}


class _Poster:
    """Posts to one target.

    `told`, `lost`, `posted`, `taken` and `refused` count updates told by the phones, updates lost, bodies posted, bodies
    taken and answers other than 2xx; `waiting` is what is yet to come.
    """

    def __init__(self, webhook: Webhook, settings: SandboxSettings, book: _Book) -> None:
        self.webhook, self.book = webhook, book
        made = writer_of(webhook.service)
        self._writer = made(settings, other_forms=webhook.other_forms, lids=webhook.lids)
        self._at_most = min(webhook.at_most, self._writer.at_most)
        self._lot = random.Random(webhook.seed)  # noqa: S311 - by which the same seed loses the same updates
        self._waiting: list[tuple[float, float, Update]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._deliveries = 0
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._woken = asyncio.Event()
        self._counts: Counter[str] = Counter()
        self.client = httpx.AsyncClient(timeout=_POST_SECONDS, trust_env=False)
        self._loop_task = asyncio.get_running_loop().create_task(self._post_when_due())

    def report(self) -> dict[str, Any]:
        counts = {name: self._counts[name] for name in ("told", "lost", "posted", "taken", "refused")}
        return self.webhook.model_dump(mode="json") | counts | {"waiting": len(self._waiting) + self._deliveries}

    async def tell(self, updates: Sequence[Update]) -> None:
        webhook, lot = self.webhook, self._lot
        now, clock = time.time(), time.monotonic()
        early = bool(webhook.early) and lot.random() < webhook.early
        at_once: list[Update] = []
        for update in filter(self._writer.tells, updates):
            self._counts["told"] += 1
            if webhook.lost and lot.random() < webhook.lost:
                self._counts["lost"] += 1
                continue
            if early and update.step in ("accepted", "sent"):
                at_once.append(update)
                continue
            due = clock + max(0.0, update.at - now) + lot.uniform(0, webhook.shuffle_seconds)
            if webhook.late and lot.random() < webhook.late:
                due += webhook.late_seconds
            self._wait_for(due, update)
            if webhook.twice and lot.random() < webhook.twice:
                self._wait_for(due + lot.uniform(0, 0.5), update)
        self._woken.set()
        if at_once:
            await self._deliver(at_once, retries=0)

    def _wait_for(self, due: float, update: Update) -> None:
        heapq.heappush(self._waiting, (due, self._lot.random(), update))

    def flush(self) -> None:
        self._waiting = [(0.0, by, update) for _, by, update in self._waiting]
        heapq.heapify(self._waiting)
        self._woken.set()

    async def close(self) -> None:
        self._waiting.clear()
        tasks = [self._loop_task, *self._under_way]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.client.aclose()

    async def _post_when_due(self) -> None:
        while True:
            self._woken.clear()
            seconds = self._waiting[0][0] + self._collecting - time.monotonic() if self._waiting else None
            if seconds is None or seconds > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), seconds)
                continue
            due: list[Update] = []
            until = time.monotonic()
            while self._waiting and self._waiting[0][0] <= until and len(due) < self._at_most:
                due.append(heapq.heappop(self._waiting)[2])
            self._deliveries += len(due)
            await self._room.acquire()  # who posts in order of time must not run ahead of the receiver without bound
            task = asyncio.get_running_loop().create_task(self._deliver_one(due))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    @property
    def _collecting(self) -> float:
        return 0.0 if len(self._waiting) >= self._at_most else self.webhook.collect_seconds

    async def _deliver_one(self, updates: Sequence[Update]) -> None:
        released = False

        def release() -> None:
            nonlocal released
            if not released:
                released = True
                self._room.release()

        try:
            await self._deliver(updates, retries=self._retries, release=release)
        finally:
            release()
            self._deliveries -= len(updates)

    @property
    def _retries(self) -> int:
        return self._writer.retries if self.webhook.retries is None else self.webhook.retries

    async def _deliver(self, updates: Sequence[Update], *, retries: int, release: Any = lambda: None) -> None:
        taken = True
        for body in self._writer.bodies(updates):
            taken = await self._post(body, self._writer.headers(body), retries, release) and taken
        if taken:
            self.book.note(self.webhook.service, updates)

    async def _post(self, body: bytes, headers: dict[str, str], retries: int, release: Any) -> bool:
        headers = {"Content-Type": "application/json", **headers}
        wait = self.webhook.retry_seconds or self._writer.retry_seconds
        for tried in range(retries + 1):
            self._counts["posted"] += 1
            with suppress(httpx.HTTPError):
                answer = await self.client.post(self.webhook.url, content=body, headers=headers)
                if answer.is_success:
                    self._counts["taken"] += 1
                    return True
            self._counts["refused"] += 1
            if tried < retries:
                release()  # others go on meanwhile
                await asyncio.sleep(wait)
                if self._writer.waits_longer:
                    wait = min(wait * 2, _LONGEST_WAIT)
        return False
