"""The schema moves forwards only, once, and keeps every row."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from ledgers import begin
from prefect_whatsapp.ledger import LedgerStore, migrations
from prefect_whatsapp.ledger import look as ledger_look
from prefect_whatsapp.ledger.address import read_address
from prefect_whatsapp.ledger.database import Database
from prefect_whatsapp.ledger.look import Seen, look
from prefect_whatsapp.ledger.migrations import known_versions, migrate
from prefect_whatsapp.ledger.schema import SCHEMA_VERSION, VERSION_TABLE, metadata
from prefect_whatsapp.models import Recipient, SendState
from prefect_whatsapp.models.errors import LedgerError

NEXT = '''"""One more column, and a new meaning for an old one."""
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "9999", "{before}", None, None
def upgrade() -> None:
    with op.batch_alter_table("whatsapp_sends") as table:
        table.add_column(sa.Column("country", sa.Text, nullable=False, server_default="?"))
    {then}
'''


@contextmanager
def a_later_version(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    then: str = "op.execute(\"UPDATE whatsapp_sends SET country = 'US'\")",
) -> Iterator[None]:
    """The package as it will be: one revision more."""
    versions = folder / "migrations" / "versions"
    versions.mkdir(parents=True)
    for script in (Path(migrations.__file__).parent / "versions").glob("0*.py"):
        (versions / script.name).write_text(script.read_text())
    (versions / "9999_next.py").write_text(NEXT.format(before=SCHEMA_VERSION, then=then))
    with monkeypatch.context() as later:
        later.setattr(migrations, "__file__", str(folder / "migrations" / "__init__.py"))
        later.setattr(migrations, "SCHEMA_VERSION", "9999")
        yield


async def version_of(url: str) -> str:
    database = Database(read_address(url), 5)
    async with database.reading() as connection:
        found = (await connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}"))).scalar_one()
    await database.close()
    return str(found)


def test_the_last_revision_is_the_version_that_the_code_expects() -> None:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_heads() == [SCHEMA_VERSION]
    assert SCHEMA_VERSION in known_versions()


async def test_migrating_gives_the_tables_that_the_code_uses(url: str) -> None:
    async with LedgerStore.open(url) as store, store._database.reading() as connection:
        differences = await connection.run_sync(
            lambda plain: compare_metadata(
                MigrationContext.configure(
                    plain, opts={"version_table": VERSION_TABLE, "compare_server_default": False}
                ),
                metadata,
            )
        )
        assert differences == []


async def test_the_ledger_may_share_a_database_with_prefects_own_tables(url: str) -> None:
    async with LedgerStore.open(url) as store, store._database.reading() as connection:
        names = await connection.run_sync(lambda plain: sa.inspect(plain).get_table_names())
    assert all(name.startswith("whatsapp_") for name in names)


async def test_many_that_open_a_new_ledger_at_once_make_it_once(url: str) -> None:
    async def open_it() -> int:
        async with LedgerStore.open(url) as store:
            return len(await store.broadcasts())

    assert await asyncio.gather(*(open_it() for _ in range(6))) == [0] * 6
    assert await version_of(url) == SCHEMA_VERSION


async def test_a_later_version_brings_it_forward_and_keeps_every_row(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LedgerStore.open(url) as store:
        record = await begin(store, 500)
    with a_later_version(tmp_path, monkeypatch):
        async with LedgerStore.open(url) as store:
            assert (await store.counts(record))[SendState.QUEUED] == 500
            async with store._database.reading() as connection:
                found = (await connection.execute(sa.text("SELECT DISTINCT country FROM whatsapp_sends"))).scalars()
                assert found.all() == ["US"]
            assert await store.plan(record, []) == 0
    assert await version_of(url) == "9999"


async def test_a_migration_that_fails_leaves_the_ledger_as_it_was(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LedgerStore.open(url) as store:
        record = await begin(store, 5)
    with (
        a_later_version(tmp_path, monkeypatch, then='op.execute("UPDATE no_such_table SET x = 1")'),
        pytest.raises(LedgerError, match="could not be migrated"),
    ):
        async with LedgerStore.open(url):
            pass
    assert await version_of(url) == SCHEMA_VERSION
    async with LedgerStore.open(url) as store:
        assert (await store.counts(record))[SendState.QUEUED] == 5
        async with store._database.reading() as connection:
            columns = await connection.run_sync(lambda plain: sa.inspect(plain).get_columns("whatsapp_sends"))
    assert "country" not in {column["name"] for column in columns}


async def test_a_ledger_of_a_newer_version_is_refused_and_not_touched(url: str) -> None:
    async with LedgerStore.open(url) as store:
        await begin(store, 5)
        async with store._database.writing() as connection:
            await connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9998'"))
    with pytest.raises(LedgerError, match=r"newer version of prefect-whatsapp \(schema 9998"):
        async with LedgerStore.open(url):
            pass
    assert await version_of(url) == "9998"


async def test_a_look_says_what_is_there_and_changes_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with LedgerStore.open(url) as store:
        await begin(store, 5)
    assert await look(url, patience_seconds=5) == Seen(SCHEMA_VERSION, broadcasts=1)
    with a_later_version(tmp_path, monkeypatch):
        monkeypatch.setattr(ledger_look, "SCHEMA_VERSION", "9999")
        seen = await look(url, patience_seconds=5)
        assert (seen, seen.is_current) == (Seen(SCHEMA_VERSION), False)
    assert await version_of(url) == SCHEMA_VERSION


async def test_opening_what_is_up_to_date_needs_no_alembic(url: str) -> None:
    async with LedgerStore.open(url):
        pass
    script = """
import asyncio, sys
from prefect_whatsapp.ledger import LedgerStore

async def main():
    async with LedgerStore.open(sys.argv[1]):
        pass

asyncio.run(main())
assert not [name for name in sys.modules if name.partition(".")[0] == "alembic"]
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, url, cwd="/", stderr=subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_nothing_is_done_twice(url: str) -> None:
    database = Database(read_address(url), 5)
    await migrate(database)
    await migrate(database)
    await database.close()
    assert await version_of(url) == SCHEMA_VERSION


async def test_rows_of_the_first_schema_get_their_account_and_none_is_dropped(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it has one person in two spellings: both rows stay, and neither is planned again."""
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    first = Path(migrations.__file__).parent / "versions" / "0001_first.py"
    (versions / first.name).write_text(first.read_text())
    long, short, other = "+55" + "11" + "9" + "90000001", "+55" + "11" + "90000001", "+16505550100"
    with monkeypatch.context() as earlier:
        earlier.setattr(migrations, "__file__", str(tmp_path / "migrations" / "__init__.py"))
        earlier.setattr(migrations, "SCHEMA_VERSION", "0001")
        database = Database(read_address(url), 5)
        await migrate(database)
        async with database.writing() as connection:
            columns = "id, name, kind, provider, account, content, content_label, created_at"
            values = "'b1', 'weekly', 'audio', 'graph', '100200300', 'd1f0', '', '2026-01-01 00:00:00'"
            await connection.execute(sa.text(f"INSERT INTO whatsapp_broadcasts ({columns}) VALUES ({values})"))
            for number in (long, short, other):
                row = sa.text("INSERT INTO whatsapp_sends (broadcast, recipient) VALUES (1, :number)")
                await connection.execute(row.bindparams(number=number))
        await database.close()
    async with LedgerStore.open(url) as store:
        record = await store.find_broadcast("weekly")
        assert record is not None
        assert [row.recipient async for row in store.rows(record)] == [long, short, other]
        assert await store.plan(record, [Recipient(to=number) for number in (short, long, other)]) == 0
