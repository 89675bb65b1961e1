"""The kill test's own books: what was played is kept, an interrupted test goes on, the figures add up."""

import json
from pathlib import Path
from typing import Any

from kill_figures import Journal, Round, as_json, table, unknown_a_kill

ASKED: dict[str, Any] = {"rounds": 3, "kind": ""}


def rounds() -> list[Round]:
    return [
        Round("early", "sqlite", 0, recipients=40, killed=1, accepted=36, unknown=4, answers_lost=3, seconds=2.0),
        Round("early", "postgresql", 1, recipients=40, killed=2, accepted=38, unknown=2, seconds=4.0),
        Round("late", "sqlite", 2, recipients=40, accepted=40, seconds=3.0, violations=["no | promise"]),
    ]


def test_a_test_that_was_interrupted_goes_on_with_its_own_seed_and_one_that_ended_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "build" / "journal.jsonl"
    first = Journal(path, ASKED, 7)
    for each in rounds()[:2]:
        first.add(each)
    second = Journal(path, ASKED, 8)
    assert (second.seed, second.played) == (7, rounds()[:2])
    second.add(rounds()[2])
    second.close()
    assert (Journal(path, ASKED, 9).seed, Journal(path, ASKED, 9).played) == (9, [])


def test_another_test_begins_anew_and_half_a_line_is_played_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path, ASKED, 7)
    journal.add(rounds()[0])
    with path.open("a") as file:
        file.write(json.dumps({"kind": "late"})[:9])  # killed while it wrote
    assert Journal(path, ASKED, 8).played == rounds()[:1]
    assert Journal(path, {**ASKED, "rounds": 4}, 8).played == []


def test_the_table_has_a_line_a_kind_and_says_what_a_kill_left_unknown() -> None:
    assert unknown_a_kill(rounds()) == [4, 1]
    lines = table(rounds(), ["early", "late", "never played"]).splitlines()
    assert lines[2] == "| early | 2 | 3 | 80 | 74 | 6 | 2.5 | 2.5 | 3 | 0 | 0 | 3.0 |"
    assert lines[3].startswith("| late | 1 | 0 | 40 | 40 | 0 | – | – |")
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| **sqlite**", "| **postgresql**", "| **all**"]
    told = json.loads(as_json(rounds(), seed=7))
    assert (told["seed"], told["kinds"]["early / sqlite"]["unknown"]) == (7, 4)
    assert told["violations"] == ["late / sqlite: no | promise"]
