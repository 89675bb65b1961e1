"""Stops within a broadcast, without a hook in the product: its own methods are wrapped in the process that is to die.

Beside it a witness: what a run had handed in and what it had heard back of each row, in a file that outlives it.
"""

import datetime
import functools
import os
import resource
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from asyncpg.transaction import Transaction  # type: ignore[import-untyped]
from prefect_whatsapp.ledger import BroadcastRecord, Lease, LedgerStore, Outcome, Row, departures, heartbeat, liveness
from prefect_whatsapp.ledger.engines import Claim, Settlement, postgresql
from prefect_whatsapp.ledger.engines import sqlite as sqlite_engine
from prefect_whatsapp.models import SendState
from prefect_whatsapp.providers.http_types import Request
from prefect_whatsapp.providers.transport import AsyncClient

When = Literal["before", "within", "after"]


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Where a process kills itself.

    Attributes:
        at: `claim commit`, `claim`, `request`, `settle commit`, `settle`, `plan`, `mark planned`, `upload`,
            `remember media` or `join`.
        when: Before it begins, `delay` seconds after it began, or after it ended.
        nth: At the so many-th time.
        delay: For `within`.
    """

    at: str
    when: When = "before"
    nth: int = 1
    delay: float = 0.0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_in(seconds: float) -> None:
    def wait() -> None:
        time.sleep(seconds)
        die()

    threading.Thread(target=wait, daemon=True).start()


@dataclass
class _Fuse:
    """Counts how often the place was reached, and says whether this is the time."""

    stop: Stop
    reached: int = 0

    def burns(self) -> bool:
        self.reached += 1
        return self.reached == self.stop.nth

    def begin(self) -> None:
        if self.stop.when == "before":
            die()
        if self.stop.when == "within":
            _die_in(self.stop.delay)

    def end(self) -> None:
        if self.stop.when == "after":
            die()


def install(stop: Stop) -> None:
    """Let this process die there."""
    fuse = _Fuse(stop)
    match stop.at:
        case "claim":
            _wrap(Lease, "claim", fuse)
        case "settle":
            _wrap(Lease, "settle", fuse)
        case "plan":
            _wrap(LedgerStore, "plan", fuse)
        case "mark planned":
            _wrap(LedgerStore, "mark_planned", fuse)
        case "remember media":
            _wrap(LedgerStore, "remember_media", fuse)
        case "join":
            _wrap_join(fuse)
        case "request" | "upload":
            path = "/messages" if stop.at == "request" else "/media"
            _wrap(AsyncClient, "_call", fuse, lambda _, request: request.path.endswith(path))
        case "claim commit" | "settle commit":
            _wrap_commits(fuse, Claim if stop.at == "claim commit" else Settlement)
        case _:
            raise ValueError(f"no such place: {stop.at}")


def _always(*_: Any) -> bool:
    return True


def _wrap(owner: type, name: str, fuse: _Fuse, concerns: Callable[..., bool] = _always) -> None:
    original: Callable[..., Awaitable[Any]] = getattr(owner, name)

    @functools.wraps(original)
    async def wrapped(*args: Any, **others: Any) -> Any:
        if not concerns(*args) or not fuse.burns():
            return await original(*args, **others)
        fuse.begin()
        result = await original(*args, **others)
        fuse.end()
        return result

    setattr(owner, name, wrapped)


def _wrap_join(fuse: _Fuse) -> None:
    join = LedgerStore.join

    @functools.wraps(join)
    @asynccontextmanager
    async def wrapped(*args: Any, **others: Any) -> AsyncIterator[Lease]:
        burns = fuse.burns()
        if burns:
            fuse.begin()
        async with join(*args, **others) as lease:
            if burns:
                fuse.end()
            yield lease

    LedgerStore.join = wrapped  # type: ignore[method-assign,assignment]


def _wrap_commits(fuse: _Fuse, kind: type) -> None:
    """Die at the COMMIT of a group that holds such an entry: it is durable with the COMMIT, and unheard before its answer."""
    burning = False

    def watch(commits: type) -> None:
        original = commits.commit  # type: ignore[attr-defined]

        async def commit(self: Any, group: Sequence[Any]) -> set[str]:
            nonlocal burning
            burning = any(isinstance(entry, kind) for entry in group) and fuse.burns()
            return await original(self, group)  # type: ignore[no-any-return]

        commits.commit = commit  # type: ignore[attr-defined]

    watch(sqlite_engine.SqliteCommits)
    watch(postgresql.PostgresCommits)

    class Connection(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            if not burning or statement != "COMMIT":
                return super().execute(statement, *values)
            fuse.begin()
            cursor = super().execute(statement, *values)
            fuse.end()
            return cursor

    class Sqlite:
        def __getattr__(self, name: str) -> Any:
            return getattr(sqlite3, name)

        def connect(self, *args: Any, **others: Any) -> sqlite3.Connection:
            return sqlite3.connect(*args, factory=Connection, **others)

    sqlite_engine.sqlite3 = Sqlite()  # type: ignore[attr-defined]
    end_of_transaction = Transaction.__aexit__

    async def leave(self: Any, *exception: Any) -> None:
        if burning:
            fuse.begin()
        await end_of_transaction(self, *exception)
        if burning:
            fuse.end()

    Transaction.__aexit__ = leave


@dataclass
class Witness:
    """Writes down, a line each, what was handed in (`claim?`, `settle?`) and what was heard back (`claim!`, `settle!`).

    One write a line: it is in the kernel's hands, and survives the process.
    """

    path: str
    on_first_claim: Callable[[], None] = lambda: None
    claims: int = 0
    _file: int = field(init=False)

    def install(self) -> None:
        self._file = os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        claim, settle = Lease.claim, Lease.settle

        @functools.wraps(claim)
        async def watched_claim(lease: Lease, row: Row, **others: Any) -> None:
            self._tell("claim?", row)
            await claim(lease, row, **others)
            self._tell("claim!", row)
            self.claims += 1
            if self.claims == 1:
                self.on_first_claim()

        @functools.wraps(settle)
        async def watched_settle(lease: Lease, row: Row, outcome: Outcome) -> None:
            queued = outcome.state is SendState.QUEUED
            self._tell("release?" if queued else f"settle?:{outcome.state}", row)
            await settle(lease, row, outcome)
            self._tell("release!" if queued else "settle!", row)

        Lease.claim, Lease.settle = watched_claim, watched_settle  # type: ignore[method-assign]

    def _tell(self, word: str, row: Row) -> None:
        os.write(self._file, f"{word} {row.recipient}\n".encode())


def live_on(host: str, *, lapse_seconds: float, beat_seconds: float) -> None:
    """Be a run on another host, where only the heartbeat tells who lives."""
    for module in (liveness, heartbeat, departures):
        module.host_identity = lambda: host  # type: ignore[attr-defined]
    join = LedgerStore.join

    @functools.wraps(join)
    def joined(store: LedgerStore, record: BroadcastRecord, **others: Any) -> Any:
        return join(store, record, **others | {"lapse_seconds": lapse_seconds, "beat_seconds": beat_seconds})

    LedgerStore.join = joined  # type: ignore[method-assign,assignment]


def forget_doubts() -> None:
    """Break the pack's promise: whatever a gone run was sending is queued again. The kill test must see it."""
    join = LedgerStore.join

    @functools.wraps(join)
    @asynccontextmanager
    async def forgetful(store: LedgerStore, record: BroadcastRecord, **others: Any) -> AsyncIterator[Lease]:
        async with join(store, record, **others) as lease:
            await store.requeue(record, SendState.UNKNOWN)
            yield lease

    LedgerStore.join = forgetful  # type: ignore[method-assign,assignment]


def after_sends(count: int, act: Callable[[], None]) -> None:
    """Do something in this process when its so many-th message is about to leave."""
    call, sends = AsyncClient._call, [0]

    async def counted(client: AsyncClient, request: Request) -> Any:
        if request.path.endswith("/messages"):
            sends[0] += 1
            if sends[0] == count:
                act()
        return await call(client, request)

    AsyncClient._call = counted  # type: ignore[method-assign]


def set_clock_back(seconds: float) -> None:
    """Set the wall clock back, as far as this process and the pack see it; the clocks that nobody can set go on."""
    real_time = time.time
    time.time = lambda: real_time() - seconds

    class Earlier(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return datetime.datetime.fromtimestamp(time.time(), tz)

    class Calendar:
        datetime = Earlier

        def __getattr__(self, name: str) -> Any:
            return getattr(datetime, name)

    for name, module in list(sys.modules.items()):
        if name.startswith("prefect_whatsapp.") and getattr(module, "datetime", None) is datetime:
            module.datetime = Calendar()  # type: ignore[attr-defined]


def fill_the_disk(ledger: str, seconds: float) -> None:
    """Let no file of this process grow beyond the ledger's write-ahead log, for so long (0: for good)."""
    size, (soft, hard) = os.stat(f"{ledger}-wal").st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    if seconds:
        free = threading.Timer(seconds, resource.setrlimit, (resource.RLIMIT_FSIZE, (soft, hard)))
        free.daemon = True
        free.start()
