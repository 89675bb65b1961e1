"""Group commit: what waits together is made durable together.

Claims and settlements of concurrent sends gather while a commit is under way, and the next commit takes all of them: a
send costs its two updates and a part of two commits, not two commits. Each one is conditional on a token that is never
used twice, so that a commit whose answer was lost is repeated without harm.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from functools import partial

from ..models.errors import LedgerAwayError, LedgerError
from .database import Database
from .engines import Claim, Settlement

logger = logging.getLogger(__name__)

_GROUP_LIMIT = 1000
_BROKEN_PATIENCE_SECONDS = 5.0


@dataclass
class GroupWriter:
    """Gathers claims and settlements, and commits what waits in one transaction after the other.

    Args:
        database: The ledger's.
    """

    database: Database
    _waiting: list[tuple[Claim | Settlement, asyncio.Future[bool]]] = field(default_factory=list)
    _flushing: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)
    _submitted: int = 0
    _done: int = 0
    _task: asyncio.Task[None] | None = None
    _broken: bool = False

    def __post_init__(self) -> None:
        self._commits = self.database.engine.commits()

    def submit(self, entry: Claim | Settlement) -> asyncio.Future[bool]:
        """Hand in a claim or a settlement.

        Returns:
            A future: True once it is durable, False where its row was no longer to be had by that token or lease; a
            LedgerError where the ledger could not be written. What is handed in is carried out in this order, also where
            nobody waits for it any more.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        self._submitted += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._commit_all(), name="ledger group commit")
        return future

    async def flush(self) -> None:
        """Wait until all that was handed in before is durable or has failed."""
        if self._done < self._submitted:
            reached = asyncio.get_running_loop().create_future()
            self._flushing.append((self._submitted, reached))
            await reached

    async def close(self) -> None:
        """Commit what waits, then give up the connection."""
        await self.flush()
        await self._commits.close()

    async def _commit_all(self) -> None:
        await asyncio.sleep(0)  # whoever became ready in the same turn of the loop joins this group
        while self._waiting:
            group, self._waiting = self._waiting[:_GROUP_LIMIT], self._waiting[_GROUP_LIMIT:]
            entries = [entry for entry, _ in group]
            try:
                matched = await self.database.patiently(
                    "record sends",
                    partial(self._commits.commit, entries),
                    # Once it failed for good, what still comes in must not wait as long again.
                    patience_seconds=min(_BROKEN_PATIENCE_SECONDS, self.database.patience_seconds)
                    if self._broken
                    else None,
                )
            except Exception as failure:  # whatever it was: each who waits is told, and none waits for ever
                self._broken = True
                group, self._waiting = group + self._waiting, []
                if not isinstance(failure, LedgerError):
                    logger.exception("The ledger's writer failed.")
                kind = LedgerAwayError if isinstance(failure, LedgerAwayError) else LedgerError
                for _, future in group:
                    if not future.done():
                        future.set_exception(kind(str(failure) or type(failure).__name__))
                        future.exception()  # who waited may have been cancelled
            else:
                self._broken = False
                for entry, future in group:
                    if not future.done():
                        future.set_result(entry.token in matched)
            self._done += len(group)
            for reached in [entry for entry in self._flushing if entry[0] <= self._done]:
                self._flushing.remove(reached)
                if not reached[1].done():
                    reached[1].set_result(None)
