"""The figures that the README quotes are those that were measured last: docs/figures holds them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BENCH = (ROOT / "docs" / "figures" / "bench.md").read_text()
KILLS = (ROOT / "docs" / "figures" / "kill-test.md").read_text()
RECEIPTS = (ROOT / "docs" / "figures" / "receipts-test.md").read_text()
# How the bench calls what stands in a row of the README's table.
QUOTED = {
    "tracked: ours / floor": "| task runs recorded a second, one a send |",
    "scale: ours / floor": "| the same with 20,000 recipients, all 20,000 runs recorded |",
    "scale: CPU of client and server, ours / floor": "| CPU of client and server a send, 20,000 recipients |",
    "tracked: ours-engine / floor": '| by Prefect\'s task engine, `runs="engine"` |',
    "sends-0ms: ours-batch / celery-prefork": "| sends a second in batches, service answers at once |",
    "sends-0ms: ours-batch / pywa": "| | | pywa ",
    "sends-0ms: ours-batch / without-ledger": "| | | our client without ledger ",
    "sends-50ms: ours-batch / celery-threads": "| the same, service answers in 50 ms |",
}


@pytest.mark.parametrize("name", QUOTED)
def test_each_ratio_of_the_readme_is_the_benchs(name: str) -> None:
    (measured,) = re.findall(rf"^- {re.escape(name)} = (.+)$", BENCH, re.MULTILINE)
    (row,) = [line for line in README.splitlines() if line.startswith(QUOTED[name])]
    assert row.split("|")[-2].strip() == measured, row


def test_the_kill_test_of_the_readme_is_the_one_that_was_run() -> None:
    heading, *_, everything = [
        [cell.strip() for cell in line.split("|")]
        for line in KILLS.splitlines()
        if re.match(r"\| (killed|\*\*all)", line)
    ]
    kills = dict(zip(heading[3:], everything[3:], strict=True))  # the first column is called like the third
    numbers = {name: int(kills[name]) for name in ("killed", "recipients", "accepted", "unknown", "twice", "forgotten")}
    said = re.sub(r"\s+", " ", README)
    for words in (
        f"{everything[2]} rounds on SQLite and PostgreSQL, {{killed}} kills, {{recipients:,}} recipients: ",
        "{accepted:,} accepted, {unknown:,} named unknown, {twice} messaged twice, {forgotten} forgotten",
    ):
        words = words.format(**numbers)
        assert words in said, words


def test_the_lost_answers_of_the_readme_are_those_of_the_receipts_test() -> None:
    heading, *_, everything = [
        [cell.strip() for cell in line.split("|")][2:-1]
        for line in RECEIPTS.splitlines()
        if re.match(r"\| (\||\*\*all)", line)
    ]
    told = dict(zip(heading, everything, strict=True))
    assert told["answers lost"] == told["resolved"]
    said = re.sub(r"\s+", " ", README)
    assert (
        f"of {told['accepted']} accepted messages, {told['resolved']} whose answer was lost were all resolved" in said
    )
    (seconds,) = re.findall(r"resolved within (\d+) seconds", said)
    assert float(told["slowest, s"]) <= int(seconds)
