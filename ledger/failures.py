"""Which of a database's failures pass by themselves, and what is said of those that don't."""

import errno
import socket
import sqlite3

import asyncpg  # type: ignore[import-untyped]  # it ships no types
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# What a database raises; anything else is a mistake of ours. TimeoutError is an OSError.
FAILURES: tuple[type[Exception], ...] = (
    SQLAlchemyError,
    sqlite3.Error,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
_SQLITE_PASSES = ("locked", "full", "disk i/o", "unable to open", "busy")
_STAYS = {
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EROFS, errno.ENAMETOOLONG
}  # fmt: skip
# PostgreSQL's classes: connection, resources, operator intervention, rolled back; "lock not available"; "read only", as
# the old primary says in a failover; "idle in transaction", of a process that was suspended; "query canceled", by a timeout
# or an operator.
_POSTGRES_PASSES = ("08", "53", "57P", "40", "55P03", "25006", "25P03", "57014")


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


def without_frames(failure: Exception) -> Exception:
    """Take the frames off a failure and off all that led to it.

    A driver's frames hold the database's password and what is being written, whole numbers too, and a traceback with locals,
    such as rich's, shows what is in a frame.
    """
    left: list[BaseException | None] = [failure]
    seen: set[int] = set()
    while left:
        each = left.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            left += [each.__cause__, each.__context__, getattr(each, "orig", None)]
    return failure


def cause(failure: BaseException) -> str:
    """The database's own words, without statement and parameters."""
    if isinstance(failure, DBAPIError) and failure.orig is not None:
        failure = failure.orig
    text = str(failure).removeprefix(f"{type(failure).__module__}.{type(failure).__name__}").strip().split("\n")[0]
    if text.startswith("<class"):
        text = text.partition(">:")[2].strip()
    return text or type(failure).__name__
