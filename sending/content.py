"""What a broadcast carries, as the steps see it: loaded once, brought to the service once, built into each request."""

from abc import ABC, abstractmethod
from typing import ClassVar

from ..ledger import LedgerStore
from ..models import Audio
from ..providers.dialect import Dialect
from .delivery import Build


class Content(ABC):
    """What is sent to everyone on the list.

    Attributes:
        kind: `audio` or `contacts`.
        digest: What the broadcast's name is bound to.
        label: How a person calls it: source and first characters of the digest.
        warnings: Sentences for the plan.
        uploads: Uploads made by this run.
        transcodes: Transcodes made by this run.
        audio: The audio, once it is loaded; None for contact cards.
    """

    kind: ClassVar[str]
    digest: str = ""
    label: str = ""
    warnings: tuple[str, ...] = ()
    uploads: int = 0
    transcodes: int = 0
    audio: Audio | None = None

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
