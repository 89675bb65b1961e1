"""`prefect-whatsapp opt-outs`: lists in and out, by hand, and who is then not sent to."""

import asyncio
import csv
import io
import json
import os
import stat
import sys
from pathlib import Path

import pytest
from ledgers import begin, people
from prefect_whatsapp.cli import opt_outs
from prefect_whatsapp.cli.app import app
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.models.errors import InputError

ONE, OTHER = "+16505550101", "+16505550102"


def test_a_list_comes_in_and_goes_out_and_comes_in_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger, listed, out = str(tmp_path / "ledger.db"), tmp_path / "list.csv", tmp_path / "out.csv"
    listed.write_text(f"phone,name\n{ONE},Ana\n{OTHER},\nnobody,\n")
    app(["opt-outs", "import", str(listed), "--ledger", ledger, "--json"], result_action="return_value")
    assert json.loads(capsys.readouterr().out) == {"opted_out": 2, "known_before": 0, "unusable": 1}
    app(["opt-outs", "export", "--output", str(out), "--ledger", ledger], result_action="return_value")
    lines = out.read_text().splitlines()
    assert [line.split(",")[:2] for line in lines] == [["recipient", "source"], [ONE, "import"], [OTHER, "import"]]
    opt_outs.run_import(str(out), default_region="", ledger=ledger, as_json=True)
    assert json.loads(capsys.readouterr().out)["known_before"] == 2


def test_an_export_is_its_owners_alone_follows_no_link_and_holds_no_formula(tmp_path: Path) -> None:
    ledger, out, elsewhere = str(tmp_path / "ledger.db"), tmp_path / "out.csv", tmp_path / "elsewhere"

    async def opt_out() -> None:
        async with LedgerStore.open(ledger) as store:
            await store.people.opt_out(['=HYPERLINK("//host")'], source="=1+1")  # as a webhook may call somebody

    asyncio.run(opt_out())
    elsewhere.write_text("mine")
    out.symlink_to(elsewhere)
    before = os.umask(0o022)
    try:
        opt_outs.run_export(str(out), ledger=ledger)
    finally:
        os.umask(before)
    assert elsewhere.read_text() == "mine"
    assert stat.S_IMODE(out.lstat().st_mode) == 0o600
    with out.open(newline="") as lines:
        _, written = csv.reader(lines)
    assert not [cell for cell in written if cell.startswith("=")]


def test_a_report_has_nothing_left_to_do_for_who_opted_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = str(tmp_path / "ledger.db")

    async def skip_all() -> None:
        async with LedgerStore.open(ledger) as store:
            record = await begin(store, 2)
            await store.people.opt_out([each.to for each in people(2)], source="command")
            assert await store.people.skip_opted_out(record) == 2

    asyncio.run(skip_all())
    app(["report", "weekly", "--ledger", ledger], result_action="return_value")
    shown = capsys.readouterr().out
    assert "Nothing left to do." in shown
    assert "need a person" not in shown
    app(["report", "weekly", "--ledger", ledger, "--json"], result_action="return_value")
    told = json.loads(capsys.readouterr().out)
    assert (told["skipped"], told["opted_out"], told["needs_a_person"]) == (2, 2, [])


def test_an_export_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be written"):
        opt_outs.run_export(str(tmp_path / "no" / "out.csv"), ledger=str(tmp_path / "ledger.db"))


def test_who_was_forgotten_is_counted_and_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = str(tmp_path / "ledger.db")
    for words in (["opt-outs", "add", ONE, OTHER], ["forget", ONE, "--yes"], ["opt-outs", "export"]):
        capsys.readouterr()
        app([*words, "--ledger", ledger], result_action="return_value")
    said = capsys.readouterr()
    assert OTHER in said.out
    assert ONE[1:] not in said.out
    assert "1 opt-out written; 1 more is of a person who was erased" in said.err


def test_one_is_added_and_removed_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = str(tmp_path / "ledger.db")
    for command, changed in (("add", "opted_out"), ("remove", "opted_in")):
        for number in (1, 0):
            argv = ["opt-outs", command, "650 555 0101", "--default-region", "US", "--ledger", ledger, "--json"]
            app(argv, result_action="return_value")
            assert json.loads(capsys.readouterr().out) == {changed: number, "unchanged": 1 - number}


@pytest.mark.parametrize(("command", "changed"), [("add", "opted_out"), ("remove", "opted_in")])
def test_people_are_read_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, changed: str
) -> None:
    ledger = str(tmp_path / "ledger.db")
    opt_outs.run_change([ONE, OTHER], command == "remove", default_region="", ledger=ledger, as_json=True)
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{ONE}\n\n+1 650 555 0102\n{ONE}\n"))
    app(["opt-outs", command, "--stdin", "--ledger", ledger, "--json"], result_action="return_value")
    assert json.loads(capsys.readouterr().out) == {changed: 2, "unchanged": 0}


def test_each_change_and_export_is_in_the_history_without_a_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, listed = str(tmp_path / "ledger.db"), tmp_path / "list.csv"
    listed.write_text(f"phone\n{ONE}\n{OTHER}\nnobody\n")
    for words in (["import", str(listed)], ["add", ONE], ["remove", OTHER], ["export"]):
        app(["opt-outs", *words, "--ledger", ledger], result_action="return_value")
    capsys.readouterr()
    app(["history", "--ledger", ledger, "--json"], result_action="return_value")
    said = capsys.readouterr().out
    entries = json.loads(said)
    assert [(entry["action"], entry["detail"]) for entry in reversed(entries)] == [
        ("opted out", "2 addresses by import, 2 changed"),
        ("opted out", "1 address by command, 0 changed"),
        ("opted in", "1 address by command, 1 changed"),
        ("exported", "1 opt-out as csv"),
    ]
    assert all(entry["user"] and entry["host"] and not entry["broadcast"] for entry in entries)
    assert "5550101" not in said
    assert "5550102" not in said


def test_what_is_no_address_changes_nobody(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.db"
    for who in ([ONE, "nobody"], []):
        with pytest.raises(InputError):
            opt_outs.run_change(who, True, default_region="", ledger=str(ledger), as_json=True)
    assert not ledger.exists()
