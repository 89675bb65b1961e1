"""What the rounds of the kill test came to: a line each in a journal, a table and a file of figures."""

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

DATABASES = ("sqlite", "postgresql")


@dataclass
class Round:
    """What one round came to.

    Attributes:
        kind: How its runs died.
        database: The ledger's.
        place: Its number in the schedule, from which its moments are drawn.
        recipients: People on its list.
        killed: Runs that were killed.
        accepted: People whom the ledger has as accepted at the end.
        unknown: Likewise unknown.
        answers_lost: Of these, those whom the service did accept.
        twice: People for whom the service accepted two messages.
        forgotten: People for whom it accepted none, and who are not unknown.
        seconds: How long the round took.
        violations: Sentences on what is not as promised.
    """

    kind: str
    database: str
    place: int = 0
    recipients: int = 0
    killed: int = 0
    accepted: int = 0
    unknown: int = 0
    answers_lost: int = 0
    twice: int = 0
    forgotten: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


class Journal:
    """Keeps each round as it ends, so that a test that is interrupted goes on where it stopped.

    Args:
        path: A file of JSON lines: what was asked, then the rounds.
        asked: What must be the same to go on: rounds, kinds, ….
        seed: Of a new test; one that goes on keeps its own.

    Attributes:
        seed: The seed.
        played: The rounds that were played before.
    """

    def __init__(self, path: Path, asked: dict[str, Any], seed: int) -> None:
        self.path, self.seed, self.played = path, seed, list[Round]()
        lines = path.read_text().splitlines() if path.exists() else []
        head = json.loads(lines[0]) if lines else {}
        if head.get("asked") == asked:
            self.seed = int(head["seed"])
            self.played = [Round(**json.loads(line)) for line in lines[1:] if line.endswith("}")]
        elif lines[1:]:
            path.replace(path.with_name(f"{path.name}.earlier"))  # hours of another test, asked for with other words
        path.parent.mkdir(parents=True, exist_ok=True)
        rest = [json.dumps(asdict(each)) for each in self.played]
        path.write_text("\n".join([json.dumps({"asked": asked, "seed": self.seed}), *rest]) + "\n")

    def add(self, played: Round) -> None:
        """Keep one more."""
        self.played.append(played)
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(played)) + "\n")

    def close(self) -> None:
        """Forget it: the test has come to its end."""
        self.path.unlink()


def unknown_a_kill(rounds: Iterable[Round]) -> list[float]:
    """What each killed run left unknown, round by round."""
    return [each.unknown / each.killed for each in rounds if each.killed]


def table(rounds: Sequence[Round], kinds: Sequence[str]) -> str:
    """The figures as a Markdown table, a line a kind and one for each database and all.

    Args:
        rounds: All of them.
        kinds: Their names in the order of the table.
    """
    columns = (
        "rounds", "killed", "recipients", "accepted", "unknown", "a kill", "median", "of these accepted", "twice",
        "forgotten", "s",
    )  # fmt: skip
    lines = [f"| killed | {' | '.join(columns)} |", "|---|" + "--:|" * len(columns)]
    groups = [(name, [r for r in rounds if r.kind == name]) for name in kinds]
    groups += [(f"**{database}**", [r for r in rounds if r.database == database]) for database in DATABASES]
    groups += [("**all**", list(rounds))]
    for name, some in groups:
        if some:
            total, left = _sums(some), unknown_a_kill(some)
            mean, median = (f"{sum(left) / len(left):.1f}", f"{statistics.median(left):.1f}") if left else ("–", "–")
            counts = [total[key] for key in ("killed", "recipients", "accepted", "unknown")]
            rest = [total[key] for key in ("answers_lost", "twice", "forgotten")]
            seconds = f"{statistics.median(each.seconds for each in some):.1f}"
            lines.append(f"| {name} | {' | '.join(map(str, [len(some), *counts, mean, median, *rest, seconds]))} |")
    return "\n".join(lines)


def as_json(played: Sequence[Round], **more: Any) -> str:
    """The figures for a file: the sums by kind and database, and every violation."""
    groups: dict[str, Any] = {}
    for name in dict.fromkeys(f"{each.kind} / {each.database}" for each in played):
        some = [each for each in played if f"{each.kind} / {each.database}" == name]
        left = unknown_a_kill(some)
        groups[name] = {"rounds": len(some), **_sums(some)}
        groups[name]["median_unknown_a_kill"] = statistics.median(left) if left else None
    violations = [f"{each.kind} / {each.database}: {what}" for each in played for what in each.violations]
    return json.dumps({**more, "kinds": groups, "violations": violations}, indent=1) + "\n"


def _sums(rounds: Iterable[Round]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in rounds:
        numbers = {key: value for key, value in asdict(each).items() if isinstance(value, int) and key != "place"}
        total.update(numbers)
    return total
