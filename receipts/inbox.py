"""Group commit of webhooks: what comes in while a commit is under way goes into the next one together."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from ..ledger.failures import passes
from ..ledger.matching import Recorded
from ..ledger.receipts import ReceiptBook
from ..models.errors import LedgerError
from ..models.updates import Item

logger = logging.getLogger(__name__)

_ITEMS_AT_MOST = 2_000
_NOT_STORED = "the ledger could not store it"
_Waiting = tuple[str, Sequence[Item], "asyncio.Future[None]"]


def is_away(failure: BaseException) -> bool:
    """Whether nothing at all can be stored now, rather than this one thing."""
    return isinstance(failure, LedgerError) and (failure.__cause__ is None or passes(failure.__cause__, opening=True))


class Inbox:
    """Makes webhooks durable, several in one transaction.

    Args:
        book: The ledger's side.
        told: Called with what each transaction changed, after its commit.
    """

    def __init__(self, book: ReceiptBook, told: Callable[[Recorded], None]) -> None:
        self._book, self._told = book, told
        self._waiting: list[_Waiting] = []
        self._task: asyncio.Task[None] | None = None

    async def take(self, provider: str, items: Sequence[Item]) -> None:
        """Return when these items are durable.

        Raises:
            LedgerError: They are not; the service is to post them again.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((provider, items, done))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain(), name="webhook group commit")
        await done

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _drain(self) -> None:
        await asyncio.sleep(0)  # whoever became ready in the same turn of the loop joins this group
        while self._waiting:
            group: list[_Waiting] = []
            count = 0
            provider = self._waiting[0][0]
            while self._waiting and self._waiting[0][0] == provider and (not group or count < _ITEMS_AT_MOST):
                group.append(self._waiting.pop(0))
                count += len(group[-1][1])
            await self._commit(provider, group)

    async def _commit(self, provider: str, group: list[_Waiting]) -> None:
        try:
            recorded = await self._book.record(provider, [item for _, items, _ in group for item in items])
        except Exception as failure:  # whatever it was: whoever waits hears of it
            if is_away(failure):  # what still waits must not wait as long again
                group, self._waiting = [*group, *self._waiting], []
            elif len(group) > 1:
                for each in group:  # one that can't be stored must not take the others with it
                    await self._commit(provider, [each])
                return
            else:
                logger.error("A webhook of %s could not be stored: %s.", provider, type(failure).__name__)
            for _, _, done in group:
                if not done.done():
                    done.set_exception(LedgerError(str(failure) if is_away(failure) else _NOT_STORED))
                    done.exception()  # who waited may have been cancelled
            return
        for _, _, done in group:
            if not done.done():
                done.set_result(None)
        self._told(recorded)
