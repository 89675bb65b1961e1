"""Rounds with receipts: answers are lost, the run is killed three times, webhooks come as they like; then all is known.

What must hold after each round, by the truth of the service and what its webhooks told the receiver:

- nobody was accepted twice, nobody is forgotten;
- whom the service accepted is `accepted` or further at most a minute after the first webhook about it (or, where the
  gateway's webhook alone can't tell whose it is, after the look-up that a run makes when it ends);
- each row is as far as the furthest webhook that the receiver took;
- `unknown` are only rows whose request the service never accepted.

The webhooks come early, twice and in any order, and one in a hundred never.
"""

import asyncio
import itertools
import json
import math
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from kill_aftermath import aftermath
from kill_processes import Runner, Running
from kill_rounds import doubts
from postgres import Postgres
from prefect_whatsapp.ledger import LedgerStore, Row
from prefect_whatsapp.models import ACCEPTED_STATES, RECEIPT_STATES, SendState
from prefect_whatsapp.sandbox.phones import Phone
from prefect_whatsapp.sandbox.processes import free_port
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox

RECIPIENTS = 60
KILLS = 3
LATENCY = (0.02, 0.12)
LOST_ANSWERS = 0.01
WITHIN_SECONDS = 60.0
# Wawp sends audio by a public link only, so that its rounds send cards.
VARIANTS = (
    ("graph", "audio"),
    ("wawp", "contacts"),
    ("waha", "audio"),
    ("chat-api", "audio"),
    ("graph", "contacts"),
    ("wawp", "contacts"),
    ("waha", "contacts"),
    ("chat-api", "contacts"),
)
WEBHOOKS: dict[str, Any] = {"early": 0.1, "twice": 0.1, "shuffle_seconds": 0.4, "lost": 0.01, "lids": "beside"}
PHONES = (
    Phone(does="failed", code=131026, fraction=0.02, seconds=0.3),
    Phone(does="failed, then delivered", code=131026, fraction=0.02, seconds=0.3),
    Phone(does="played", fraction=0.3, seconds=0.2),
    Phone(does="read", fraction=0.5, seconds=0.2),
    Phone(does="delivered", seconds=0.2),
)
_CARD = {"name": "Sandbox Support", "phone": "+16505550199"}
_STEPS = {state: place for place, state in enumerate(RECEIPT_STATES)}


@dataclass
class Round:
    """What one round came to.

    Attributes:
        in_doubt: Rows whose answer was lost, by a kill or on the way, though the service had accepted the message.
        resolved: Of them, those that are accepted or further in the end.
        unknown: Rows that stay unknown: the service never accepted a message to them.
        slowest: The most seconds from the first webhook about a row in doubt until it was seen to be resolved.
        webhooks: Updates that the receiver took.
    """

    provider: str
    kind: str
    database: str
    recipients: int = 0
    killed: int = 0
    accepted: int = 0
    in_doubt: int = 0
    resolved: int = 0
    unknown: int = 0
    twice: int = 0
    forgotten: int = 0
    webhooks: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


@dataclass
class _Side:
    """What the rounds on one database share: a ledger, a sandbox that posts, a receiver that takes."""

    database: str
    sandbox: RunningSandbox
    ledger: dict[str, Any]


class ReceiptRig:
    """Where rounds are played; a context manager.

    Args:
        folder: For ledgers, results and logs.
        runner: Starts broadcasts and receivers.
        postgres: The database server; None plays on SQLite alone.
        audio: A voice note, sent as it is.
        seed: The rounds' rng.
    """

    def __init__(self, folder: Path, runner: Runner, postgres: Postgres | None, *, audio: Path, seed: int) -> None:
        self._folder, self._runner, self._postgres, self._audio = folder, runner, postgres, str(audio)
        self.seed, self._rng = seed, random.Random(seed)
        self._numbers, self._names = sample_numbers(70_000), itertools.count(1)
        self._lock = threading.Lock()
        self._sides: list[_Side] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def _start(self, stack: ExitStack) -> None:
        urls = {"sqlite": str(self._folder / "receipts.db")}
        if self._postgres:
            urls["postgresql"] = self._postgres.create_database(f"receipts_{self.seed}")
        for place, (database, url) in enumerate(urls.items()):
            ledger = {"url": url, "patience_seconds": 20}
            sandbox, port = stack.enter_context(RunningSandbox()), free_port()
            receiver = self._runner.receive(sandbox.url, port, ledger)
            stack.callback(lambda receiver=receiver: receiver.signal(signal.SIGTERM) and receiver.wait(30))
            self._sides.append(_Side(database, sandbox, ledger))
            sandbox.faults(kind="latency", seconds=LATENCY[0], max_seconds=LATENCY[1])
            sandbox.faults(kind="drop", accepted=True, fraction=LOST_ANSWERS)
            sandbox.phones(*PHONES)
            seed = self.seed + place
            sandbox.receive_at(f"http://127.0.0.1:{port}", at_most=20, collect_seconds=0.05, seed=seed, **WEBHOOKS)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def databases(self) -> list[str]:
        """The databases that rounds are played on."""
        return [side.database for side in self._sides]

    def play(self, number: int) -> Round:
        """Play one round; may be called by several threads.

        Args:
            number: Chooses service, kind and database.
        """
        side = self._sides[number % len(self._sides)]
        provider, kind = VARIANTS[number // len(self._sides) % len(VARIANTS)]
        with self._lock:
            rng = random.Random(self._rng.random())
            people = list(itertools.islice(self._numbers, RECIPIENTS))
            name = f"receipts-{next(self._names)}"
        began, began_at = time.monotonic(), time.time()
        arguments: dict[str, Any] = {
            "broadcast": name,
            "provider": provider,
            "url": side.sandbox.url,
            "recipients": people,
            "ledger": side.ledger,
            "scale": {"in_flight": 4, "runs": "batch", "batch_size": 10},
            **({"audio": self._audio} if kind == "audio" else {"contacts": [_CARD]}),
        }
        found = Round(provider, kind, side.database, recipients=len(people))
        runs = [self._kill_one(arguments, rng) for _ in range(KILLS)]
        last = self._runner.start(arguments)
        outcome = last.outcome()
        for run in (*runs, last):
            if run.status == -signal.SIGKILL:
                found.killed += 1
            elif run.status:
                found.violations.append(f"a run ended by itself, status {run.status}: {run.said()}")
        if outcome["error"]:
            found.violations.append(f"run again, it raised {outcome['error']}: {outcome['says']}")
        must = set[str]().union(*(doubts(run.witnessed())[0] for run in (*runs, last)))
        self._compare(side, name, people, began_at, must, found)
        found.seconds = round(time.monotonic() - began, 2)
        return found

    def _kill_one(self, arguments: dict[str, Any], rng: random.Random) -> Running:
        run = self._runner.start(arguments)
        run.sending.wait(60)
        time.sleep(rng.uniform(0, 0.35))
        run.signal(signal.SIGKILL)
        run.wait()
        return run

    def _compare(
        self, side: _Side, name: str, people: list[str], began_at: float, must: set[str], found: Round
    ) -> None:
        """Wait until the ledger knows all that the service knows, and say what it never came to know."""
        ours = {person.removeprefix("+"): person for person in people}
        with self._lock:
            accepted = side.sandbox.truth()["accepted"]
        taken_by_service = {person: SendState.ACCEPTED for who, person in ours.items() if accepted.get(who)}
        url, until = side.ledger["url"], time.time() + WITHIN_SECONDS
        _, seen_at = asyncio.run(_settled(url, name, taken_by_service, until))
        taken = self._all_taken(side, ours, began_at)
        first: dict[str, float] = {}
        furthest: dict[str, SendState] = {}
        for each in taken:
            person = ours[each["recipient"]]
            first[person] = min(each["taken_at"], first.get(person, each["taken_at"]))
            if each["step"] in _STEPS:
                state = SendState(each["step"])
                if _STEPS[state] >= _STEPS[furthest.get(person, SendState.ACCEPTED)]:
                    furthest[person] = state
        wanted = {person: furthest.get(person, state) for person, state in taken_by_service.items()}
        rows, _ = asyncio.run(_settled(url, name, wanted, time.time() + WITHIN_SECONDS))
        left = asyncio.run(aftermath(url, name, people, accepted))
        doubted = must | {row.recipient for row in rows.values() if row.resolved_by}
        in_doubt = [rows[person] for person in doubted & wanted.keys() if rows[person].state in _STEPS]
        still = [person for person in wanted if rows[person].state in (SendState.UNKNOWN, SendState.SENDING)]
        found.accepted, found.webhooks = len(wanted), len(taken)
        found.in_doubt, found.resolved = len(in_doubt) + len(still), len(in_doubt)
        found.unknown = len(left.unknown)
        found.twice, found.forgotten = len(left.twice), len(left.forgotten)
        waits = [seen_at[row.recipient] - first[row.recipient] for row in in_doubt if row.recipient in first]
        found.slowest = round(max(waits, default=0.0), 2)
        sentences = [
            ("accepted twice", left.twice),
            ("never sent and not unknown", left.forgotten),
            ("unknown though the service had accepted it", still),
            (
                "not as far as its webhooks told",
                [p for p, state in wanted.items() if p not in still and not _as_told(rows[p].state, state)],
            ),
            (
                "accepted in the ledger, not by the service",
                [p for p, row in rows.items() if p not in wanted and row.state in ACCEPTED_STATES],
            ),
        ]
        found.violations += [f"{what}: {sorted(who)}" for what, who in sentences if who]
        if found.slowest > WITHIN_SECONDS:
            found.violations.append(f"a row was in doubt for {found.slowest} s after its webhook")

    def _all_taken(self, side: _Side, ours: dict[str, str], since: float) -> list[dict[str, Any]]:
        """What the receiver took of these people's messages, once nothing about them is on its way."""
        before = -1
        while True:
            with self._lock:
                taken = [each for each in side.sandbox.webhooks_taken(since=since) if each["recipient"] in ours]
            if len(taken) == before:
                return taken
            before = len(taken)
            time.sleep(2.0)  # the longest that two updates of one message, and a repetition, lie apart

    def play_all(self, rounds: int, *, workers: int = 3, seconds: float = math.inf) -> Iterator[Round]:
        """Play so many rounds, some at a time, as much of a round is waiting; none begins after so many seconds."""
        until, numbers = time.monotonic() + seconds, iter(range(rounds))
        with ThreadPoolExecutor(workers) as pool:
            playing = {pool.submit(self.play, number) for number in itertools.islice(numbers, workers)}
            while playing:
                ended, playing = wait(playing, return_when=FIRST_COMPLETED)
                if time.monotonic() < until:
                    playing |= {pool.submit(self.play, number) for number in itertools.islice(numbers, len(ended))}
                yield from (each.result() for each in ended)


def _as_told(state: SendState, told: SendState) -> bool:
    """Whether a row is as far as the furthest webhook; `accepted` and `sent` differ by nothing that a phone tells."""
    return _STEPS.get(state, -1) >= _STEPS[told]


async def _settled(
    url: str, name: str, wanted: dict[str, SendState], until: float
) -> tuple[dict[str, Row], dict[str, float]]:
    """The rows, once each is as far as it is to be, or when time is up; and when each was first seen to be no unknown."""
    seen_at: dict[str, float] = {}
    async with LedgerStore.open(url) as store:
        record = await store.find_broadcast(name)
        assert record
        while True:
            rows = {row.recipient: row async for row in store.rows(record)}
            now = time.time()
            for person, row in rows.items():
                if row.state in _STEPS:
                    seen_at.setdefault(person, now)
            if now > until or all(_as_told(rows[person].state, state) for person, state in wanted.items()):
                return rows, seen_at
            await asyncio.sleep(0.25)


def table(rounds: list[Round]) -> str:
    """The figures as a Markdown table: a line a service, one a database, and all."""
    columns = ("rounds", "killed", "recipients", "accepted", "answers lost", "resolved", "unknown, never accepted")
    columns += ("twice", "forgotten", "webhooks", "slowest, s")
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "--:|" * len(columns)]
    groups = [(provider, [r for r in rounds if r.provider == provider]) for provider, _ in VARIANTS[:4]]
    groups += [
        (f"**{database}**", [r for r in rounds if r.database == database]) for database in ("sqlite", "postgresql")
    ]
    groups += [("**all**", rounds)]
    keys = ("killed", "recipients", "accepted", "in_doubt", "resolved", "unknown", "twice", "forgotten", "webhooks")
    for name, some in groups:
        if some:
            total = Counter[str]()
            for each in some:
                total.update({key: getattr(each, key) for key in keys})
            cells = [str(len(some)), *(f"{total[key]:,}" for key in keys), f"{max(each.slowest for each in some):.1f}"]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def as_json(played: list[Round], **more: Any) -> str:
    """The figures for a file: every round, and every violation."""
    violations = [f"{each.provider} / {each.database}: {what}" for each in played for what in each.violations]
    rounds = [{key: value for key, value in asdict(each).items() if key != "violations"} for each in played]
    return json.dumps({**more, "violations": violations, "played": rounds}, indent=None) + "\n"
