"""Two Prefect servers that are one, by `replicas.sh`, PostgreSQL and Redis: a broadcast at one is seen at either."""

import asyncio
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from postgres import Postgres
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_whatsapp.sandbox.processes import free_port
from prefect_whatsapp.sandbox.samples import write_recipients
from prefect_whatsapp.sandbox.server import RunningSandbox
from senders import sender_of

SCRIPT = Path(__file__).resolve().parents[2] / "deployments" / "replicas" / "replicas.sh"
PEOPLE = 100

pytestmark = [
    pytest.mark.ui,
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(not importlib.util.find_spec("prefect_redis"), reason="prefect-redis is not installed"),
    pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed (Debian: redis-server)"),
]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Redis server of the tests' own."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, cwd=tmp_path_factory.mktemp("redis"), stdout=subprocess.DEVNULL) as server:
        yield port
        server.terminate()


@pytest.fixture(scope="module")
def replicas(redis: int, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The addresses of two replicas' APIs."""
    state = tmp_path_factory.mktemp("replicas")
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "STATE": str(state),
        "PORT": str(_two_free_ports()),
        "PREFECT_HOME": str(state / "home"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.create_database("prefect"),
        "PREFECT_REDIS_MESSAGING_URL": f"redis://127.0.0.1:{redis}/0",
        "PREFECT_SERVER_DOCKET_URL": f"redis://127.0.0.1:{redis}/1",
    }

    def run(*what: str) -> str:
        done = subprocess.run([SCRIPT, *what], env=environment, capture_output=True, text=True, timeout=150)
        assert not done.returncode, done.stderr + done.stdout
        return done.stdout

    try:
        yield run("start", "2").split()
    finally:
        run("stop")
        assert not list(state.glob("*.pid"))


def _two_free_ports() -> int:
    """A free port whose next one is free too."""
    while True:
        port = free_port()
        with socket.socket() as next_one:
            if next_one.connect_ex(("127.0.0.1", port + 1)):
                return port


async def test_a_broadcast_at_one_replica_is_recorded_whole_at_either(
    replicas: list[str], sandbox: RunningSandbox, audio_samples: Path, tmp_path: Path
) -> None:
    assert len(replicas) == 2
    # In a process of its own: Prefect's worker for events stays with the first server that a process speaks to.
    people = write_recipients(tmp_path / "list.csv", PEOPLE)
    with temporary_settings({PREFECT_API_URL: replicas[0]}):
        await sender_of("graph", sandbox.url).asave("replicas", overwrite=True)
    command = ["broadcast", "replicas", "--sender", "graph/replicas", "--recipients", str(people)]
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "prefect_whatsapp.cli", *command, "--audio", str(audio_samples / "speech_voice.ogg")],
        env={**os.environ, "PREFECT_API_URL": replicas[0], "PREFECT_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not done.returncode, done.stderr
    assert sandbox.truth()["accepted_total"] == PEOPLE
    body = {"task_runs": {"name": {"like_": "send-"}, "state": {"type": {"any_": ["COMPLETED"]}}}}
    shown: list[Any] = []
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        for _ in range(120):
            shown = [(await client.post(f"{api}/task_runs/count", json=body)).json() for api in replicas]
            if shown == [PEOPLE, PEOPLE]:
                return
            await asyncio.sleep(0.5)
    raise AssertionError(f"the replicas show {shown} of {PEOPLE} task runs")
