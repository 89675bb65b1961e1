"""`report`, `broadcasts` and `export` on a ledger of real broadcasts."""

import asyncio
import csv
import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ledgers import begin
from openpyxl import load_workbook
from prefect_whatsapp.cli.reports import print_report
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.recipients.reader import read_recipients

pytestmark = pytest.mark.server
Command = Callable[..., subprocess.CompletedProcess[str]]
COUNTS = {"planned": 10, "accepted": 5, "failed": 1, "skipped": 1, "unknown": 1, "pending": 2, "removed": 2}


def test_report_counts_names_the_needy_and_says_what_to_do(command: Command, ledger: str, numbers: list[str]) -> None:
    told = command("report", "mixed", "--ledger", ledger)
    assert (told.returncode, told.stderr) == (0, "")
    for shown in (
        *COUNTS,
        "1 contact card",
        f"…{numbers[1][-4:]}",
        f"…{numbers[3][-4:]}",
        "131026",
        "under the same name",
    ):
        assert shown in told.stdout, shown
    assert not [number for number in numbers if number[1:] in told.stdout]


def test_report_as_json_is_one_object_for_programs(command: Command, ledger: str, numbers: list[str]) -> None:
    told = json.loads(command("report", "mixed", "--ledger", ledger, "--json").stdout)
    assert {name: told[name] for name in COUNTS} == COUNTS
    assert told["broadcast"] == "mixed"
    needy = {row["recipient"]: row for row in told["needs_a_person"]}
    assert {row["state"] for row in needy.values()} == {"unknown", "failed", "skipped"}
    unknown = needy[f"…{numbers[1][-4:]}"]
    assert unknown["claimed_at"]
    assert "may have been accepted" in unknown["why"]
    assert not [number for number in numbers if number[1:] in json.dumps(told)]


def test_report_of_a_broadcast_that_went_well_has_nothing_left_to_do(command: Command, ledger: str) -> None:
    assert "Nothing left to do" in command("report", "fine", "--ledger", ledger).stdout


def test_broadcasts_lists_each_with_its_counts(command: Command, ledger: str) -> None:
    listed = {
        entry["broadcast"]: entry for entry in json.loads(command("broadcasts", "--ledger", ledger, "--json").stdout)
    }
    assert set(listed) == {"mixed", "fine"}
    assert {name: listed["mixed"][name] for name in COUNTS} == COUNTS
    assert (listed["fine"]["provider"], listed["fine"]["kind"], listed["fine"]["accepted"]) == ("graph", "contacts", 1)
    shown = command("broadcasts", "--ledger", ledger, more={"COLUMNS": "80"}).stdout
    assert re.search(
        r"^mixed\n  20\d\d-\d\d-\d\d \d\d:\d\d UTC, contacts by graph: 10 planned, 5 accepted, ", shown, re.MULTILINE
    )
    assert "…" not in shown


def test_nothing_is_cut_in_a_terminal_of_eighty_columns(command: Command, ledger: str) -> None:
    shown = command("report", "mixed", "--ledger", ledger, more={"COLUMNS": "80"}).stdout
    for name, number in COUNTS.items():
        assert re.search(rf"{name} +│ +{number} ", shown), name


async def test_while_a_run_sends_the_report_says_so_and_tells_nobody_to_run_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = str(tmp_path / "ledger.db")
    async with LedgerStore.open(url) as store:
        record = await begin(store, 3)
        async with store.join(record, messages_per_second=0):
            await asyncio.to_thread(print_report, "weekly", url, as_json=False)
        assert "A run is sending now: 3 to go." in capsys.readouterr().out
    await asyncio.to_thread(print_report, "weekly", url, as_json=False)
    assert "3 not sent yet: run the flow again under the same name." in capsys.readouterr().out


def test_the_ledger_may_be_named_by_the_environment(command: Command, ledger: str) -> None:
    told = command("report", "fine", "--json", more={"PREFECT_WHATSAPP_LEDGER": ledger})
    assert json.loads(told.stdout)["accepted"] == 1


def test_export_writes_whole_numbers_to_standard_output(command: Command, ledger: str, numbers: list[str]) -> None:
    done = command("export", "mixed", "--ledger", ledger)
    assert done.stderr == "10 rows written\n"
    rows = [*csv.DictReader(io.StringIO(done.stdout))]
    assert sorted(row["recipient"] for row in rows) == sorted(numbers)
    assert {row["state"] for row in rows} == {"accepted", "failed", "skipped", "unknown", "queued"}


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "xlsx"])
def test_export_writes_the_same_rows_in_each_format(
    command: Command, ledger: str, numbers: list[str], form: str, tmp_path: Path
) -> None:
    file = tmp_path / f"rows.{form}"
    assert command("export", "mixed", "--ledger", ledger, "--output", str(file)).returncode == 0
    named = command("export", "mixed", "--ledger", ledger, "--format", form, "--output", str(tmp_path / "rows.dat"))
    assert named.returncode == 0
    if form == "parquet":
        rows = pq.read_table(file).to_pylist()
    elif form == "xlsx":
        headings, *cells = load_workbook(file, read_only=True).worksheets[0].iter_rows(values_only=True)
        rows = [dict(zip(headings, each, strict=True)) for each in cells]
    elif form == "jsonl":
        rows = [json.loads(line) for line in file.read_text().splitlines()]
    else:
        rows = [*csv.DictReader(io.StringIO(file.read_text()))]
    assert {row["recipient"] for row in rows} == set(numbers)
    assert (tmp_path / "rows.dat").read_bytes()[:8] == file.read_bytes()[:8]


def test_export_writes_the_rows_of_the_states_that_are_named(command: Command, ledger: str, numbers: list[str]) -> None:
    done = command(
        "export", "mixed", "--ledger", ledger, "--state", "skipped", "--state", "failed", "--format", "jsonl"
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(row["state"] for row in rows) == ["failed", "skipped"]
    assert {row["recipient"] for row in rows} <= set(numbers)
    refused = command("export", "mixed", "--ledger", ledger, "--state", "skipped", "--removed")
    assert (refused.returncode, "give either --removed or --state" in refused.stderr) == (1, True)


def test_export_writes_the_removed_rows_with_their_reasons(command: Command, ledger: str, numbers: list[str]) -> None:
    done = command("export", "mixed", "--ledger", ledger, "--removed", "--format", "jsonl")
    reasons = " ".join(done.stdout.splitlines())
    assert done.stderr == "2 removed lines written\n"
    assert "hello" in reasons
    assert numbers[0] in reasons


def test_an_exported_csv_is_a_list_that_can_be_sent_to(
    command: Command, ledger: str, numbers: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "again.csv"
    command("export", "mixed", "--ledger", ledger, "--output", str(file))
    with file.open("rb") as stream:
        (chunk,) = read_recipients(stream, filename=file.name)
    assert {each.to for each in chunk.usable} == set(numbers)
    assert not chunk.removed


@pytest.mark.parametrize(
    "arguments", [("report", "nobody-knows"), ("export", "nobody-knows"), ("report", "nobody-knows", "--json")]
)
def test_an_unknown_broadcast_is_one_sentence_on_standard_error(
    command: Command, ledger: str, arguments: tuple[str, ...]
) -> None:
    told = command(*arguments, "--ledger", ledger)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.count("\n") == 1
    assert "'nobody-knows'" in told.stderr
    assert "prefect-whatsapp broadcasts" in told.stderr


@pytest.mark.parametrize("arguments", [("report", "x"), ("export", "x"), ("broadcasts",)])
def test_a_ledger_that_is_not_there_is_named_and_not_made(
    command: Command, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    missing = tmp_path / "mistyped" / "ledger.db"
    told = command(*arguments, "--ledger", str(missing))
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert str(missing) in told.stderr
    assert not missing.parent.exists()


def test_a_ledger_elsewhere_is_named_without_its_password(command: Command) -> None:
    told = command("report", "x", "--ledger", "mysql://me:canary@db.example.com/x")
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert "canary" not in told.stderr


def test_a_folder_that_cant_be_written_is_one_sentence(command: Command, ledger: str, tmp_path: Path) -> None:
    told = command("export", "mixed", "--ledger", ledger, "--output", str(tmp_path / "missing" / "rows.csv"))
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert "rows.csv" in told.stderr
