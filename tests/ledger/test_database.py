"""The ledger's address, and what is said when it can't be used."""

import asyncio
import errno
import io
import socket
import ssl
import stat
import time
import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres import Postgres
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.ledger.address import Address, read_address
from prefect_whatsapp.ledger.database import Database
from prefect_whatsapp.models.errors import LedgerError
from pydantic import SecretStr
from rich.console import Console
from rich.traceback import Traceback as RichTraceback
from sqlalchemy.ext.asyncio import AsyncConnection

PASSWORD = "hunter2-canary"


@pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "postgresql", "postgres"])
def test_each_spelling_of_postgresql_is_asyncpg_and_shows_no_password(scheme: str) -> None:
    address = read_address(f"{scheme}://pack:se%2Fcret@db.example:5433/ledger?sslmode=require")
    assert address.url.drivername == "postgresql+asyncpg"
    assert address.url.password == "se/cret"
    assert address.url.query["ssl"] == "require"
    assert address.shown == "postgresql://db.example:5433/ledger"


def test_no_url_is_sqlite_under_prefect_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from prefect.settings import PREFECT_HOME, temporary_settings

    with temporary_settings({PREFECT_HOME: tmp_path}):
        assert read_address("").path == tmp_path / "prefect-whatsapp" / "ledger.db"


def test_a_path_and_an_sqlite_url_name_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    assert read_address(str(file)) == read_address(f"sqlite+aiosqlite:///{file}") == read_address(f"sqlite:///{file}")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://pack:hunter2@db/ledger", "can't live in mysql"),
        ("postgresql://pack:hunter2@db:port/ledger", "can't be read"),
        ("postgresql://pack:hunter2@db", "names no database"),
        ("sqlite+aiosqlite://", "needs a file"),
        ("sqlite+aiosqlite:///:memory:", "needs a file"),
        ("postgresql+psycopg://pack:hunter2@db/ledger", "can't live in postgresql+psycopg"),
    ],
)
def test_an_address_that_cannot_be_used_is_told_without_its_password(url: str, words: str) -> None:
    with pytest.raises(LedgerError) as raised:
        read_address(url)
    assert words in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "rest",
    [
        "127.0.0.1:1/x",
        "nowhere.invalid/x",
        "127.0.0.1:port/x",
        "127.0.0.1:1/x?foo=bar",
        "127.0.0.1:1",
        "127.0.0.1:1/x?ssl=nonsense",
    ],
)
@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
async def test_no_frame_of_a_failure_to_open_holds_the_password(scheme: str, rest: str) -> None:
    """A traceback with locals, such as rich's or an error tracker's, shows what is in the frames, the drivers' too."""
    given = SecretStr(f"{scheme}://pack:{PASSWORD}@{rest}")
    with pytest.raises(LedgerError) as raised:
        async with LedgerStore.open(given, patience_seconds=0):
            pass
    assert "self" in shown(raised.value), "locals are there"
    assert PASSWORD not in shown(raised.value)


async def test_no_frame_of_a_login_that_failed_or_a_write_that_failed_holds_a_secret(postgres: Postgres) -> None:
    url = postgres.empty_database()
    with pytest.raises(LedgerError, match="password authentication failed") as raised:
        async with LedgerStore.open(SecretStr(url.replace(postgres.password, PASSWORD)), patience_seconds=0):
            pass
    assert PASSWORD not in shown(raised.value)
    number = "+16505550123"
    async with LedgerStore.open(SecretStr(url), patience_seconds=0) as store:

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(sa.text("SELECT CAST(:number AS json)"), {"number": number})

        with pytest.raises(LedgerError) as raised:
            await store._database.transact("do it", work)
    assert number not in shown(raised.value)
    assert postgres.password not in shown(raised.value)


def shown(error: BaseException) -> str:
    """A traceback with locals, as the standard library and as rich write it, without the test's own frame."""
    assert error.__traceback__
    told = type(error), error, error.__traceback__.tb_next
    rich = Console(file=io.StringIO(), width=200)
    rich.print(RichTraceback.from_exception(*told, show_locals=True))
    assert isinstance(rich.file, io.StringIO)
    return "".join(traceback.TracebackException(*told, capture_locals=True).format()) + rich.file.getvalue()


async def test_a_file_ledger_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    async with LedgerStore.open(str(tmp_path / "new" / "ledger.db")):
        for file in (tmp_path / "new").iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


async def test_a_folder_that_cannot_be_made_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    began = time.monotonic()
    with pytest.raises(LedgerError, match="could not be opened"):
        async with LedgerStore.open(str(tmp_path / "file" / "ledger.db")):
            pass
    assert time.monotonic() - began < 30, "half of its patience"


async def test_a_file_that_is_no_ledger_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"ID3" * 4000)
    with pytest.raises(LedgerError, match="file is not a database"):
        async with LedgerStore.open(str(tmp_path / "ledger.db")):
            pass


async def test_a_database_that_never_answers_is_told_in_one_sentence_after_the_patience() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(LedgerError) as raised:
        async with LedgerStore.open(f"postgresql://pack:hunter2@127.0.0.1:{port}/ledger", patience_seconds=1):
            pass
    assert 0.3 < time.monotonic() - began < 30
    assert "could not be opened within 1 s" in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_a_wrong_password_or_database_is_told_at_once(postgres: Postgres) -> None:
    right = postgres.url()
    for url in (right.replace(postgres.password, "wrong-one"), postgres.url("no_such_database")):
        began = time.monotonic()
        with pytest.raises(LedgerError) as raised:
            async with LedgerStore.open(url, patience_seconds=30):
                pass
        assert time.monotonic() - began < 25
        assert "wrong-one" not in str(raised.value)
        assert "password authentication failed" in str(raised.value) or "does not exist" in str(raised.value)


async def test_patience_tries_again_what_passes_and_raises_what_does_not(tmp_path: Path) -> None:
    database = Database(Address(read_address(str(tmp_path / "x.db")).url, tmp_path / "x.db", "x.db"), 5)
    tries = 0

    async def refused_twice() -> str:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionRefusedError("not yet")
        return "here"

    async def forbidden() -> str:
        raise PermissionError(13, "not yours")

    assert await database.patiently("be reached", refused_twice) == "here"
    assert tries == 3
    with pytest.raises(LedgerError, match=r"the ledger at x\.db could not be reached: .*not yours"):
        await database.patiently("be reached", forbidden)
    await database.close()


async def test_cancelling_ends_the_patience(tmp_path: Path) -> None:
    database = Database(read_address(str(tmp_path / "x.db")), 60)

    async def never() -> None:
        raise ConnectionRefusedError

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await database.patiently("be reached", never)
    await database.close()


def test_within_prefects_test_harness_the_embedded_ledger_is_the_harness_own(tmp_path: Path) -> None:
    """It leaves PREFECT_HOME as it is: a test would write the real ledger, and the second run of it send nothing."""
    database = tmp_path / "harness" / "prefect-test.db"
    from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings

    with temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{database}"}):
        assert read_address("").path == database.parent / "prefect-whatsapp" / "ledger.db"


@pytest.mark.parametrize(
    ("host", "verified"),
    [
        ("db.example", True),
        ("db.example:5433", True),
        ("8.8.8.8", True),
        ("localhost", False),
        ("postgres", False),
        ("10.1.2.3", False),
        ("127.0.0.1:5433", False),
        ("[::1]", False),
        ("db.prod.internal", False),
        ("ledger.svc", False),
        ("", False),
    ],
)
def test_a_host_beyond_the_own_network_has_to_prove_its_name(host: str, verified: bool) -> None:
    assert read_address(f"postgresql://pack@{host}/ledger").verified is verified
    assert not read_address(f"postgresql://pack@{host}/ledger?sslmode=disable").verified


async def test_the_certificate_is_checked_against_the_machines_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    async def connect(*_: object, **options: object) -> None:
        asked.append(options)
        raise OSError(errno.ENOENT, "no such host")

    monkeypatch.setattr("asyncpg.connect", connect)
    with pytest.raises(LedgerError):
        async with LedgerStore.open("postgresql://pack@db.example/ledger", patience_seconds=0):
            pass
    context = asked[0]["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


async def test_a_database_of_another_program_is_refused_and_left_as_it_is(url: str) -> None:
    other = Database(read_address(url), 5)
    await other.engine.prepare()
    make = sa.text("CREATE TABLE customers (name TEXT)")
    await other.transact("make a table", lambda connection: connection.execute(make))
    with pytest.raises(LedgerError, match="is not a ledger: it holds tables of another program"):
        async with LedgerStore.open(url, patience_seconds=5):
            pass
    async with other.reading() as connection:
        assert await connection.run_sync(lambda plain: sa.inspect(plain).get_table_names()) == ["customers"]
    await other.close()
