"""A ledger in PostgreSQL: for runs on many machines, also through a connection pooler such as PgBouncer.

A pooler in transaction mode gives each transaction another connection of the server. So nothing here lasts beyond a
transaction where there is one: no prepared statement, no setting, no lock.
"""

import asyncio
import hashlib
import inspect
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # it ships no types
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from ...models.errors import LedgerError
from ...models.logs import ENGINE_NAME
from ..address import Address
from ..failures import FAILURES
from ..vault import give
from .base import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, PLANNED, Engine
from .commits import CLAIM, CLAIM_FIELDS, SETTLE, SETTLE_FIELDS, Claim, Settlement, claim_values, settle_values

CONNECT_SECONDS = 10.0
COMMAND_SECONDS = 30.0
# Each statement has its index. A plan that PostgreSQL made and kept while the table was small reads all of it instead:
# 3.3 ms a send after 100,000 rows were planned, in place of 0.3 ms, until autovacuum looked at the table. Bitmap scans
# never mark an index's dead entries as dead, of which each send leaves some.
_SETTINGS = {
    "synchronous_commit": "on",
    **dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan"), "off"),
}
# A process that is suspended within a transaction (a laptop's sleep, SIGSTOP) holds its locks for as long: the other runs
# of its sender could not join for 20 s and ended. Shorter than their patience, and longer than a busy machine pauses.
_LONGEST_PAUSE = {"idle_in_transaction_session_timeout": "10s"}
# Given as a connection begins, and asked for afterwards: only a server of one's own has it. PgBouncer refuses to begin
# with a parameter that it doesn't know, or drops it where it is told to.
_DIRECT = "prefect_whatsapp.direct"
_SETTINGS_IN_URL = {*inspect.signature(asyncpg.connect).parameters, "prepared_statement_cache_size"}
_REFUSED_BY_A_POOLER = "unsupported startup parameter"
# Whatever the server's default is: under REPEATABLE READ a transaction that waited for a lock goes on with what it saw
# before, and three runs obeyed 240 of 80 messages a second.
_ISOLATION = "READ COMMITTED"
_PLAN = sa.text(
    f"INSERT INTO whatsapp_sends (broadcast, {', '.join(PLANNED)})"  # noqa: S608 (only our own constants)
    f" SELECT :broadcast, {', '.join(PLANNED)} FROM unnest({', '.join(f':{name}' for name in PLANNED)})"
    f" WITH ORDINALITY AS v({', '.join(PLANNED)}, place) ORDER BY place ON CONFLICT DO NOTHING"
).bindparams(
    sa.bindparam("broadcast", type_=sa.BigInteger),
    sa.bindparam("line", type_=postgresql.ARRAY(sa.BigInteger)),
    *(sa.bindparam(name, type_=postgresql.ARRAY(sa.Text)) for name in PLANNED if name != "line"),
)


def _set_locally(settings: Mapping[str, str]) -> str:
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())


class PostgresEngine(Engine):
    """PostgreSQL by asyncpg."""

    on_one_machine = False

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        if address.url.query.keys() - _SETTINGS_IN_URL:  # unnamed: what is mistyped may be a part of the password
            raise LedgerError(
                f"the address of the ledger at {address.shown} has a setting after its ? that asyncpg.connect doesn't take; "
                "percent-encode a ? in the password"
            )
        self._direct = True
        self.pool = self._connections()

    def _connections(self, *, unlimited: bool = False) -> AsyncEngine:
        """Connections as this server takes them.

        Args:
            unlimited: Not pooled and without a limit on the time of a statement, or between two of a transaction.
        """
        own = _SETTINGS if unlimited else _SETTINGS | _LONGEST_PAUSE
        settings = {"application_name": "prefect-whatsapp ledger"}
        connect: dict[str, Any] = {
            "timeout": CONNECT_SECONDS,
            "command_timeout": None if unlimited else COMMAND_SECONDS,
            "server_settings": settings,
        }
        if self.address.verified:
            connect["ssl"] = ssl.create_default_context()  # the machine's own authorities; asyncpg knows only a file
        if self._direct:
            settings |= {**own, _DIRECT: "yes"}
        else:
            connect |= {
                "statement_cache_size": 0,
                "prepared_statement_cache_size": 0,
                "prepared_statement_name_func": lambda: "",
            }
        pooling: dict[str, Any] = {"poolclass": sa.pool.NullPool} if unlimited else {"pool_size": 4, "max_overflow": 8}
        engine = create_async_engine(
            self.address.url,
            hide_parameters=True,
            logging_name=ENGINE_NAME,
            connect_args=connect,
            isolation_level=_ISOLATION,
            **pooling,
        )
        give(engine.sync_engine.dialect, self.vault)
        if not self._direct:
            locally = _set_locally(own)
            event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql(locally))
        return engine

    async def prepare(self) -> None:
        """Find out whether a pooler stands between."""
        if not self._direct:
            return
        try:
            async with self.pool.connect() as connection:
                asked = sa.text("SELECT current_setting(:name, true)").bindparams(name=_DIRECT)
                self._direct = (await connection.execute(asked)).scalar_one() == "yes"
        except (DBAPIError, asyncpg.PostgresError) as failure:
            if _REFUSED_BY_A_POOLER not in str(failure):
                raise
            self._direct = False
        if not self._direct:
            await self.pool.dispose()
            self.pool = self._connections()

    async def before_migration(self) -> None:
        """Nothing."""

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that only reads."""
        async with self.pool.connect() as connection, _sound(connection):
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that is committed durably at its end."""
        async with self.pool.connect() as connection, _sound(connection), connection.begin():
            yield connection

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may take as long as it needs."""
        engine = self._connections(unlimited=True)
        try:
            async with engine.begin() as connection:
                yield connection
        finally:
            await engine.dispose()

    def insert(self, table: sa.Table) -> Any:
        """`INSERT` with `ON CONFLICT`."""
        return postgresql.insert(table)

    async def queue_recipients(
        self, connection: AsyncConnection, broadcast: int, cells: Sequence[tuple[str | int, ...]]
    ) -> int:
        """Insert recipients, those that are there already left out."""
        columns = dict(zip(PLANNED, (list(column) for column in zip(*cells, strict=True)), strict=True))
        return int((await connection.execute(_PLAN, {"broadcast": broadcast, **columns})).rowcount)

    async def lock_sender(self, connection: AsyncConnection, sender: str) -> None:
        """Take the sender's advisory lock for this transaction."""
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_number(f"owners of {sender}"))))

    async def lock(self, key: str) -> AsyncExitStack:
        """Take an advisory lock in a transaction that is held open."""
        ask = sa.select(sa.func.pg_try_advisory_xact_lock(_number(key)))
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(self.migrating())
            await connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            pause = FIRST_PAUSE_SECONDS
            while not (await connection.execute(ask)).scalar_one():
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
            return stack.pop_all()

    def commits(self) -> "PostgresCommits":
        """Group commits on a connection of their own."""
        return PostgresCommits(self)

    async def set_up(self, driver: Any) -> None:
        """What each transaction on asyncpg's own connection begins with."""
        if not self._direct:
            await driver.execute(_set_locally(_SETTINGS | _LONGEST_PAUSE))


@asynccontextmanager
async def _sound(connection: AsyncConnection) -> AsyncIterator[None]:
    """Use no connection again that failed: it may lead to a server that only reads since a failover.

    And asyncpg takes one whose BEGIN was canceled for one within a transaction ever after.
    """
    try:
        yield
    except FAILURES:
        with suppress(Exception):
            await connection.invalidate()
        raise


def _number(key: str) -> int:
    digest = hashlib.sha256(f"prefect-whatsapp {key}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


class PostgresCommits:
    """One statement for all claims and one for all settlements, on asyncpg's own connection.

    Args:
        engine: The ledger's.
    """

    def __init__(self, engine: PostgresEngine) -> None:
        self._engine = engine
        self._pooled: AsyncConnection | None = None
        self._claim = _filled_in(CLAIM, CLAIM_FIELDS)
        self._settle = _filled_in(SETTLE, SETTLE_FIELDS)

    async def commit(self, group: Sequence[Claim | Settlement]) -> set[str]:
        """Make a group durable."""
        claims = [claim_values(entry, self._engine.vault) for entry in group if isinstance(entry, Claim)]
        settlements = [settle_values(entry, self._engine.vault) for entry in group if isinstance(entry, Settlement)]
        at = group[-1].at
        try:
            if self._pooled is None:
                self._pooled = await self._engine.pool.connect()
            driver: Any = (await self._pooled.get_raw_connection()).driver_connection
            async with driver.transaction(isolation="read_committed"):
                await self._engine.set_up(driver)
                matched = []
                if claims:
                    matched += await driver.fetch(self._claim, at, *_columns(claims, CLAIM_FIELDS))
                if settlements:
                    matched += await driver.fetch(self._settle, at, *_columns(settlements, SETTLE_FIELDS))
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


def _filled_in(statement: str, fields: Sequence[str]) -> str:
    arrays = ", ".join(
        f"${place}::{'bigint' if name in ('id', 'owner') else 'text'}[]" for place, name in enumerate(fields, 2)
    )
    source = f"FROM unnest({arrays}) AS v({', '.join(fields)})"
    columns = {name: f"v.{name}" for name in fields}
    return statement.format(source=source, at="$1::timestamptz", **columns) + " RETURNING s.claim"


def _columns(values: Sequence[dict[str, Any]], fields: Sequence[str]) -> list[list[Any]]:
    return [[entry[name] for entry in values] for name in fields]
