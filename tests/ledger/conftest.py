"""A ledger to test with, on each of the two databases."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from postgres import NOT_FOUND, Postgres, find_binaries
from prefect_whatsapp.ledger import LedgerStore


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for all tests of this folder; each test finds its database empty."""
    if find_binaries() is None:
        pytest.skip(NOT_FOUND)
    server = Postgres(settings=("fsync=off",))
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty ledger."""
    if request.param == "sqlite":
        return str(tmp_path / "book" / "ledger.db")
    server: Postgres = request.getfixturevalue("postgres")
    return server.empty_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[LedgerStore]:
    """An open ledger."""
    async with LedgerStore.open(url, patience_seconds=10) as opened:
        yield opened
