"""A ledger to test with, on each of the two databases; and, in CI, encrypted."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from postgres import Postgres
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.ledger.vault import KEY_VARIABLE


@pytest.fixture(params=["sqlite", "postgres", pytest.param("encrypted", marks=pytest.mark.ci)])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty ledger."""
    if request.param == "encrypted":
        if request.node.path.name in ("test_migrations.py", "test_database.py", "test_encryption.py"):
            pytest.skip("it makes ledgers with keys, or with none, by itself")
        monkeypatch.setenv(KEY_VARIABLE, base64.b64encode(bytes(range(32))).decode())
    if request.param != "postgres":
        return str(tmp_path / "new" / "ledger.db")
    server: Postgres = request.getfixturevalue("postgres")
    return server.empty_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[LedgerStore]:
    """An open ledger."""
    async with LedgerStore.open(url, patience_seconds=10) as opened:
        yield opened
