"""What a broadcast carries, as the steps see it: loaded once, brought to the service once, built into each request."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar, Protocol, Self

from ..ledger import LedgerStore
from ..models import Audio, Receipt, Recipient
from ..providers.dialect import Dialect
from ..providers.http_types import Exchange


class Build(Protocol):
    """Builds the exchange that sends this broadcast's message to one recipient."""

    def __call__(self, to: Recipient, *, callback: str) -> Exchange[Receipt]:
        """Build it; raises `UnsupportedError` where the service can't carry it to this recipient."""
        ...


def check_build(build: Build) -> None:
    """Build one message and send nothing: what the service can't carry at all is refused here, before the first send.

    Raises:
        UnsupportedError: The service can't carry it to anybody.
    """
    exchange = build(Recipient(to="+16505550100"), callback="")
    next(exchange)
    exchange.close()


class Content(ABC):
    """What is sent to everyone on the list.

    Attributes:
        kind: `audio` or `contacts`.
        digest: What the broadcast's name is bound to.
        source_digest: Of what it is made: the same for one audio file in every way of sending it. Empty where it is made of
            nothing else.
        label: How a person calls it: source and first characters of the digest.
        warnings: Sentences for the plan.
        uploads: Uploads made by this run.
        transcodes: Transcodes made by this run.
        audio: The audio, once it is loaded; None for contact cards.
        takes: Seconds that its sends take at the account's pace; None where nobody knows.
    """

    kind: ClassVar[str]
    digest: str = ""
    source_digest: str = ""
    label: str = ""
    warnings: tuple[str, ...] = ()
    uploads: int = 0
    transcodes: int = 0
    audio: Audio | None = None
    takes: float | None = None

    @abstractmethod
    async def load(self, store: LedgerStore, dialect: Dialect) -> None:
        """Fetch and inspect it, before anything is planned.

        Raises:
            InputError: It can't be sent.
        """

    def facts(self) -> list[tuple[str, str]]:
        """What the plan says of it."""
        return []

    @abstractmethod
    async def bring(self, store: LedgerStore) -> Build:
        """Bring it to the service, once for all recipients, and say how a message is built."""

    async def renew(self, store: LedgerStore) -> Build:
        """Bring it once more, because the service disowned what it had."""
        return await self.bring(store)


def reserving(dialect: Dialect) -> Callable[[], Exchange[str]] | None:
    """What asks this service for the id of a message to come; None where it doesn't let us choose."""
    return dialect.reserve_id if dialect.reserves_ids else None


class Message:
    """What a content has become at the service: it builds each request, and is brought once more where disowned.

    Args:
        build: How a request is built.
        kind: `audio` or `contacts`.
        again: Uploads the content once more; None where the service keeps no media that it could disown.
        reserve: Asks the service for the id of a message to come; None where it doesn't let us choose.

    Attributes:
        build: How a request is built now; another one after it was renewed.
        kind: As given.
        reserve: As given.
    """

    def __init__(
        self,
        build: Build,
        *,
        kind: str = "audio",
        again: Callable[[], Awaitable[Build]] | None = None,
        reserve: Callable[[], Exchange[str]] | None = None,
    ) -> None:
        self.build, self.kind, self.reserve, self._again = build, kind, reserve, again
        self._renewal: asyncio.Future[Build] | None = None

    @classmethod
    async def bring(cls, content: Content, store: LedgerStore, dialect: Dialect) -> Self:
        """Bring a content to the service, once for all recipients."""
        again = partial(content.renew, store) if dialect.carries_audio == "media id" else None
        return cls(
            await content.bring(store),
            kind=content.kind,
            again=again,
            reserve=reserving(dialect),
        )

    @property
    def renewable(self) -> bool:
        """Whether the service keeps the media under an id, which it may disown."""
        return self._again is not None

    async def renew(self, used: Build) -> None:
        """Upload once more, however many rows found the id disowned at the same time.

        Args:
            used: What the refused request was built with: nothing is done where another row has renewed it since.

        Raises:
            WhatsAppError: It can't be uploaded.
        """
        if used is not self.build or self._again is None:
            return
        if self._renewal is None:
            self._renewal = asyncio.ensure_future(self._again())
        renewal = self._renewal
        try:
            self.build = await asyncio.shield(renewal)
        finally:
            if self._renewal is renewal and renewal.done():
                self._renewal = None  # the service may disown the new id too, later in a long broadcast
