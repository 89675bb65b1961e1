"""Broadcasts as processes, on the tests' own Prefect server and sandbox."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kill_processes import Runner
from postgres import NOT_FOUND, Postgres, find_binaries
from prefect_whatsapp.sandbox.prefect_server import Process
from prefect_whatsapp.sandbox.server import RunningSandbox


@pytest.fixture(scope="session")
def runner(_server: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Starts broadcasts in processes of their own."""
    with Runner(tmp_path_factory.mktemp("runs"), f"{_server.url}/api") as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of the tests' own."""
    if find_binaries() is None:
        pytest.skip(NOT_FOUND)
    server = Postgres().start()
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty ledger on each of the two databases."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    server: Postgres = request.getfixturevalue("postgres")
    return server.create_database(f"drill_{uuid.uuid4().hex[:8]}")


@pytest.fixture
def arguments(sandbox: RunningSandbox, audio_samples: Path, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Arguments of a broadcast for `Runner.start`: to so many, at twenty milliseconds an answer."""
    from prefect_whatsapp.sandbox.samples import sample_numbers

    sandbox.faults(kind="latency", seconds=0.02)

    def make(ledger_url: str, count: int = 80, **others: Any) -> dict[str, Any]:
        return {
            "broadcast": request.node.name[:60],
            "url": sandbox.url,
            "audio": str(audio_samples / "speech_voice.ogg"),
            "recipients": [*sample_numbers(count)],
            "ledger": {"url": ledger_url, "patience_seconds": 20},
            "in_flight": 8,
            **others,
        }

    return make
