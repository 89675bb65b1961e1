"""Bringing a ledger's tables to this version's schema: forwards only, one process at a time, never losing a row."""

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ...models.errors import LedgerError
from ..database import Database
from ..schema import SCHEMA_VERSION, VERSION_TABLE

_OURS = "whatsapp_"
_VERSION = sa.table(VERSION_TABLE, sa.column("version_num"))


async def migrate(database: Database) -> None:
    """Make the tables of a new ledger, or bring those of an older one forward.

    Args:
        database: The ledger's.

    Raises:
        LedgerError: It was made by a newer version, holds another program's tables, or can't be reached.
    """

    async def version() -> str:
        await database.engine.prepare()
        async with database.reading() as connection:
            if not await connection.run_sync(lambda plain: sa.inspect(plain).has_table(VERSION_TABLE)):
                return ""
            return (await connection.execute(sa.select(_VERSION))).scalar_one_or_none() or ""

    found = await database.patiently("be opened", version)
    if found == SCHEMA_VERSION:
        return
    async with database.exclusive("migrate"):
        found = await database.patiently("be opened", version)
        if found == SCHEMA_VERSION:
            return
        if found and found not in known_versions():
            raise LedgerError(too_new(database, found))

        if not found:
            await _refuse_what_is_not_ours(database)

        async def upgrade() -> None:
            await database.engine.before_migration()
            async with database.engine.migrating() as connection:
                await connection.run_sync(_upgrade)

        await database.patiently("be migrated", upgrade)


async def _refuse_what_is_not_ours(database: Database) -> None:
    """A mistyped address must not put tables among another program's."""

    async def work(connection: AsyncConnection) -> list[str]:
        return await connection.run_sync(lambda plain: sa.inspect(plain).get_table_names())

    if refused := not_ours(database, await database.read("be opened", work)):
        raise LedgerError(refused)


def not_ours(database: Database, tables: Sequence[str]) -> str:
    """Say that tables are another program's; empty where none is."""
    if all(name.startswith(_OURS) for name in tables):
        return ""
    return (
        f"{database.address.shown} is not a ledger: it holds tables of another program, and nothing was written to it. "
        "Give the ledger a database or a file of its own"
    )


def too_new(database: Database, found: str) -> str:
    """Say that a newer version made a ledger."""
    return (
        f"the ledger at {database.address.shown} was made by a newer version of prefect-whatsapp (schema {found},"
        f" this one knows up to {SCHEMA_VERSION}): upgrade the package"
    )


def known_versions() -> set[str]:
    """The revisions that this version of the package can start from."""
    from alembic.script import ScriptDirectory

    return {script.revision for script in ScriptDirectory(str(Path(__file__).parent)).walk_revisions()}


def _upgrade(connection: sa.Connection) -> None:
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext, MigrationStep
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(__file__).parent))

    def steps(current: tuple[str, ...], _context: MigrationContext) -> list[object]:
        ahead = list(scripts.iterate_revisions("head", current or "base", implicit_base=True))
        return [MigrationStep.upgrade_from_script(scripts.revision_map, script) for script in reversed(ahead)]

    context = MigrationContext.configure(
        connection,
        opts={"version_table": VERSION_TABLE, "fn": steps, "transactional_ddl": True, "render_as_batch": True},
    )
    with Operations.context(context):
        context.run_migrations()
