"""A ledger to test with, on each of the two databases."""

import itertools
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
from postgres import NOT_FOUND, Postgres, find_binaries
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore
from prefect_whatsapp.models import Recipient

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for all tests of this folder; each test has a database of its own."""
    if find_binaries() is None:
        pytest.skip(NOT_FOUND)
    server = Postgres()
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
    return server.create_database(f"ledger_{os.getpid()}_{next(_numbers)}")


@pytest.fixture
async def store(url: str) -> AsyncIterator[LedgerStore]:
    """An open ledger."""
    async with LedgerStore.open(url, patience_seconds=10) as opened:
        yield opened


def people(count: int, start: int = 0) -> list[Recipient]:
    """So many recipients, all different."""
    return [Recipient.model_construct(to=f"+1650555{number:06d}") for number in range(start, start + count)]


async def begin(store: LedgerStore, count: int = 0, name: str = "weekly") -> BroadcastRecord:
    """Begin a broadcast to so many."""
    record = await store.start_broadcast(
        name,
        kind="audio",
        provider="graph",
        account="100200300",
        content="d1f0" * 16,
        content_label="s3://b/weekly.mp3",
    )
    chunk: Sequence[Recipient] = people(count)
    for first in range(0, count, 2000):
        await store.plan(record, chunk[first : first + 2000])
    return record
