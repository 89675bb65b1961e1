"""A look at a ledger that changes nothing: no file or table is made, nothing is migrated, no key is taken."""

import os
from dataclasses import dataclass

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import LedgerError
from .address import read_address
from .database import Database
from .keys import is_empty
from .migrations import known_versions, not_ours, too_new
from .schema import SCHEMA_VERSION, VERSION_TABLE, broadcasts, keys
from .vault import KEY_VARIABLE, Vault


@dataclass(frozen=True)
class Seen:
    """What is there.

    Attributes:
        version: Its schema; empty where it has no tables yet.
        broadcasts: How many it holds; None where an older schema isn't read.
    """

    version: str
    broadcasts: int | None = None

    @property
    def is_current(self) -> bool:
        """Whether this version of the package uses it as it is."""
        return self.version == SCHEMA_VERSION


async def look(url: str, *, patience_seconds: float, encryption_key: SecretStr | str = "") -> Seen:
    """Look at a ledger that is there.

    Args:
        url: As `LedgerStore.open` takes it; a file has to be there.
        patience_seconds: How long to wait for a database that is away.
        encryption_key: As `LedgerStore.open` takes it.

    Raises:
        LedgerError: Not reachable, made by a newer version, another program's, or encrypted with another key or none.
    """
    key = encryption_key if isinstance(encryption_key, SecretStr) else SecretStr(encryption_key)
    key = key if key.get_secret_value().strip() else SecretStr(os.environ.get(KEY_VARIABLE, ""))
    database = Database(read_address(url), patience_seconds)

    async def attempt() -> Seen:
        await database.engine.prepare()
        async with database.reading() as connection:
            return await _seen(connection, database, key)

    try:
        return await database.patiently("be opened", attempt)
    finally:
        await database.close()


async def _seen(connection: AsyncConnection, database: Database, key: SecretStr) -> Seen:
    tables = await connection.run_sync(lambda plain: sa.inspect(plain).get_table_names())
    if VERSION_TABLE not in tables:
        if refused := not_ours(database, tables):
            raise LedgerError(refused)
        return Seen("")
    asked = sa.select(sa.table(VERSION_TABLE, sa.column("version_num")))
    version = (await connection.execute(asked)).scalar_one_or_none() or ""
    if version and version not in known_versions():
        raise LedgerError(too_new(database, version))
    if version != SCHEMA_VERSION:
        return Seen(version)
    hash_key = (await connection.execute(sa.select(keys.c.hash_key))).scalar_one()
    will_be_encrypted = key.get_secret_value().strip() and not Vault.is_sealed(hash_key) and await is_empty(connection)
    if not will_be_encrypted:
        try:
            database.vault.unlock(hash_key, key)
        except LedgerError as refused:
            raise LedgerError(f"the ledger at {database.address.shown} {refused}") from None
    return Seen(version, (await connection.execute(sa.select(sa.func.count()).select_from(broadcasts))).scalar_one())
