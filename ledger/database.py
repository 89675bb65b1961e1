"""One ledger's database: whole transactions, and patience while it is away, full or locked."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import LedgerAwayError, LedgerError
from .address import Address
from .engines import engine_for
from .failures import FAILURES, cause, passes, without_frames
from .vault import Vault

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

logger = logging.getLogger(__name__)


class _TakenBackError(Exception):
    """Carries a rehearsal's result out of its transaction."""


class Database:
    """One ledger's database.

    Args:
        address: Where it is.
        patience_seconds: How long an operation tries again while the database is away, full or locked.

    Attributes:
        engine: What it is.
    """

    def __init__(self, address: Address, patience_seconds: float) -> None:
        self.address, self.patience_seconds = address, patience_seconds
        self.engine = engine_for(address)
        self._answered = False

    @property
    def vault(self) -> Vault:
        """What its columns are encrypted and hashed with."""
        return self.engine.vault

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that only reads, tried once."""
        return self.engine.reading()

    def writing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that is committed durably at its end, tried once."""
        return self.engine.writing()

    async def transact(self, doing: str, work: Work[T]) -> T:
        """Do something in one transaction, for as long as patience lasts.

        Args:
            doing: What, to fill "the ledger could not …".
            work: What to do with the connection; safe to repeat, as a commit's answer may be lost.

        Returns:
            What the work returns, once it is durable.

        Raises:
            LedgerAwayError: In one sentence, when patience ran out.
            LedgerError: Trying again can't help.
        """

        async def attempt() -> T:
            async with self.writing() as connection:
                return await work(connection)

        return await self.patiently(doing, attempt)

    async def rehearse(self, doing: str, work: Work[T]) -> T:
        """Do something in one transaction and take it back; what it would have given. Otherwise as `transact`."""

        async def undone(connection: AsyncConnection) -> None:
            raise _TakenBackError(await work(connection))

        try:
            await self.transact(doing, undone)
        except _TakenBackError as back:
            result: T = back.args[0]
            return result
        raise AssertionError("a rehearsal was carried out")

    async def read(self, doing: str, work: Work[T]) -> T:
        """Read something; as `transact`, without writing."""

        async def attempt() -> T:
            async with self.reading() as connection:
                return await work(connection)

        return await self.patiently(doing, attempt)

    @asynccontextmanager
    async def exclusive(self, key: str) -> AsyncIterator[None]:
        """Be the only one, of all processes with this ledger, that is within the block for this key.

        Args:
            key: What it is about, such as `upload:<digest>:<sender>`.

        Raises:
            LedgerError: The lock can't be asked for.
        """
        async with await self.patiently("take a lock", lambda: self.engine.lock(key)):
            yield

    async def patiently(
        self, doing: str, attempt: Callable[[], Awaitable[T]], *, patience_seconds: float | None = None
    ) -> T:
        """Do something again and again until the database has it, for as long as patience lasts.

        Args:
            doing: What, to fill "the ledger could not …".
            attempt: One whole transaction that is safe to repeat, as a commit's answer may be lost.
            patience_seconds: In place of the ledger's own.

        Returns:
            What the attempt returns.

        Raises:
            LedgerAwayError: In one sentence, when patience ran out.
            LedgerError: Trying again can't help.
        """
        patience = self.patience_seconds if patience_seconds is None else patience_seconds
        began, pause, told = time.monotonic(), 0.02, False
        while True:
            try:
                result = await attempt()
            except LedgerError:
                raise
            except FAILURES as failure:
                waited = time.monotonic() - began
                if not (may_pass := passes(failure, opening=not self._answered)) or waited + pause > patience:
                    after = f" within {patience:.0f} s" if passes(failure) and patience >= 1 else ""
                    raise (LedgerAwayError if may_pass else LedgerError)(
                        f"the ledger at {self.address.shown} could not {doing}{after}: {cause(failure)}"
                    ) from without_frames(failure)
                if not told and waited > 1:
                    logger.warning(
                        "The ledger can't %s now (%s); trying for up to %.0f s.", doing, cause(failure), patience
                    )
                    told = True
                await asyncio.sleep(pause * random.uniform(0.7, 1.0))  # noqa: S311 - no secret hangs on it
                pause = min(pause * 2, 1.0)
            else:
                self._answered = True
                return result

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.close()
