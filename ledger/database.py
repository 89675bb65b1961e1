"""The ledger's address, its connections, and patience with a database that is away for a while."""

import asyncio
import errno
import logging
import os
import random
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import asyncpg  # type: ignore[import-untyped]
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ..models.errors import LedgerError
from ..models.masking import mask_numbers

T = TypeVar("T")
_FAILURES: tuple[type[Exception], ...] = (
    SQLAlchemyError,
    sqlite3.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)  # TimeoutError is an OSError

logger = logging.getLogger(__name__)


def _without_numbers(record: logging.LogRecord) -> bool:
    record.msg, record.args = mask_numbers(record.getMessage()), ()
    return True


# At DEBUG aiosqlite logs each statement with its values, which here are recipients.
logging.getLogger("aiosqlite").addFilter(_without_numbers)

BUSY_SECONDS = 5.0
CONNECT_SECONDS = 10.0
COMMAND_SECONDS = 30.0
_SQLITE_PASSES = ("locked", "full", "disk i/o", "unable to open", "busy")
_STAYS = {
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EROFS, errno.ENAMETOOLONG
}  # fmt: skip
# Each statement has its index. A plan that PostgreSQL made and kept while the table was small reads all of it instead:
# 3.3 ms a send after 100,000 rows were planned, in place of 0.3 ms, until autovacuum looked at the table. Bitmap scans
# never mark an index's dead entries as dead, of which each send leaves some.
_BY_INDEX = dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan"), "off")
# PostgreSQL's own classes: connection, resources, operator intervention, rolled back; and "lock not available".
_POSTGRES_PASSES = ("08", "53", "57P", "40", "55P03")


@dataclass(frozen=True)
class Address:
    """Where a ledger is.

    Attributes:
        url: For SQLAlchemy, with its password; never shown.
        path: The file of an SQLite ledger; None on PostgreSQL.
        shown: What may be printed.
    """

    url: URL
    path: Path | None
    shown: str


def read_address(url: str = "") -> Address:
    """Read the setting of a `Ledger` block.

    Args:
        url: Empty for SQLite under `PREFECT_HOME`; a path; `sqlite+aiosqlite:///…`; `postgresql+asyncpg://…`, also with
            `postgresql://` or `postgres://` before it, as hosting services write it.

    Returns:
        The address.

    Raises:
        LedgerError: Not an address of either database; the text holds no password.

    Example:
        >>> read_address("postgres://pack:secret@db.example:5433/book").shown
        'postgresql://db.example:5433/book'
    """
    text = url.strip()
    if not text:
        from prefect.settings import get_current_settings

        return _file(Path(get_current_settings().home) / "prefect-whatsapp" / "ledger.db")
    if "://" not in text:
        return _file(Path(text))
    try:
        parsed = make_url(text)
    except (ArgumentError, ValueError):
        raise LedgerError(
            "the ledger's address can't be read: write postgresql+asyncpg://user:password@host:port/database"
            " (special characters of a password percent-encoded) or sqlite+aiosqlite:////path/to/file"
        ) from None
    if parsed.drivername in ("sqlite", "sqlite+aiosqlite"):
        if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
            raise LedgerError("the ledger needs a file that outlives the process: sqlite+aiosqlite:////path/to/file")
        return _file(Path(parsed.database))
    if parsed.drivername in ("postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg"):
        return _postgres(parsed)
    raise LedgerError(
        f"the ledger can't live in {parsed.drivername}: use PostgreSQL (postgresql+asyncpg://…) or SQLite (a path)"
    )


def _file(path: Path) -> Address:
    path = path.expanduser().absolute()
    return Address(URL.create("sqlite+aiosqlite", database=str(path)), path, str(path))


def _postgres(parsed: URL) -> Address:
    if not parsed.database:
        raise LedgerError("the ledger's address names no database: postgresql+asyncpg://user@host:port/database")
    query = dict(parsed.query)
    if "sslmode" in query:  # libpq's word; asyncpg's is ssl
        query["ssl"] = query.pop("sslmode")
    query.pop("application_name", None)
    host = query.get("host", "") if not parsed.host else parsed.host
    port = f":{parsed.port}" if parsed.port else ""
    url = parsed.set(drivername="postgresql+asyncpg", query=query)
    return Address(url, None, f"postgresql://{host if isinstance(host, str) else host[0]}{port}/{parsed.database}")


class Database:
    """One ledger's connections.

    Args:
        address: Where it is.
        patience_seconds: How long an operation tries again while the database is away, full or locked.
    """

    def __init__(self, address: Address, patience_seconds: float) -> None:
        self.address, self.patience_seconds = address, patience_seconds
        self.engine = self._engine(pooled=True)
        self._writing = self.engine.execution_options(ledger_begin="BEGIN IMMEDIATE")
        # SQLite has one writer at a time: within a process they queue here, as its own waiting sleeps in steps.
        self._turn = asyncio.Lock()
        self._answered = False

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.address.path is not None

    def _engine(self, *, pooled: bool, command_seconds: float | None = COMMAND_SECONDS) -> AsyncEngine:
        if self.address.path is not None:
            engine = create_async_engine(
                self.address.url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS, "isolation_level": None}
            )
            event.listen(engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(engine.sync_engine, "begin", _begin_sqlite)
            return engine
        settings = {"application_name": "prefect-whatsapp ledger", "synchronous_commit": "on", **_BY_INDEX}
        connect = {"timeout": CONNECT_SECONDS, "command_timeout": command_seconds, "server_settings": settings}
        if pooled:
            return create_async_engine(
                self.address.url, hide_parameters=True, connect_args=connect, pool_size=4, max_overflow=8
            )
        return create_async_engine(
            self.address.url, hide_parameters=True, connect_args=connect, poolclass=sa.pool.NullPool
        )

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection outside the pool and without a time limit, each statement its own transaction."""
        engine = self._engine(pooled=False, command_seconds=None)
        try:
            async with engine.connect() as connection:
                yield await connection.execution_options(isolation_level="AUTOCOMMIT")
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may take as long as it needs."""
        if self.is_sqlite:
            async with self.writing() as connection:
                yield connection
            return
        engine = self._engine(pooled=False, command_seconds=None)
        try:
            async with engine.begin() as connection:
                yield connection
        finally:
            await engine.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads."""
        async with self.engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed durably at its end."""
        if not self.is_sqlite:
            async with self.engine.begin() as connection:
                yield connection
            return
        async with self._turn, self._writing.begin() as connection:
            yield connection

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """SQLite's turn to write, for the group commit's own connection."""
        async with self._turn:
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
            LedgerError: In one sentence, when patience ran out or trying again can't help.
        """
        patience = self.patience_seconds if patience_seconds is None else patience_seconds
        began, pause, told = time.monotonic(), 0.02, False
        while True:
            try:
                result = await attempt()
            except LedgerError:
                raise
            except _FAILURES as failure:
                waited = time.monotonic() - began
                if not passes(failure, opening=not self._answered) or waited + pause > patience:
                    after = f" within {patience:.0f} s" if passes(failure) and patience >= 1 else ""
                    raise LedgerError(
                        f"the ledger at {self.address.shown} could not {doing}{after}: {cause(failure)}"
                    ) from failure
                if not told and waited > 1:
                    logger.warning(
                        "The ledger can't %s now (%s); trying for up to %.0f s.", doing, cause(failure), patience
                    )
                    told = True
                await asyncio.sleep(pause * random.uniform(0.7, 1.0))  # noqa: S311
                pause = min(pause * 2, 1.0)
            else:
                self._answered = True
                return result

    async def close(self) -> None:
        """Close every connection."""
        await self.engine.dispose()


def _prepare_sqlite(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    try:
        for setting in SQLITE_SETTINGS:
            cursor.execute(setting)
    finally:
        cursor.close()


# FULL: each commit is on the disk before a request leaves. 4,000 pages make checkpoints rare enough to not be felt.
SQLITE_SETTINGS = ("PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON", "PRAGMA wal_autocheckpoint=4000")


def _begin_sqlite(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("ledger_begin", "BEGIN"))


def make_file(path: Path) -> None:
    """Make an SQLite ledger's file, readable by its owner alone: it holds whole phone numbers."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def passes(failure: BaseException, *, opening: bool = False) -> bool:
    """Whether a failure may pass by itself: away, restarting, full, locked.

    Args:
        failure: What was raised.
        opening: Whether the database has never answered yet, so that an unknown host is a wrong address.
    """
    if isinstance(failure, DBAPIError):
        if failure.connection_invalidated:
            return True
        failure = failure.orig or failure
    if isinstance(failure, sqlite3.Error):
        return any(word in str(failure).lower() for word in _SQLITE_PASSES)
    if state := getattr(failure, "sqlstate", None):
        return str(state).startswith(_POSTGRES_PASSES)
    if isinstance(failure, socket.gaierror):
        return not opening
    if isinstance(failure, OSError):
        return failure.errno not in _STAYS
    if isinstance(failure, asyncpg.InternalClientError):
        return True  # a connection that was cut in the middle of something; it is not used again
    source = failure.__cause__ or failure
    if isinstance(source, asyncpg.InterfaceError):
        return "clos" in str(source) or "in progress" in str(source)
    if source is not failure:
        return passes(source, opening=opening)
    # The pool has no free connection: others are still at work.
    return isinstance(failure, PoolTimeoutError)


def cause(failure: BaseException) -> str:
    """The database's own words, without statement and parameters."""
    if isinstance(failure, DBAPIError) and failure.orig is not None:
        failure = failure.orig
    text = str(failure).removeprefix(f"{type(failure).__module__}.{type(failure).__name__}").strip().split("\n")[0]
    if text.startswith("<class"):
        text = text.partition(">:")[2].strip()
    return text or type(failure).__name__
