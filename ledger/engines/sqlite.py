"""A ledger in an SQLite file: for the runs of one machine."""

import asyncio
import hashlib
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from ...models.errors import LedgerError
from ...models.logs import ENGINE_NAME
from ..address import Address
from ..vault import Vault, give
from .base import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, PLANNED, Engine
from .commits import CLAIM, CLAIM_FIELDS, SETTLE, SETTLE_FIELDS, Claim, Settlement, claim_values, settle_values

BUSY_SECONDS = 5.0
# FULL: each commit is on the disk before a request leaves. 4,000 pages make checkpoints rare enough to not be felt.
SETTINGS = ("PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON", "PRAGMA wal_autocheckpoint=4000")
_PLAN = (
    f"INSERT INTO whatsapp_sends (broadcast, {', '.join(PLANNED)}) VALUES (?{', ?' * len(PLANNED)})"  # noqa: S608 (only our own constants)
    " ON CONFLICT DO NOTHING"
)


class SqliteEngine(Engine):
    """SQLite in WAL mode.

    Args:
        address: Where it is.
        path: Its file.
    """

    on_one_machine = True

    def __init__(self, address: Address, path: Path) -> None:
        super().__init__(address)
        self._path = path
        self.pool = create_async_engine(
            address.url,
            hide_parameters=True,
            logging_name=ENGINE_NAME,
            connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
        )
        give(self.pool.sync_engine.dialect, self.vault)
        event.listen(self.pool.sync_engine, "connect", _set_up)
        event.listen(self.pool.sync_engine, "begin", _begin)
        self._writing = self.pool.execution_options(ledger_begin="BEGIN IMMEDIATE")
        # SQLite has one writer at a time: within a process they queue here, as its own waiting sleeps in steps.
        self._turn = asyncio.Lock()

    async def prepare(self) -> None:
        """Make the file, readable by its owner alone: it holds whole phone numbers."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Never opened where it is there: to close any descriptor of a file gives up every lock that this process has on it,
        # those of a store that is open too. Another process then removes the WAL under it, and its commits are lost.
        # Source: https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_
        with suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    async def before_migration(self) -> None:
        """Turn WAL on, which lasts: readers never wait for the writer."""
        async with self.pool.connect() as connection:
            raw = await connection.get_raw_connection()
            cursor = await raw.driver_connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[union-attr]  # just connected
            await cursor.close()

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that only reads."""
        return self.pool.connect()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed durably at its end."""
        async with self._turn, self._writing.begin() as connection:
            yield connection

    def migrating(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction that may take as long as it needs."""
        return self.writing()

    def insert(self, table: sa.Table) -> Any:
        """`INSERT` with `ON CONFLICT`."""
        return sqlite.insert(table)

    async def queue_recipients(
        self, connection: AsyncConnection, broadcast: int, cells: Sequence[tuple[str | int, ...]]
    ) -> int:
        """Insert recipients, those that are there already left out."""
        result = await connection.exec_driver_sql(_PLAN, [(broadcast, *cell) for cell in cells])
        return int(result.rowcount)

    async def lock_sender(self, connection: AsyncConnection, sender: str) -> None:
        """Nothing: the one writer holds the whole file."""

    async def lock(self, key: str) -> AsyncExitStack:
        """Take the kernel's lock on a file beside the ledger, which is removed again."""
        name = hashlib.sha256(f"prefect-whatsapp {key}".encode()).hexdigest()[:16]
        path = self._path.with_name(f"{self._path.name}-{name}.lock")
        pause = FIRST_PAUSE_SECONDS
        while (descriptor := _try_lock(path)) is None:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
        stack = AsyncExitStack()
        stack.callback(_unlock, path, descriptor)
        return stack

    def commits(self) -> "SqliteCommits":
        """Group commits in a thread of their own."""
        return SqliteCommits(self._path, self._turn, self.vault)


def _set_up(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    try:
        for setting in SETTINGS:
            cursor.execute(setting)
    finally:
        cursor.close()


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("ledger_begin", "BEGIN"))


def _unlock(path: Path, descriptor: int) -> None:
    with suppress(OSError):
        path.unlink()  # while it is held: who waits for this file sees that it is another's no more
    os.close(descriptor)


def _try_lock(path: Path) -> int | None:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as refused:
        raise LedgerError(f"the lock file {path} can't be made: {refused.strerror}") from refused
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before us removed the file: then this lock is on a name that nobody will find.
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


class SqliteCommits:
    """A connection of its own in a thread of its own: one hop a group, where each statement of aiosqlite is one.

    Args:
        path: The ledger's file.
        turn: Whose turn it is to write, in this process.
        vault: What encrypts the outcomes.
    """

    def __init__(self, path: Path, turn: asyncio.Lock, vault: Vault) -> None:
        self._path, self._turn, self._vault = path, turn, vault
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-writer")
        self._connection: sqlite3.Connection | None = None
        self._claim = _filled_in(CLAIM, CLAIM_FIELDS)
        self._settle = _filled_in(SETTLE, SETTLE_FIELDS)

    async def commit(self, group: Sequence[Claim | Settlement]) -> set[str]:
        """Make a group durable."""
        async with self._turn:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._commit, group)

    def _commit(self, group: Sequence[Claim | Settlement]) -> set[str]:
        connection = self._connection
        if connection is None:
            connection = self._connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
            for setting in SETTINGS:
                connection.execute(setting)
        matched: set[str] = set()
        try:
            connection.execute("BEGIN IMMEDIATE")
            for entry in group:
                statement = self._claim if isinstance(entry, Claim) else self._settle
                vault = self._vault
                values = claim_values(entry, vault) if isinstance(entry, Claim) else settle_values(entry, vault)
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


def _filled_in(statement: str, fields: Sequence[str]) -> str:
    return statement.format(source="", at=":at", **{name: f":{name}" for name in fields})
