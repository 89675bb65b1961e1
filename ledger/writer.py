"""Group commit: what waits together is made durable together.

Claims and settlements of concurrent sends gather while a commit is under way, and the next commit takes all of them: a
send costs its two updates and a part of two commits, not two commits. Each one is conditional on a token that is never
used twice, so that a commit whose answer was lost is repeated without harm.
"""

import asyncio
import datetime
import logging
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import LedgerError
from .database import BUSY_SECONDS, SQLITE_SETTINGS, Database
from .records import Outcome

logger = logging.getLogger(__name__)

_GROUP_LIMIT = 1000
_BROKEN_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Claim:
    """Row `row_id`, reserved by `owner`, becomes `sending` under `token`."""

    row_id: int
    owner: int
    token: str
    task_run_id: str
    at: datetime.datetime


@dataclass(frozen=True, slots=True)
class Settlement:
    """Row `row_id` gets its outcome, where `token` is still the token of its last claim."""

    row_id: int
    token: str
    outcome: Outcome
    at: datetime.datetime


# A claim that is repeated finds its own token. A state that came by a delivery status is never taken back, and a
# row that was held as unknown, or queued again, is corrected while nobody else has claimed it. The coalesce keeps
# PostgreSQL from going by the index of owners, where all rows in hand are.
_CLAIM = """UPDATE whatsapp_sends AS s SET state = 'sending', owner = {owner}, claim = {token},
    attempts = s.attempts + CASE WHEN s.claim = {token} THEN 0 ELSE 1 END,
    task_run_id = {task_run_id}, claimed_at = {at}, settled_at = NULL
{source} WHERE s.id = {id} AND coalesce(s.owner, 0) = {owner}
    AND (s.state = 'queued' OR (s.state = 'sending' AND s.claim = {token}))"""
_OPEN = "s.state IN ('sending', 'unknown', 'queued')"
_SETTLE = f"""UPDATE whatsapp_sends AS s SET state = CASE WHEN {_OPEN} THEN {{state}} ELSE s.state END,
    owner = CASE WHEN {{state}} = 'queued' THEN s.owner END,
    message_id = CASE WHEN {{message_id}} <> '' THEN {{message_id}} ELSE s.message_id END,
    status_text = CASE WHEN {_OPEN} THEN {{status_text}} ELSE s.status_text END,
    error_code = CASE WHEN {_OPEN} THEN {{error_code}} ELSE s.error_code END,
    error_text = CASE WHEN {_OPEN} THEN {{error_text}} ELSE s.error_text END,
    error_kind = CASE WHEN {_OPEN} THEN {{error_kind}} ELSE s.error_kind END,
    settled_at = CASE WHEN {_OPEN} THEN {{at}} ELSE s.settled_at END
{{source}} WHERE s.id = {{id}} AND s.claim = {{token}}"""  # noqa: S608 (only our own constants)
_CLAIM_FIELDS = ("id", "owner", "token", "task_run_id")
_SETTLE_FIELDS = ("id", "token", "state", "message_id", "status_text", "error_code", "error_text", "error_kind")


def _for_sqlite(statement: str, fields: Sequence[str]) -> str:
    return statement.format(source="", at=":at", **{name: f":{name}" for name in fields})


def _for_postgres(statement: str, fields: Sequence[str]) -> str:
    arrays = ", ".join(
        f"${place}::{'bigint' if name in ('id', 'owner') else 'text'}[]" for place, name in enumerate(fields, 2)
    )
    source = f"FROM unnest({arrays}) AS v({', '.join(fields)})"
    columns = {name: f"v.{name}" for name in fields}
    return statement.format(source=source, at="$1::timestamptz", **columns) + " RETURNING s.claim"


class Commits(Protocol):
    """How a group is committed on one kind of database."""

    async def commit(self, group: Sequence[Claim | Settlement]) -> set[str]:
        """Make a group durable; the tokens of those that matched their row."""
        ...

    async def close(self) -> None:
        """Give the connection back."""
        ...


class SqliteCommits:
    """A connection of its own in a thread of its own: one hop a group, where each statement of aiosqlite is one."""

    def __init__(self, database: Database) -> None:
        assert database.address.path is not None
        self._database, self._path = database, database.address.path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-writer")
        self._connection: sqlite3.Connection | None = None
        self._claim = _for_sqlite(_CLAIM, _CLAIM_FIELDS)
        self._settle = _for_sqlite(_SETTLE, _SETTLE_FIELDS)

    async def commit(self, group: Sequence[Claim | Settlement]) -> set[str]:
        """Make a group durable."""
        async with self._database.turn():
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, group)

    def _commit(self, group: Sequence[Claim | Settlement]) -> set[str]:
        connection = self._connection
        if connection is None:
            connection = self._connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
            for setting in SQLITE_SETTINGS:
                connection.execute(setting)
        matched: set[str] = set()
        try:
            connection.execute("BEGIN IMMEDIATE")
            for entry in group:
                statement = self._claim if isinstance(entry, Claim) else self._settle
                values = _claim_values(entry) if isinstance(entry, Claim) else _settle_values(entry)
                values["at"] = entry.at.strftime("%Y-%m-%d %H:%M:%S.%f")
                if connection.execute(statement, values).rowcount:
                    matched.add(entry.token)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            self._drop()
            raise
        return matched

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    async def close(self) -> None:
        """Close the connection and end the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._drop)
        self._thread.shutdown(wait=False)


class PostgresCommits:
    """One statement for all claims and one for all settlements, on asyncpg's own connection."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pooled: AsyncConnection | None = None
        self._claim = _for_postgres(_CLAIM, _CLAIM_FIELDS)
        self._settle = _for_postgres(_SETTLE, _SETTLE_FIELDS)

    async def commit(self, group: Sequence[Claim | Settlement]) -> set[str]:
        """Make a group durable."""
        claims = [_claim_values(entry) for entry in group if isinstance(entry, Claim)]
        settlements = [_settle_values(entry) for entry in group if isinstance(entry, Settlement)]
        at = group[-1].at
        try:
            if self._pooled is None:
                self._pooled = await self._database.engine.connect()
            driver: Any = (await self._pooled.get_raw_connection()).driver_connection
            async with driver.transaction():
                matched = []
                if claims:
                    matched += await driver.fetch(self._claim, at, *_columns(claims, _CLAIM_FIELDS))
                if settlements:
                    matched += await driver.fetch(self._settle, at, *_columns(settlements, _SETTLE_FIELDS))
            return {record["claim"] for record in matched}
        except BaseException:
            await self._drop()
            raise

    async def _drop(self) -> None:
        pooled, self._pooled = self._pooled, None
        if pooled is not None:
            with suppress(Exception):
                await pooled.invalidate()
            with suppress(Exception):
                await pooled.close()

    async def close(self) -> None:
        """Give the connection back."""
        pooled, self._pooled = self._pooled, None
        if pooled is not None:
            await pooled.close()


def _claim_values(claim: Claim) -> dict[str, Any]:
    return {"id": claim.row_id, "owner": claim.owner, "token": claim.token, "task_run_id": claim.task_run_id}


def _settle_values(settlement: Settlement) -> dict[str, Any]:
    outcome = settlement.outcome
    return {
        "id": settlement.row_id,
        "token": settlement.token,
        "state": outcome.state.value,
        "message_id": outcome.message_id,
        "status_text": outcome.status_text,
        "error_code": outcome.error_code,
        "error_text": outcome.error_text,
        "error_kind": outcome.error_kind,
    }


def _columns(values: Sequence[dict[str, Any]], fields: Sequence[str]) -> list[list[Any]]:
    return [[entry[name] for entry in values] for name in fields]


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
        self._commits: Commits = (
            SqliteCommits(self.database) if self.database.is_sqlite else PostgresCommits(self.database)
        )

    def submit(self, entry: Claim | Settlement) -> asyncio.Future[bool]:
        """Hand in a claim or a settlement.

        Returns:
            A future: True once it is durable, False where its row was no longer to be had by that token or owner; a
            LedgerError where the ledger could not be written. What is handed in is carried out in this order, also where
            nobody waits for it any more.
        """
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, future))
        self._submitted += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain(), name="ledger group commit")
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

    async def _drain(self) -> None:
        await asyncio.sleep(0)  # whoever became ready in the same turn of the loop joins this group
        while self._waiting:
            group, self._waiting = self._waiting[:_GROUP_LIMIT], self._waiting[_GROUP_LIMIT:]
            entries = [entry for entry, _ in group]
            try:
                matched = await self.database.patiently(
                    "record sends",
                    lambda entries=entries: self._commits.commit(entries),  # type: ignore[misc]
                    # Once it failed for good, what still comes in must not wait as long again.
                    patience_seconds=min(_BROKEN_PATIENCE_SECONDS, self.database.patience_seconds)
                    if self._broken
                    else None,
                )
            except Exception as failure:
                self._broken = True
                group, self._waiting = group + self._waiting, []
                if not isinstance(failure, LedgerError):
                    logger.exception("The ledger's writer failed.")
                for _, future in group:
                    if not future.done():
                        future.set_exception(LedgerError(str(failure) or type(failure).__name__))
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
