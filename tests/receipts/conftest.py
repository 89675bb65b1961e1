"""A ledger to test with, on each of the two databases."""

from pathlib import Path

import pytest
from postgres import Postgres


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty ledger."""
    if request.param == "sqlite":
        return str(tmp_path / "new" / "ledger.db")
    server: Postgres = request.getfixturevalue("postgres")
    return server.empty_database()
