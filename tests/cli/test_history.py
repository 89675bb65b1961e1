"""`prefect-whatsapp history`, and what an export leaves in it."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from ledgers import begin
from prefect_whatsapp.cli.app import app, main
from prefect_whatsapp.ledger import LedgerStore


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A ledger with a broadcast whose name is hostile to a terminal."""
    monkeypatch.setenv("COLUMNS", "250")

    async def make() -> None:
        async with LedgerStore.open(str(tmp_path / "ledger.db")) as store:
            await begin(store, 3, "[/weekly] \x1b[2J")

    asyncio.run(make())
    return str(tmp_path / "ledger.db")


def run(*words: str) -> int:
    """Run a command."""
    return int(app(words, result_action="return_value") or 0)


def test_an_export_is_in_the_history(ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "[/weekly] \x1b[2J"
    assert run("export", name, "--output", str(tmp_path / "rows.csv"), "--ledger", ledger) == 0
    capsys.readouterr()
    assert run("history", "--ledger", ledger, "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["action"], entry["broadcast"], entry["detail"]) == ("exported", name, "3 rows as csv")
    assert entry["user"]
    assert run("history", "--ledger", ledger) == 0
    shown = capsys.readouterr().out
    assert "exported" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("command", ["broadcasts", "report"])
def test_a_name_with_brackets_and_escapes_is_shown_as_it_is(
    ledger: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, *(["[/weekly] \x1b[2J"] if command == "report" else []), "--ledger", ledger]
    assert run(*words) == 0
    shown = capsys.readouterr().out
    assert "[/weekly]" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("words", [["--ledger", "postgresql://u:CANARY@h/d"], ["--ledger=postgresql://u:CANARY@h/d"]])
def test_a_password_on_the_command_line_is_refused_and_not_repeated(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["prefect-whatsapp", "broadcasts", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "PREFECT_WHATSAPP_LEDGER" in said
    assert "CANARY" not in said
