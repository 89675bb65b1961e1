"""One at a time among all processes that share a ledger: uploads, transcodes and migrations.

The lock dies with its holder: on PostgreSQL it belongs to a connection, beside an SQLite file it is the kernel's lock on
a file that is removed again.
"""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from ..models.errors import LedgerError
from .database import Database

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25


@asynccontextmanager
async def exclusive(database: Database, key: str) -> AsyncIterator[None]:
    """Be the only one, of all processes with this ledger, that is within the block for this key.

    Args:
        database: The ledger's.
        key: What it is about, such as `upload:<digest>:<sender>`.

    Raises:
        LedgerError: The lock can't be asked for.
    """
    digest = hashlib.sha256(f"prefect-whatsapp {key}".encode()).digest()
    if database.address.path is not None:
        async with _file_lock(database.address.path, digest.hex()[:16]):
            yield
        return
    async with _advisory_lock(database, int.from_bytes(digest[:8], "big", signed=True)):
        yield


@asynccontextmanager
async def _advisory_lock(database: Database, number: int) -> AsyncIterator[None]:
    ask = sa.text("SELECT pg_try_advisory_lock(:number)").bindparams(number=number)

    async def acquire() -> AsyncExitStack:
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(database.own_connection())
            pause = _FIRST_PAUSE
            while not (await connection.execute(ask)).scalar_one():
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
            return stack.pop_all()

    async with await database.patiently("take a lock", acquire):
        yield  # closing the connection gives the lock back


@asynccontextmanager
async def _file_lock(beside: Path, name: str) -> AsyncIterator[None]:
    path = beside.with_name(f"{beside.name}-{name}.lock")
    pause = _FIRST_PAUSE
    while (descriptor := _try_lock(path)) is None:
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    try:
        yield
    finally:
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
