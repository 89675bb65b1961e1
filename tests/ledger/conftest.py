"""A ledger to test with, on each of the two databases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from postgres import Postgres
from prefect_whatsapp.ledger import LedgerStore


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty ledger."""
    if request.param == "sqlite":
        return str(tmp_path / "new" / "ledger.db")
    server: Postgres = request.getfixturevalue("postgres")
    return server.empty_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[LedgerStore]:
    """An open ledger."""
    async with LedgerStore.open(url, patience_seconds=10) as opened:
        yield opened
