"""Rounds of the kill test: start a broadcast, kill it, run it again to its end, compare with the sandbox's truth.

What must hold after each round, by the truth of the service and what the killed runs had handed in and heard:

- nobody was accepted twice, and who was never accepted is `unknown` (the request may have left: it is not sent again);
- every recipient is `accepted` or `unknown`, `accepted` only who the service did accept;
- `unknown` are at least the claims that were heard and not settled, and at most those that were handed in and whose
  settlement was not heard; nobody else;
- the report says the same, and its numbers add up.

Around some kills the service is away, in the words of a proxy or its own, a part of the messages accepted all the same; a
run may end by itself then, and is run again once the service is back. And some runs are stopped (SIGSTOP) for longer than
another host waits for a heartbeat, while a second run takes over, and go on (SIGCONT).
"""

import asyncio
import itertools
import random
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from kill_aftermath import aftermath
from kill_figures import DATABASES, Round
from kill_processes import Runner, Running
from postgres import Postgres
from prefect_whatsapp.models import SendState
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox

RECIPIENTS = 40
PEOPLE = 77_000  # beyond, rounds begin anew with the first ones
LATENCY = (0.02, 0.12)
OUTAGE_SECONDS = (2.0, 30.0)
LAPSE_SECONDS = 1.0
RUNS_AT_MOST = 4
FAULT_SECONDS = 300.0  # a round's own faults end by themselves


@dataclass(frozen=True)
class Kind:
    """One way to die.

    Attributes:
        name: For the table.
        at: Place of the stop, or `random`: from outside, by the clock.
        when: Before, within or after it.
        nth: The most that it is reached before; the time is drawn from 1 to this.
        delay: The most seconds for `within`.
        fresh: In a ledger of its own, so that there is something to make, transcode and upload.
        kills: Runs that are killed before the last one.
        batch: With a task run a batch.
        weight: How often it is played.
        outage: What the service does meanwhile: fields of `sandbox.faults.Fault`, without whom and how long.
        also_accepted: The part of the messages that it accepts all the same.
        latency: The least and the most seconds of an answer.
        rate: Messages a second, in a ledger of its own, as runs of one sender share it; 0 for no limit.
        in_flight: Requests at once; 0 for as many as the pace needs.
        after: The least and the most seconds from the first claim to a `random` kill.
        alone: Played after the others and with nothing beside it: what it leaves unknown hangs on how fast the machine is.
    """

    name: str
    at: str = "random"
    when: str = "before"
    nth: int = 1
    delay: float = 0.0
    fresh: bool = False
    kills: int = 1
    batch: bool = False
    weight: int = 1
    outage: tuple[tuple[str, Any], ...] = ()
    also_accepted: float = 0.0
    latency: tuple[float, float] = LATENCY
    rate: float = 0.0
    in_flight: int = 8
    after: tuple[float, float] = (0.0, 0.5)
    alone: bool = False


_PROXY_502 = (("kind", "html"), ("status", 502))
_EVERY_SECOND_502 = (*_PROXY_502, ("fraction", 0.5))
_PROXY_503 = (("kind", "html"), ("status", 503), ("retry_after", 1))
_UNAVAILABLE = (("kind", "error"), ("code", 131016), ("status", 500))

# Graph's rate: how many are unknown at least is 80 × 0.025 = 2.
AT_80_A_SECOND = "at a random moment, 80 a second, 25 ms an answer"

KINDS = (
    Kind("at a random moment of the sending", weight=6),
    Kind("at a random moment of the sending, in batches", batch=True, weight=3),
    Kind("at a random moment of the whole run", at="random start", fresh=True, weight=3),
    Kind(AT_80_A_SECOND, latency=(0.025, 0.025), rate=80, in_flight=0, after=(0.1, 0.4), weight=4, alone=True),
    Kind("three times, each at a random moment", kills=3, weight=3),
    Kind("claim: handed in, not committed", "claim commit", "before", nth=8, weight=2),
    Kind("claim: within the commit", "claim commit", "within", nth=8, delay=0.004, weight=2),
    Kind("claim: committed, not heard", "claim commit", "after", nth=8, weight=2),
    Kind("claim: heard, request not sent", "claim", "after", nth=32, weight=2),
    Kind("request: on its way", "request", "within", nth=32, delay=0.12, weight=3),
    Kind("answer: heard, not handed in", "request", "after", nth=32, weight=2),
    Kind("settle: handed in, not committed", "settle commit", "before", nth=8, weight=2),
    Kind("settle: within the commit", "settle commit", "within", nth=8, delay=0.004, weight=2),
    Kind("settle: committed, not heard", "settle commit", "after", nth=8, weight=2),
    Kind("plan: within a chunk", "plan", "within", nth=2, delay=0.006, fresh=True),
    Kind("plan: between two chunks", "plan", "after", nth=2, fresh=True),
    Kind("plan: written, not marked", "mark planned", "before", fresh=True),
    Kind("upload: on its way", "upload", "within", delay=0.02, fresh=True),
    Kind("upload: answered, not remembered", "remember media", "before", fresh=True),
    Kind("joining the sending", "join", "within", delay=0.01),
    Kind("outage: 502 of a proxy", "outage", outage=_PROXY_502, also_accepted=0.5, weight=3),
    Kind("outage: 503 with Retry-After", "outage", outage=_PROXY_503, also_accepted=0.5, weight=3),
    Kind("outage: 502 of a proxy for every second", "outage", outage=_EVERY_SECOND_502, also_accepted=0.25, weight=2),
    Kind("outage: 131016", "outage", outage=_UNAVAILABLE, also_accepted=0.5, weight=2),
    Kind("outage: 502 of a proxy, killed in it", "outage kill", outage=_PROXY_502, also_accepted=0.5, weight=2),
    Kind("stopped for longer than the lapse, then gone on", "stop", kills=0, weight=3),
)


class Rig:
    """Where rounds are played: a Prefect server, a sandbox and a PostgreSQL for all of them.

    Args:
        folder: For ledgers, results and logs.
        runner: Starts the broadcasts.
        sandbox: The services; its latency is set here.
        postgres: The database server; None plays on SQLite alone.
        audio: A voice note, sent as it is.
        source: An audio file that is transcoded, for the fresh ledgers.
        seed: The rounds' rng.
        outage_scale: By how much outages of 2 to 30 seconds are shortened.
    """

    def __init__(
        self,
        folder: Path,
        runner: Runner,
        sandbox: RunningSandbox,
        postgres: Postgres | None,
        *,
        audio: Path,
        source: Path,
        seed: int,
        outage_scale: float = 0.1,
    ) -> None:
        self._outage_scale = outage_scale
        self._folder, self._runner, self._sandbox, self._postgres = folder, runner, sandbox, postgres
        self._audio, self._source = str(audio), str(source)
        self.seed = seed
        self._people = [*sample_numbers(PEOPLE)]
        self._names = itertools.count(1)
        self._lock = threading.Lock()
        self._shared = {database: self._ledger(database, "shared") for database in self.databases}
        self._sandbox_began = time.monotonic() - float(sandbox.truth(brief=True)["now"])

    @property
    def databases(self) -> tuple[str, ...]:
        return DATABASES if self._postgres else DATABASES[:1]

    def _ledger(self, database: str, name: str) -> str:
        if database == "sqlite":
            return str(self._folder / f"{name}.db")
        assert self._postgres is not None
        return self._postgres.create_database(f"{name}_{uuid.uuid4().hex[:8]}")

    def schedule(self, rounds: int, kinds: Sequence[Kind] = KINDS) -> list[tuple[Kind, str]]:
        """So many rounds, the kinds by their weights and each on both databases, in a random order."""
        # Each kind once before any twice, and on the one database as often as on the other.
        most = max(kind.weight for kind in kinds)
        weighted = [kind for turn in range(most) for kind in kinds if kind.weight > turn]
        count, shift = len(self.databases), len(weighted) % 2 == 0
        places = [(n, kind) for n, kind in enumerate(weighted * count)]
        every = [(kind, self.databases[(n + (n // len(weighted) if shift else 0)) % count]) for n, kind in places]
        chosen = list(itertools.islice(itertools.cycle(every), rounds))
        random.Random(self.seed).shuffle(chosen)
        return chosen

    def play(self, kind: Kind, database: str, *, place: int = 0, **job: Any) -> Round:
        """Play one round; may be called by several threads.

        Args:
            kind: How its runs die.
            database: The ledger's.
            place: In the schedule: with the seed it says who is on the list and when what happens.
            job: Goes to the last run.
        """
        rng, first = random.Random(f"{self.seed}-{place}"), place * RECIPIENTS % PEOPLE
        people = self._people[first : first + RECIPIENTS]
        with self._lock:
            name = f"round-{place}-{next(self._names)}"
            url = self._ledger(database, name) if kind.fresh or kind.rate else self._shared[database]
            self._sandbox.faults(
                kind="latency",
                seconds=kind.latency[0],
                max_seconds=kind.latency[1],
                recipients=people,
                for_seconds=FAULT_SECONDS,
            )
        began = time.monotonic()
        arguments = {
            "broadcast": name,
            "url": self._sandbox.url,
            "audio": self._source if kind.fresh else self._audio,
            "recipients": people,
            "fields": {"messages_per_second": kind.rate},
            "ledger": {"url": url, "patience_seconds": 60},  # as unless set: a stopped process may hold SQLite's lock
            "scale": {"in_flight": kind.in_flight, "runs": "batch" if kind.batch else "send", "batch_size": 15},
        }
        found = Round(kind.name, database, place, recipients=len(people))
        runs: list[Running] = []
        if kind.at == "stop":
            runs += self._stop_one(arguments, rng)
        for _ in range(kind.kills):
            runs.append(self._kill_one(kind, arguments, rng))
        for run in runs:
            if run.status == -signal.SIGKILL:
                found.killed += 1
            elif run.status:
                found.violations.append(f"a run ended by itself, status {run.status}: {run.said()}")
        # Where the service was away, a run may still meet the end of that, and says so.
        for number_of_run in range(RUNS_AT_MOST):
            last = self._runner.start(arguments, **job)
            runs.append(last)
            outcome = last.outcome()
            if not kind.outage or not outcome["error"] or number_of_run == RUNS_AT_MOST - 1:
                break
            time.sleep(1)
        if outcome["error"]:
            found.violations.append(f"run again, it raised {outcome['error']}: {outcome['says']}")
        witnessed = [run.witnessed() for run in runs]
        left = asyncio.run(aftermath(url, name, people, self._accepted(began)))
        found.accepted, found.unknown = len(left.in_state(SendState.ACCEPTED)), len(left.unknown)
        found.twice, found.forgotten = len(left.twice), len(left.forgotten)
        found.answers_lost = len(left.answers_lost)
        found.violations += left.broken(outcome["report"])
        must, may = (set[str]().union(*some) for some in zip(*map(doubts, witnessed), strict=True))
        if missing := must - left.unknown:
            found.violations.append(f"claimed, not settled, and not unknown: {sorted(missing)}")
        if excess := left.unknown - may:
            found.violations.append(f"unknown though never claimed, or settled: {sorted(excess)}")
        found.seconds = round(time.monotonic() - began, 2)
        return found

    def _stop_one(self, arguments: dict[str, Any], rng: random.Random) -> list[Running]:
        """Stop a run of one host until a run of another has taken over, then let it go on: both come to their end."""
        first = self._runner.start(arguments, host="one/boot", lapse_seconds=LAPSE_SECONDS)
        first.sending.wait(60)
        time.sleep(rng.uniform(0, 0.5))
        first.signal(signal.SIGSTOP)
        second = self._runner.start(arguments, host="two/boot", lapse_seconds=LAPSE_SECONDS)
        second.sending.wait(60)
        time.sleep(rng.uniform(0, 1.0))
        first.signal(signal.SIGCONT)
        first.wait()
        second.wait()
        return [first, second]

    def _outage(self, kind: Kind, people: list[str], seconds: float) -> None:
        """Let the service be away for these people alone, as other rounds are played beside this one."""
        away = dict(kind.outage) | {"recipients": people, "for_seconds": seconds, "on": "send"}
        if kind.also_accepted:
            # The first of the two faults that hits counts: this part is accepted all the same.
            self._sandbox.faults(**away | {"accepted": True, "fraction": kind.also_accepted})
        self._sandbox.faults(**away)

    def _meet_outage(self, kind: Kind, arguments: dict[str, Any], rng: random.Random) -> Running:
        run = self._runner.start(arguments)
        run.sending.wait(60)
        time.sleep(rng.uniform(0, 0.3))
        least, most = OUTAGE_SECONDS
        seconds = least * (most / least) ** rng.random() * self._outage_scale  # as many of 2 to 8 as of 8 to 30
        began = time.monotonic()
        with self._lock:
            self._outage(kind, arguments["recipients"], seconds)
        if kind.at == "outage kill":
            time.sleep(rng.uniform(0, min(seconds, 1.0)))
            run.signal(signal.SIGKILL)
        run.wait()
        time.sleep(max(0.0, began + seconds - time.monotonic()))
        return run

    def _kill_one(self, kind: Kind, arguments: dict[str, Any], rng: random.Random) -> Running:
        if kind.outage:
            return self._meet_outage(kind, arguments, rng)
        if kind.at not in ("random", "random start"):
            stop = {"at": kind.at, "when": kind.when, "nth": rng.randint(1, kind.nth)}
            run = self._runner.start(arguments, stop=stop | {"delay": rng.uniform(0, kind.delay)})
            run.wait()
            return run
        run = self._runner.start(arguments)
        if kind.at == "random":
            run.sending.wait(60)
            time.sleep(rng.uniform(*kind.after))
        else:
            time.sleep(rng.uniform(0, 2.5))
        run.signal(signal.SIGKILL)
        run.wait()
        return run

    def _accepted(self, began: float) -> Counter[str]:
        """Whom the service accepted messages for since then, and how often; of all there are it would be megabytes."""
        since = began - self._sandbox_began
        with self._lock:
            return Counter(message["recipient"] for message in self._sandbox.messages(since=since))

    def play_all(
        self, rounds: int, *, workers: int = 3, kinds: Sequence[Kind] = KINDS, without: Collection[int] = ()
    ) -> Iterator[Round]:
        """Play so many rounds, some at a time, as most of a round is waiting.

        Args:
            rounds: How many.
            workers: How many at a time.
            kinds: The ways to die.
            without: Places that were played before.

        Returns:
            The rounds as they end, without those that could not be played.
        """
        missing = [
            (place, kind, database)
            for place, (kind, database) in enumerate(self.schedule(rounds, kinds))
            if place not in without
        ]
        for alone in (False, True):
            with ThreadPoolExecutor(1 if alone else workers) as pool:
                played = [
                    pool.submit(self.play, kind, database, place=place)
                    for place, kind, database in missing
                    if kind.alone is alone
                ]
                try:
                    for future in as_completed(played):
                        try:
                            yield future.result()
                        except (TimeoutError, httpx.HTTPError) as failure:  # the machine is too busy, or a server died
                            print(f"     a round could not be played: {failure!r}", flush=True)
                finally:
                    pool.shutdown(cancel_futures=True)


def doubts(witnessed: list[tuple[str, str]]) -> tuple[set[str], set[str]]:
    """Whose fate is in doubt after a killed run: those who must be, and those who may be.

    What was handed in and not heard back may or may not be in the ledger.
    """
    must, may, in_doubt = set[str](), set[str](), set[str]()
    for word, person in witnessed:
        kind, _, outcome = word.partition(":")
        match kind:
            case "claim?":
                may.add(person)
            case "claim!":
                must.add(person)
            case "settle?" | "release?":
                must.discard(person)
                (in_doubt.add if outcome == "unknown" else in_doubt.discard)(person)
            case "settle!" | "release!":
                may.discard(person)
                if person in in_doubt:  # the run itself could not know
                    must.add(person)
                    may.add(person)
    return must, may
