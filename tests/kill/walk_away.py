"""`make walk-away`: broadcasts whose flow and worker are killed at random moments, and that nobody presses Retry for.

Each round starts a broadcast by a worker, kills with SIGKILL, starts a new worker and touches nothing else; the automations
of deployments/automations run it again. Several rounds go side by side on one Prefect server, each with a work pool of its
own. At the end what the simulated service accepted is compared with the ledger.

    python tests/kill/walk_away.py --output docs/figures                 50 rounds, and four or five of each other kind
    python tests/kill/walk_away.py --what server --rounds 5              the Prefect server is killed too
    python tests/kill/walk_away.py --what off --rounds 4                 and all of them are off for eight minutes
    python tests/kill/walk_away.py --what stop --rounds 5                stopped for two minutes in the place of killed
    python tests/kill/walk_away.py --database postgresql                 Prefect's database and the ledger on PostgreSQL
    python tests/kill/walk_away.py --first 8 --rounds 8 --output …       rounds 8 to 15, beside those that are there
"""

import argparse
import asyncio
import itertools
import json
import os
import platform
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
os.environ.update(PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1")

from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.models import ACCEPTED_STATES, SendState
from prefect_whatsapp.sandbox.samples import sample_numbers
from walk_away_stage import Database, Stage, descendants, send_signal

What = Literal["both", "flow", "server", "off", "stop"]
# Of `make walk-away`.
ROUNDS: Mapping[What, int] = {"both": 50, "server": 5, "off": 4, "stop": 5}
SAID: Mapping[What, str] = {
    "both": "flow and worker",
    "flow": "the flow",
    "server": "flow, worker and the Prefect server",
    "off": "flow, worker and the Prefect server, all of them off for eight minutes",
    "stop": "flow and worker stopped for two minutes",
}
STOPPED_SECONDS = 120.0
# Longer than the five minutes after which crash-when-still-silent.yaml acts, and the minute for which a server that was
# not told otherwise keeps what an automation waited for.
OFF_SECONDS = 480.0
GONE_SECONDS = 60.0
# Of each lane while all of them send: 120 people take 24 s, and the latest kill is well within.
MESSAGES_PER_SECOND, LATEST_MOMENT = 5.0, 10.0


@dataclass
class Round:
    """What became of one round.

    Attributes:
        number: Its number.
        what: What was killed.
        database: Of Prefect and of the ledger.
        moment: Seconds from the flow's start to the kill.
        resumed: Seconds from the kill until the run ran again; None where it did not, as where it had ended before.
        ended: Seconds from the kill to its end.
        state: How the flow run ended, as the type of its state.
        runs: How often it was started.
        counts: The ledger's rows by state.
        unknown_accepted: Of the unknown, how many the service had accepted.
        twice: People who got it more than once.
        forgotten: People who did not get it and are not named as unknown either.
    """

    number: int
    what: What
    database: Database
    moment: float = 0.0
    resumed: float | None = None
    ended: float = 0.0
    state: str = ""
    runs: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    unknown_accepted: int = 0
    twice: int = 0
    forgotten: int = 0

    @property
    def passed(self) -> bool:
        """Whether it ended well, nobody got it twice, and nobody was forgotten."""
        return self.state == "COMPLETED" and not self.twice and not self.forgotten


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
    told = Round(number, what, stage.database)
    list_file = stage.folder / f"list-{number}.csv"
    list_file.write_text("phone\n" + "\n".join(people) + "\n")
    name = f"walk-away-{number}"
    workers = [stage.start_worker(lane)]
    try:
        run = stage.start_run(lane, name, list_file)
        stage.reached(run, "RUNNING", "COMPLETED", "FAILED", "CRASHED")
        if what == "off":
            stage.all_run.wait()
        told.moment = round(dice.uniform(0.0, LATEST_MOMENT), 2)
        time.sleep(told.moment)
        killed = time.time()
        tree = descendants(workers[0].pid)
        if what == "stop":
            send_signal([*tree, workers[0].pid], signal.SIGSTOP)
            workers.append(stage.start_worker(lane))
            time.sleep(STOPPED_SECONDS)
            send_signal([*tree, workers[0].pid], signal.SIGCONT)
        else:
            send_signal(tree if what == "flow" else [workers[0].pid, *tree], signal.SIGKILL)
            if what in ("server", "off") and lane == 0:  # all lanes have the same one
                stage.kill_server(OFF_SECONDS if what == "off" else 2.0)
            elif what == "off":
                time.sleep(OFF_SECONDS)
            if what != "flow":
                workers.append(stage.start_worker(lane))
        shown = stage.reached(run, "COMPLETED", "FAILED", "CANCELLED")
        told.state, told.runs, told.ended = shown["state_type"], shown["run_count"], round(time.time() - killed, 1)
        again = [moment for moment in stage.starts(run) if moment > killed]
        told.resumed = round(again[0] - killed, 1) if again else None
        if (
            what == "stop"
        ):  # the process that came back sends beside its successor: it is to be looked at when it has ended
            _wait_until_gone(tree)
    finally:
        for worker in workers:
            send_signal([*descendants(worker.pid), worker.pid], signal.SIGKILL)
            worker.wait()
    _compare(stage, name, people, told)
    return told


def _wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.5)


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
        told.unknown_accepted += known is SendState.UNKNOWN and got == 1
        # Accepted and not got, or got and held for unsent, would both be lies; unknown is named either way.
        told.forgotten += known is None or (known is not SendState.UNKNOWN and (known in ACCEPTED_STATES) != (got == 1))


def run_rounds(
    rounds: int,
    *,
    what: What = "both",
    database: Database = "sqlite",
    lanes: int = 4,
    first: int = 0,
    recipients: int = 120,
    seed: int = 1,
) -> list[Round]:
    """Run the rounds, several side by side.

    Args:
        rounds: How many.
        what: What is killed: `both` flow and worker, the `flow` alone, both and the `server`, or all three, which stay `off`;
            or flow and worker `stop`.
        database: Of Prefect and of the ledger.
        lanes: How many side by side.
        first: Number of the first one.
        recipients: People a round.
        seed: Of the moments; a round's moment depends on it and on the round's number alone.
    """
    numbers = sample_numbers(rounds * recipients)
    lists = [list(itertools.islice(numbers, recipients)) for _ in range(rounds)]
    lanes = rounds if what == "off" else min(lanes, rounds)
    with tempfile.TemporaryDirectory(prefix="walk-away-") as folder:
        stage = Stage(Path(folder), lanes=lanes, rate=MESSAGES_PER_SECOND * lanes, database=database)
        with stage.up():

            def lane_of(lane: int) -> list[Round]:
                done = []
                for number in range(lane, rounds, lanes):
                    dice = random.Random(f"{seed}-{what}-{database}-{first + number}")  # moments, not secrets
                    done.append(one_round(stage, lane, first + number, what, lists[number], dice))
                    print(_line(done[-1]), flush=True)
                return done

            with ThreadPoolExecutor(lanes) as pool:
                played = list(itertools.chain(*pool.map(lane_of, range(lanes))))
            if not all(each.passed for each in played):
                kept = tempfile.mkstemp(prefix=f"walk-away-{what}-{first}-", suffix=".log")[1]
                shutil.copy(stage.folder / "prefect" / "server.log", kept)
                print(f"the Prefect server's log is kept as {kept}")
            return played


def _line(told: Round) -> str:
    resumed = f"ran again after {told.resumed:5.1f} s" if told.resumed is not None else "did not run again"
    return (
        f"{'ok  ' if told.passed else 'FAIL'} {told.number:3d} {told.what:6s} at {told.moment:5.2f} s, {resumed}, "
        f"{told.state} after {told.ended:5.1f} s, {told.runs} runs, {told.counts}, twice {told.twice}, "
        f"forgotten {told.forgotten}"
    )


def table(rounds: Sequence[Round], seed: int) -> str:
    """Say in a table what came of it, a line for each of what was killed and each database."""
    lines = [
        "# Walk away",
        "",
        "By `make walk-away`: what is killed is killed with SIGKILL at a random moment of a run of 120 recipients; a new",
        "worker is started, and nothing else is touched. *resumed* is the time from the kill until the same flow run ran",
        "again; a round that completed and did not run again had ended before the kill.",
        "",
        "| killed | database | rounds | completed | ran again | resumed, median (at most) | recipients | unknown "
        "| of these accepted | twice | forgotten |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    groups: dict[tuple[What, Database], list[Round]] = {}
    for each in sorted(rounds, key=lambda each: ([*SAID].index(each.what), each.database != "sqlite")):
        groups.setdefault((each.what, each.database), []).append(each)
    for (what, database), group in groups.items():
        again = [each.resumed for each in group if each.resumed is not None]
        middle = f"{statistics.median(again):.0f} s ({max(again):.0f} s)" if again else "–"
        lines.append(
            f"| {SAID[what]} | {database} | {len(group)} | {sum(each.state == 'COMPLETED' for each in group)} | {len(again)} "
            f"| {middle} | {sum(sum(each.counts.values()) for each in group):,} "
            f"| {sum(each.counts.get('unknown', 0) for each in group)} | {sum(each.unknown_accepted for each in group)} "
            f"| {sum(each.twice for each in group)} | {sum(each.forgotten for each in group)} |"
        )
    broken = sum(not each.passed for each in rounds)
    lines += [
        "",
        f"{len(rounds)} rounds, seed {seed}, Python {platform.python_version()}, {os.cpu_count()} cores: {broken} rounds broke "
        "a promise.",
    ]
    return "\n".join(lines) + "\n"


def keep(rounds: Sequence[Round], seed: int, folder: Path) -> list[Round]:
    """Write the rounds beside those that the folder has of the same seed; gives them all."""
    file = folder / "walk-away.json"
    folder.mkdir(parents=True, exist_ok=True)
    known = json.loads(file.read_text()) if file.exists() else {"seed": seed, "rounds": []}
    kept = [Round(**each) for each in known["rounds"]] if known["seed"] == seed else []
    by_key = {(each.what, each.database, each.number): each for each in [*kept, *rounds]}
    everything = [by_key[key] for key in sorted(by_key)]
    file.write_text(json.dumps({"seed": seed, "rounds": [asdict(each) for each in everything]}, indent=1) + "\n")
    (folder / "walk-away.md").write_text(table(everything, seed))
    return everything


def main() -> None:
    """Run the rounds and say what came of them; exit status 1 where one did not pass."""
    parser = argparse.ArgumentParser(prog="make walk-away", description=__doc__)
    parser.add_argument("--what", choices=get_args(What), help="only this; both, server, off and stop without it")
    parser.add_argument("--rounds", type=int, default=0, help=f"of each; {dict(ROUNDS)} without it")
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--database", choices=get_args(Database), default="sqlite")
    parser.add_argument("--lanes", type=int, default=4, help="rounds side by side")
    parser.add_argument("--recipients", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="folder for walk-away.json and walk-away.md")
    given = parser.parse_args()
    done: list[Round] = []
    for what in [given.what] if given.what else ROUNDS:
        done += run_rounds(
            given.rounds or ROUNDS.get(what, 5),
            what=what,
            database=given.database,
            lanes=given.lanes,
            first=given.first,
            recipients=given.recipients,
            seed=given.seed,
        )
    print(table(keep(done, given.seed, given.output) if given.output else done, given.seed))
    sys.exit(not all(each.passed for each in done))


if __name__ == "__main__":
    main()
