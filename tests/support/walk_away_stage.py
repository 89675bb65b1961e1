"""What the rounds of `make walk-away` play on: a Prefect server with the automations, a sandbox, a ledger, and workers."""

import asyncio
import contextlib
import datetime
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import yaml
from postgres import Postgres
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.cli.prefect_server import SERVER_SETTINGS, start_prefect_server
from prefect_whatsapp.sandbox.processes import QUIET, Process, free_port
from prefect_whatsapp.sandbox.sender import sandbox_sender
from prefect_whatsapp.sandbox.server import RunningSandbox

ROOT = Path(__file__).resolve().parents[2]
AUDIO = ROOT / "tests" / "data" / "audio" / "speech_voice.ogg"
Database = Literal["sqlite", "postgresql"]
ROUND_SECONDS = 900.0  # on an idle machine a round takes 150
WORKER_SECONDS = 2.0


class Stage:
    """One Prefect server, one sandbox, one ledger, and a work pool and a deployment for each lane.

    Args:
        folder: Where everything is kept.
        lanes: Rounds side by side.
        rate: Messages a second, of all lanes together.
        database: Of Prefect and of the ledger.
    """

    def __init__(self, folder: Path, *, lanes: int, rate: float, database: Database = "sqlite") -> None:
        self.folder, self.lanes, self.rate, self.database = folder, lanes, rate, database
        self.ledger = str(folder / "ledger.db")
        self.port = free_port()
        self.all_run = threading.Barrier(lanes, timeout=300)  # for who waits until every lane's run has started
        self._settings: dict[str, str] = {}
        self.api = f"http://127.0.0.1:{self.port}/api"
        self.sandbox = RunningSandbox()
        self.server: Process | None = None
        self._home = folder / "client"
        self._client = httpx.Client(trust_env=False, timeout=60, base_url=self.api)

    @property
    def environment(self) -> dict[str, str]:
        """Of whatever talks to the server."""
        return {
            **os.environ,
            **QUIET,
            "PREFECT_HOME": str(self._home),
            "PREFECT_API_URL": self.api,
            "PREFECT_WORKER_QUERY_SECONDS": str(int(WORKER_SECONDS)),
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": SERVER_SETTINGS["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"],
        }

    @contextlib.contextmanager
    def up(self) -> Iterator["Stage"]:
        """Start everything, and stop it afterwards."""
        with contextlib.ExitStack() as stack:
            if self.database == "postgresql":
                postgres = stack.enter_context(Postgres())
                self.ledger = postgres.create_database("ledger")
                self._settings["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = postgres.create_database("prefect")
            self.sandbox = stack.enter_context(self.sandbox)
            stack.callback(lambda: self.server and self.server.stop())
            self.start_server()
            with temporary_settings({PREFECT_API_URL: self.api}):
                asyncio.run(self._save_blocks())
            self._deploy()
            yield self

    def start_server(self) -> None:
        """Start the Prefect server, or start it again on what it has kept."""
        self.server = start_prefect_server(self.folder / "prefect", port=self.port, settings=self._settings)

    def kill_server(self, seconds: float) -> None:
        """Kill the Prefect server, and start it again after so many seconds."""
        assert self.server
        os.killpg(self.server.popen.pid, signal.SIGKILL)
        self.server.popen.wait()
        time.sleep(seconds)
        self.start_server()

    async def _save_blocks(self) -> None:
        sender = sandbox_sender("graph", self.sandbox.url)
        await sender.model_copy(update={"messages_per_second": self.rate}).asave("walk-away", overwrite=True)
        await Ledger(url=self.ledger).asave("walk-away", overwrite=True)

    def _deploy(self) -> None:
        deployments = [
            {
                "name": f"lane-{lane}",
                "entrypoint": "prefect_whatsapp.flows.broadcast_audio",
                "work_pool": {"name": f"lane-{lane}"},
                "pull": [],
            }
            for lane in range(self.lanes)
        ]
        (self.folder / "prefect.yaml").write_text(yaml.safe_dump({"name": "walk-away", "deployments": deployments}))
        for lane in range(self.lanes):
            self._run("-m", "prefect", "work-pool", "create", f"lane-{lane}", "--type", "process")
        self._run("-m", "prefect", "--no-prompt", "deploy", "--all")
        named = [f"--deployment=broadcast-audio/lane-{lane}" for lane in range(self.lanes)]
        self._run(str(ROOT / "deployments" / "automations" / "apply.py"), "--walk-away", *named)

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")

    def start_worker(self, lane: int) -> subprocess.Popen[bytes]:
        """Start a worker of a lane, in a session of its own."""
        log = (self.folder / f"worker-{lane}.log").open("ab")
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", f"lane-{lane}", "--type", "process"]
        return subprocess.Popen(
            command, env=self.environment, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
        )

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask Prefect's API, for as long as its server is being started again."""
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = self._client.request(method, path, json=body)
                if answer.status_code != 503:
                    answer.raise_for_status()
                    return answer.json() if answer.content else None
            if time.monotonic() > deadline:
                raise SystemExit(f"the Prefect server does not answer {path}")
            time.sleep(0.5)

    def start_run(self, lane: int, name: str, people: Path) -> str:
        """Ask for a run of a lane's deployment; its id."""
        deployment = self.ask("GET", f"/deployments/name/broadcast-audio/lane-{lane}")["id"]
        reference = {
            slug: {"$ref": {"block_document_slug": f"whatsapp-{slug}/walk-away"}}
            for slug in ("graph-credentials", "ledger")
        }
        parameters = {
            "broadcast": name,
            "sender": reference["graph-credentials"],
            "ledger": reference["ledger"],
            "audio": str(AUDIO),
            "recipients": str(people),
        }
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.ask("POST", f"/deployments/{deployment}/create_flow_run", body)["id"])

    def reached(self, run: str, *types: str, seconds: float = ROUND_SECONDS) -> dict[str, Any]:
        """Wait until a flow run is in a state of one of these types; gives it as it is, also when that never was."""
        deadline = time.monotonic() + seconds
        while True:
            shown: dict[str, Any] = self.ask("GET", f"/flow_runs/{run}")
            given_up = shown["state_name"] == "NeedsAttention" or time.monotonic() > deadline
            if shown["state_type"] in types or given_up:
                return shown
            time.sleep(0.3)

    def starts(self, run: str) -> list[float]:
        """When a flow run began to run, each time."""
        states = self.ask("GET", f"/flow_run_states/?flow_run_id={run}")
        return sorted(
            datetime.datetime.fromisoformat(state["timestamp"]).timestamp()
            for state in states
            if state["type"] == "RUNNING"
        )


def descendants(pid: int) -> list[int]:
    """All that a process started, and they in turn; Linux only."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def send_signal(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to processes, of which some may have ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
