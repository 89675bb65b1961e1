"""A ledger's keys: taken when it is opened, and the change from one that is not encrypted to one that is."""

import os

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import LedgerError
from .database import Database
from .schema import broadcasts, keys, people, receipts, unread
from .vault import KEY_VARIABLE, Vault, check_key

# What a ledger holds before any number is written into it; none of them is there without one of these.
_FIRST_WRITTEN = (broadcasts, people, receipts, unread)


async def unlock(database: Database, encryption_key: SecretStr) -> None:
    """Take the keys of an open ledger; a new one is encrypted from here on where a key is given.

    Args:
        database: The ledger's, migrated.
        encryption_key: 32 bytes in base64; empty for the environment's.

    Raises:
        LedgerError: It is encrypted, and the key is missing or another; or it holds rows that are not encrypted.
    """
    key = encryption_key if encryption_key.get_secret_value().strip() else SecretStr(os.environ.get(KEY_VARIABLE, ""))
    has_key = bool(key.get_secret_value().strip())
    if has_key:
        check_key(key)
    query = sa.select(keys.c.hash_key)

    async def read(connection: AsyncConnection) -> tuple[str, bool]:
        hash_key = (await connection.execute(query)).scalar_one()
        return hash_key, has_key and await is_empty(connection)

    hash_key, is_new = await database.read("be opened", read)
    if is_new and not Vault.is_sealed(hash_key):

        async def encrypt(connection: AsyncConnection) -> str:
            current: str = (await connection.execute(query.with_for_update())).scalar_one()
            if not Vault.is_sealed(current) and await is_empty(connection):
                current = Vault.sealed_key(current, key)
                await connection.execute(sa.update(keys).values(hash_key=current))
            return current

        hash_key = await database.transact("be opened", encrypt)
    try:
        database.vault.unlock(hash_key, key)
    except LedgerError as refused:
        raise LedgerError(f"the ledger at {database.address.shown} {refused}") from None


async def is_empty(connection: AsyncConnection) -> bool:
    """Whether no number was written into the ledger yet."""
    for table in _FIRST_WRITTEN:
        if (
            await connection.execute(sa.select(sa.literal_column("1")).select_from(table).limit(1))
        ).first() is not None:
            return False
    return True
