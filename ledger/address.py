"""Where a ledger is: the setting of a `Ledger` block, read."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from ..models.errors import LedgerError
from ..models.hosts import is_private

# The ledger of whoever names none: set where a machine or a container forgets its own files, and by the test plugin.
LEDGER_VARIABLE = "PREFECT_WHATSAPP_LEDGER"


@dataclass(frozen=True)
class Address:
    """Where a ledger is.

    Attributes:
        url: For SQLAlchemy, with its password; never shown.
        path: The file of an SQLite ledger; None on PostgreSQL.
        shown: What may be printed.
        verified: Whether the server has to prove by a certificate that it is the host of that name; what the URL itself
            says of TLS goes before.
        embedded: Whether nobody said where it is to be, so that it is under Prefect's home; False for that of a test harness.
    """

    url: URL
    path: Path | None
    shown: str
    verified: bool = False
    embedded: bool = False


def read_address(url: str = "") -> Address:
    """Read the setting of a `Ledger` block.

    Args:
        url: Empty for what `PREFECT_WHATSAPP_LEDGER` says in the environment, else SQLite under `PREFECT_HOME`; a path;
            `sqlite+aiosqlite:///…`; `postgresql+asyncpg://…`, also with `postgresql://` or `postgres://` before it, as
            hosting services write it. A host beyond one's own network has to prove its name by a certificate, as with
            `sslmode=verify-full`, unless the URL names another `sslmode`.

    Returns:
        The address.

    Raises:
        LedgerError: Not an address of either database; the text holds no password.

    Example:
        >>> read_address("postgres://pack:secret@db.example:5433/ledger").shown
        'postgresql://db.example:5433/ledger'
    """
    text = url.strip() or os.environ.get(LEDGER_VARIABLE, "").strip()
    url = ""  # here and below: a traceback with locals shows what is in a frame
    if not text:
        home, harness = _embedded_home()
        return replace(_file(home / "prefect-whatsapp" / "ledger.db"), embedded=not harness)
    if "://" not in text:
        return _file(Path(text))
    parsed, text = _parsed(text), ""
    if parsed is None:
        raise LedgerError(
            "the ledger's address can't be read: write postgresql+asyncpg://user:password@host:port/database"
            " (special characters of a password percent-encoded) or sqlite+aiosqlite:////path/to/file"
        )
    if parsed.drivername in ("sqlite", "sqlite+aiosqlite"):
        if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
            raise LedgerError("the ledger needs a file that outlives the process: sqlite+aiosqlite:////path/to/file")
        return _file(Path(parsed.database))
    if parsed.drivername in ("postgresql", "postgres", "postgresql+asyncpg", "postgres+asyncpg"):
        return _postgres(parsed)
    raise LedgerError(
        f"the ledger can't live in {parsed.drivername}: use PostgreSQL (postgresql+asyncpg://…) or SQLite (a path)"
    )


def _parsed(text: str) -> URL | None:
    """The URL, which hides its password in print; None where it is none, and nothing left of what said so."""
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        return None


def _embedded_home() -> tuple[Path, bool]:
    """`PREFECT_HOME`; within `prefect_test_harness`, the folder of its database, so that a test never meets the real one.

    Returns:
        The folder, and whether it is a test harness's.
    """
    if "prefect" not in sys.modules and (home := os.environ.get("PREFECT_HOME", "").strip()):
        return Path(home), False  # what Prefect would say too; a command that needs no more of it saves 1.3 s
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    connection = settings.server.database.connection_url
    database = Path(connection.get_secret_value().rpartition("sqlite+aiosqlite:///")[2]) if connection else Path()
    # prefect.testing.utilities.prefect_test_harness leaves PREFECT_HOME as it is and names its database so.
    harness = database.name == "prefect-test.db"
    return database.parent if harness else Path(settings.home), harness


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
    name = host if isinstance(host, str) else host[0]
    socket = not name or name.startswith("/")
    verified = "ssl" not in query and not socket and not is_private(name)
    return Address(url, None, f"postgresql://{name}{port}/{parsed.database}", verified)
