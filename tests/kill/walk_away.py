"""`make walk-away`: broadcasts whose flow and worker are killed at random moments, and that nobody presses Retry for.

Each round starts a broadcast by a worker, kills with SIGKILL, starts a new worker and touches nothing else; the automations
of deployments/automations run it again. Several rounds go side by side on one Prefect server, each with a work pool of its
own. At the end what the simulated service accepted is compared with the ledger.

    python tests/kill/walk_away.py --rounds 50 --lanes 4 --output docs/figures
    python tests/kill/walk_away.py --rounds 5 --lanes 1 --what server    the Prefect server is killed too
    python tests/kill/walk_away.py --rounds 5 --what stop                stopped for two minutes in the place of killed
"""

import argparse
import asyncio
import contextlib
import datetime
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.cli.prefect_server import SERVER_SETTINGS, start_prefect_server
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.models import ACCEPTED_STATES, SendState
from prefect_whatsapp.sandbox.processes import QUIET, Process, free_port
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.sender import sandbox_sender
from prefect_whatsapp.sandbox.server import RunningSandbox

ROOT = Path(__file__).resolve().parents[2]
AUDIO = ROOT / "tests" / "data" / "audio" / "speech_voice.ogg"
What = Literal["both", "flow", "server", "stop"]
STOPPED_SECONDS = 120.0
ROUND_SECONDS = 420.0
WORKER_SECONDS = 2.0


@dataclass
class Round:
    """What became of one round.

    Attributes:
        number: Its number.
        what: What was killed.
        moment: Seconds from the flow's start to the kill.
        resumed: Seconds from the kill until the run ran again; None where it had ended before.
        ended: Seconds from the kill to its end.
        state: How the flow run ended.
        runs: How often it was started.
        counts: The ledger's rows by state.
        twice: People who got it more than once.
        forgotten: People who did not get it and are not named as unknown either.
    """

    number: int
    what: str
    moment: float = 0.0
    resumed: float | None = None
    ended: float = 0.0
    state: str = ""
    runs: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    twice: int = 0
    forgotten: int = 0

    @property
    def passed(self) -> bool:
        """Whether it ended well, nobody got it twice, and nobody was forgotten."""
        return self.state == "Completed" and not self.twice and not self.forgotten


class Stage:
    """One Prefect server, one sandbox, one ledger, and a work pool and a deployment for each lane.

    Args:
        folder: Where everything is kept.
        lanes: Rounds side by side.
        rate: Messages a second, of all lanes together.
        ledger: The ledger's address; empty for SQLite in the folder.
    """

    def __init__(self, folder: Path, *, lanes: int, rate: float, ledger: str = "") -> None:
        self.folder, self.lanes, self.rate = folder, lanes, rate
        self.ledger = ledger or str(folder / "ledger.db")
        self.port = free_port()
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
            self.sandbox = stack.enter_context(self.sandbox)
            stack.callback(lambda: self.server and self.server.stop())
            self.start_server()
            with temporary_settings({PREFECT_API_URL: self.api}):
                asyncio.run(self._save_blocks())
            self._deploy()
            yield self

    def start_server(self) -> None:
        """Start the Prefect server, or start it again on what it has kept."""
        self.server = start_prefect_server(self.folder / "prefect", port=self.port)

    def kill_server(self) -> None:
        """Kill the Prefect server, and start it again."""
        assert self.server
        os.killpg(self.server.popen.pid, signal.SIGKILL)
        self.server.popen.wait()
        time.sleep(2)
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
            if shown["state_type"] in types or time.monotonic() > deadline:
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


def one_round(stage: Stage, lane: int, number: int, what: What, people: list[str], dice: random.Random) -> Round:
    """Start, kill, start a worker, and wait.

    Args:
        stage: What is up.
        lane: Whose work pool.
        number: The round's number.
        what: What is killed.
        people: To whom the broadcast goes.
        dice: Throws the moment.
    """
    told = Round(number, what)
    list_file = stage.folder / f"list-{number}.csv"
    list_file.write_text("phone\n" + "\n".join(people) + "\n")
    name = f"walk-away-{number}"
    workers = [stage.start_worker(lane)]
    try:
        run = stage.start_run(lane, name, list_file)
        stage.reached(run, "RUNNING", "COMPLETED", "FAILED", "CRASHED")
        told.moment = round(dice.uniform(0.0, 2.0 + len(people) * stage.lanes / stage.rate), 2)
        time.sleep(told.moment)
        killed = time.time()
        tree = _descendants(workers[0].pid)
        if what == "stop":
            _signal([*tree, workers[0].pid], signal.SIGSTOP)
            workers.append(stage.start_worker(lane))
            time.sleep(STOPPED_SECONDS)
            _signal([*tree, workers[0].pid], signal.SIGCONT)
        else:
            _signal(tree if what == "flow" else [workers[0].pid, *tree], signal.SIGKILL)
            if what == "server":
                stage.kill_server()
            if what != "flow":
                workers.append(stage.start_worker(lane))
        shown = stage.reached(run, "COMPLETED", "FAILED", "CANCELLED")
        told.state, told.runs, told.ended = shown["state_name"], shown["run_count"], round(time.time() - killed, 1)
        again = [moment for moment in stage.starts(run) if moment > killed]
        told.resumed = round(again[0] - killed, 1) if again else None
    finally:
        for worker in workers:
            _signal([*_descendants(worker.pid), worker.pid], signal.SIGKILL)
            worker.wait()
    _compare(stage, name, people, told)
    return told


def _compare(stage: Stage, name: str, people: list[str], told: Round) -> None:
    """What the ledger says, and what the service accepted, of each person."""

    async def rows() -> dict[str, SendState]:
        async with LedgerStore.open(stage.ledger) as store:
            record = await store.find_broadcast(name)
            return {row.recipient: row.state async for row in store.rows(record)} if record else {}

    ledger = asyncio.run(rows())
    told.counts = dict(Counter(state.value for state in ledger.values()))
    for person in people:
        got = len(stage.sandbox.messages(recipient=person.lstrip("+")))
        known = ledger.get(person)
        told.twice += got > 1
        # Accepted and not got, or got and held for unsent, would both be lies; unknown is named either way.
        told.forgotten += known is None or (known is not SendState.UNKNOWN and (known in ACCEPTED_STATES) != (got == 1))


def _descendants(pid: int) -> list[int]:
    """All that a process started, and they in turn; Linux only."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def run_rounds(
    rounds: int, *, lanes: int = 4, what: What = "both", recipients: int = 120, seed: int = 1, ledger: str = ""
) -> list[Round]:
    """Run the rounds, several side by side.

    Args:
        rounds: How many.
        lanes: How many side by side.
        what: What is killed: `both` flow and worker, the `flow` alone, both and the `server`; or `stop`.
        recipients: People a round.
        seed: Of the moments.
        ledger: The ledger's address; empty for SQLite.
    """
    numbers = sample_numbers(rounds * recipients)
    lists = [list(itertools.islice(numbers, recipients)) for _ in range(rounds)]
    lanes = min(lanes, rounds)
    with tempfile.TemporaryDirectory(prefix="walk-away-") as folder:
        stage = Stage(Path(folder), lanes=lanes, rate=10.0 * lanes, ledger=ledger)
        with stage.up():

            def lane_of(lane: int) -> list[Round]:
                dice, done = random.Random(f"{seed}-{lane}"), []  # moments, not secrets
                for number in range(lane, rounds, lanes):
                    done.append(one_round(stage, lane, number, what, lists[number], dice))
                    print(_line(done[-1]), flush=True)
                return done

            with ThreadPoolExecutor(lanes) as pool:
                return sorted(itertools.chain(*pool.map(lane_of, range(lanes))), key=lambda each: each.number)


def _line(told: Round) -> str:
    resumed = "ended before the kill" if told.resumed is None else f"ran again after {told.resumed:5.1f} s"
    return (
        f"{'ok  ' if told.passed else 'FAIL'} {told.number:3d} {told.what:6s} at {told.moment:5.2f} s, {resumed}, "
        f"{told.state} after {told.ended:5.1f} s, {told.runs} runs, {told.counts}, twice {told.twice}, "
        f"forgotten {told.forgotten}"
    )


def summary(rounds: list[Round]) -> str:
    """Say in a few lines what came of it."""
    resumed = [each.resumed for each in rounds if each.resumed is not None]
    middle = f"{statistics.median(resumed):.0f} s (at most {max(resumed):.0f} s)" if resumed else "–"
    counts: Counter[str] = Counter()
    for each in rounds:
        counts.update(each.counts)
    return (
        f"{sum(each.passed for each in rounds)} of {len(rounds)} rounds passed; {len(resumed)} ran again, median time to "
        f"resume {middle}; {dict(counts)}; twice {sum(each.twice for each in rounds)}, "
        f"forgotten {sum(each.forgotten for each in rounds)}"
    )


def main() -> None:
    """Run the rounds and say what came of them; exit status 1 where one did not pass."""
    parser = argparse.ArgumentParser(prog="make walk-away", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--lanes", type=int, default=4, help="rounds side by side")
    parser.add_argument("--what", choices=("both", "flow", "server", "stop"), default="both")
    parser.add_argument("--recipients", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ledger", default="", help="postgresql+asyncpg://…; empty for SQLite")
    parser.add_argument("--output", type=Path, help="folder for walk-away.json")
    given = parser.parse_args()
    rounds = run_rounds(
        given.rounds,
        lanes=given.lanes,
        what=given.what,
        recipients=given.recipients,
        seed=given.seed,
        ledger=given.ledger,
    )
    print(summary(rounds))
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
        told = {"summary": summary(rounds), "rounds": [asdict(each) for each in rounds]}
        (given.output / f"walk-away-{given.what}.json").write_text(json.dumps(told, indent=1))
    sys.exit(not all(each.passed for each in rounds))


if __name__ == "__main__":
    main()
