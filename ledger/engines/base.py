"""What the ledger asks of a database, beyond the SQL that both understand."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ..address import Address
from ..vault import Vault
from .commits import Commits


class Engine(ABC):
    """One kind of database, at one address.

    Args:
        address: Where it is.

    Attributes:
        on_one_machine: Whether no other machine sees it.
        pool: Its connections.
        vault: What its columns are encrypted and hashed with.
    """

    on_one_machine: ClassVar[bool]
    pool: AsyncEngine

    def __init__(self, address: Address) -> None:
        self.address, self.vault = address, Vault()

    @abstractmethod
    async def prepare(self) -> None:
        """Have something to connect to, and find out how; called before anything else, and again if it fails."""

    @abstractmethod
    async def before_migration(self) -> None:
        """What a new ledger needs outside any transaction."""

    @abstractmethod
    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that only reads."""

    @abstractmethod
    def writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that is committed durably at its end."""

    @abstractmethod
    def migrating(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that may take as long as it needs."""

    @abstractmethod
    def insert(self, table: sa.Table) -> Any:
        """`INSERT` in this database's own form, which knows `ON CONFLICT`."""

    @abstractmethod
    async def queue_recipients(
        self, connection: AsyncConnection, broadcast: int, cells: Sequence[tuple[str | int, ...]]
    ) -> int:
        """Insert recipients in their order, those that are there already left out.

        Args:
            connection: Of `writing`.
            broadcast: Its number.
            cells: For each its columns, see `PLANNED`.

        Returns:
            How many were new.
        """

    @abstractmethod
    async def lock_sender(self, connection: AsyncConnection, sender: str) -> None:
        """Let no other heartbeat of this sender in before the transaction ends."""

    @abstractmethod
    async def lock(self, key: str) -> AsyncExitStack:
        """Wait until this is the only process with the lock of that key; leaving the stack gives it back.

        The lock dies with its holder.
        """

    @abstractmethod
    def commits(self) -> Commits:
        """How groups of claims and settlements are committed, on a connection of their own."""

    async def close(self) -> None:
        """Close every connection."""
        await self.pool.dispose()


# The columns of a row that is planned, beside its broadcast.
PLANNED = ("recipient", "account_key", "name", "reply_to", "line")
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 0.25
