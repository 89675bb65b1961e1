"""Broadcasts as processes, on the tests' own Prefect server and sandbox."""

import asyncio
import itertools
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kill_aftermath import Aftermath, aftermath
from kill_processes import Runner
from postgres import Postgres, postgres_or_skip
from prefect_whatsapp.sandbox.processes import Process
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox

_names = itertools.count(1)


@pytest.fixture(scope="session")
def runner(_server: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Starts broadcasts in processes of their own."""
    with Runner(tmp_path_factory.mktemp("runs"), f"{_server.url}/api") as running:
        yield running


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of the tests' own."""
    with postgres_or_skip() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty ledger on each of the two databases."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    server: Postgres = request.getfixturevalue("postgres")
    return server.create_database(f"drill_{uuid.uuid4().hex[:8]}")


@pytest.fixture
def arguments(sandbox: RunningSandbox, audio_samples: Path) -> Callable[..., dict[str, Any]]:
    """Arguments of a broadcast for `Runner.start`: to so many, at thirty milliseconds an answer."""
    sandbox.faults(kind="latency", seconds=0.03)

    def make(
        ledger_url: str,
        count: int = 80,
        *,
        patience_seconds: float = 30,
        fields: dict[str, Any] | None = None,
        **scale: Any,
    ) -> dict[str, Any]:
        return {
            **({"fields": fields} if fields else {}),
            "broadcast": f"drill-{next(_names)}",
            "url": sandbox.url,
            "audio": str(audio_samples / "speech_voice.ogg"),
            "recipients": [*sample_numbers(count)],
            "ledger": {"url": ledger_url, "patience_seconds": patience_seconds},
            "scale": {"in_flight": 4, **scale},
        }

    return make


@pytest.fixture
def accepted(sandbox: RunningSandbox) -> Callable[[], int]:
    """How many messages the service has accepted so far."""
    return lambda: int(sandbox.truth(brief=True)["accepted_total"])


@pytest.fixture
def after(sandbox: RunningSandbox) -> Callable[[dict[str, Any]], Aftermath]:
    """What a broadcast with these arguments left behind."""

    def look(arguments: dict[str, Any]) -> Aftermath:
        url, name, people = arguments["ledger"]["url"], arguments["broadcast"], arguments["recipients"]
        return asyncio.run(aftermath(url, name, people, sandbox.truth()["accepted"]))

    return look
