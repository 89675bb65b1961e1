"""`prefect-whatsapp forget` and `purge`: said first, confirmed, and told in a sentence."""

import asyncio
import io
import json
import os
import sys
import time
from pathlib import Path

import pytest
from named_people import begin
from prefect_whatsapp.cli.app import app
from prefect_whatsapp.ledger import LedgerStore, Row
from prefect_whatsapp.media.publishing import cache_directory
from prefect_whatsapp.models.errors import InputError

NUMBER, NAME = "+16505550101", "weekly for +1 650 555 0199"


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    """A ledger with a broadcast to three people, one of whom opted out."""

    async def make() -> None:
        async with LedgerStore.open(str(tmp_path / "ledger.db")) as store:
            await begin(store, [NUMBER, "+16505550102", "+16505550103"], NAME)
            await store.people.opt_out([NUMBER], source="import")

    asyncio.run(make())
    return str(tmp_path / "ledger.db")


def run(*words: str) -> int:
    """Run a command."""
    return int(app(words, result_action="return_value") or 0)


def rows(ledger: str) -> list[Row]:
    """What the ledger has."""

    async def read() -> list[Row]:
        async with LedgerStore.open(ledger) as store:
            (listed,) = await store.broadcasts()
            return [row async for row in store.rows(listed.record)]

    return asyncio.run(read())


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """What was printed as JSON."""
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_person_is_erased_and_told_of(ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", NAME, "--output", str(tmp_path / "rows.csv"), "--ledger", ledger) == 0
    capsys.readouterr()
    assert run("forget", NUMBER, "--yes", "--ledger", ledger, "--json") == 0
    found = told(capsys)
    assert (found["rows"], found["not_sent"], found["opted_out"], found["dry_run"]) == (1, 1, True, False)
    assert found["broadcasts"] == ["weekly for …0199"]
    assert [entry["detail"] for entry in found["exports"]] == ["3 rows as csv"]  # type: ignore[attr-defined]
    assert sum(row.forgotten for row in rows(ledger)) == 1


def test_what_cannot_be_erased_is_named(ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("export", NAME, "--output", str(tmp_path / "rows.csv"), "--ledger", ledger)
    assert run("forget", NUMBER, "--yes", "--ledger", ledger) == 0
    said = capsys.readouterr().out
    assert "The name of broadcast weekly for …0199 holds a number" in said
    assert "3 rows as csv: delete what is left of it." in said
    assert "The opt-out stays" in said
    assert "0199" not in said.replace("…0199", "")
    assert NUMBER[1:] not in said


@pytest.mark.parametrize("words", [["forget", NUMBER], ["purge", "--older-than", "180d"]])
def test_without_a_confirmation_nothing_is_changed(
    ledger: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(InputError, match="--yes"):
        run(*words, "--ledger", ledger)
    assert not any(row.forgotten for row in rows(ledger))


@pytest.mark.parametrize(("answer", "erased"), [("y\n", 1), ("n\n", 0), ("", 0)])
def test_a_terminal_is_asked(ledger: str, answer: str, erased: int, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO(answer)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    if erased:
        run("forget", NUMBER, "--ledger", ledger)
    else:
        with pytest.raises(InputError, match="nothing was changed"):
            run("forget", NUMBER, "--ledger", ledger)
    assert sum(row.forgotten for row in rows(ledger)) == erased


def test_an_export_of_opt_outs_is_named_when_one_of_them_is_erased(
    ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("opt-outs", "export", "--output", str(tmp_path / "out.csv"), "--ledger", ledger)
    assert run("forget", NUMBER, "--yes", "--ledger", ledger) == 0
    assert ": 1 opt-out as csv: delete what is left of it." in capsys.readouterr().out
    assert run("forget", "+16505550102", "--yes", "--ledger", ledger) == 0
    assert "Exported" not in capsys.readouterr().out, "who had not opted out is not in it"


def test_a_dry_run_changes_nothing(ledger: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("forget", NUMBER, "--dry-run", "--ledger", ledger, "--json") == 0
    assert told(capsys)["rows"] == 1
    assert not any(row.forgotten for row in rows(ledger))


def test_a_list_of_people_is_read_from_standard_input(
    ledger: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("+16505550101\n\n+1 650 555 0102\n+16505550101\n"))
    assert run("forget", "--stdin", "--yes", "--ledger", ledger, "--json") == 0
    assert told(capsys)["rows"] == 2


def test_what_is_no_address_erases_nobody(ledger: str) -> None:
    for who in (["nobody"], []):
        with pytest.raises(InputError):
            run("forget", *who, "--yes", "--ledger", ledger)


@pytest.mark.parametrize("words", [["forget", "+16505550101", "--yes"], ["purge", "--older-than", "30d", "--yes"]])
def test_a_mistyped_ledger_is_not_made(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(InputError, match="there is no ledger"):
        run(*words, "--ledger", str(tmp_path / "no.db"))
    assert not (tmp_path / "no.db").exists()


@pytest.mark.parametrize("time_limit", ["180", "0d", "six months", "1e3d"])
def test_an_age_that_is_none_is_refused(ledger: str, time_limit: str) -> None:
    with pytest.raises(InputError, match="number of days"):
        run("purge", "--older-than", time_limit, "--yes", "--ledger", ledger)


def test_old_cached_audio_is_deleted_and_what_links_lead_to_is_not(
    ledger: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    elsewhere, old, new, link = tmp_path / "mine", cache / "old.ogg", cache / "new.ogg", cache / "link.ogg"
    for path in (elsewhere, old, new):
        path.write_bytes(b"OggS")
    link.symlink_to(elsewhere)
    long_ago = time.time() - 200 * 86_400
    for path in (elsewhere, old):
        os.utime(path, (long_ago, long_ago))
    try:
        assert run("purge", "--older-than", "180d", "--dry-run", "--ledger", ledger, "--json") == 0
        assert told(capsys)["cached_files"] == 1
        assert old.exists()
        assert run("purge", "--older-than", "180d", "--yes", "--ledger", ledger, "--json") == 0
        assert told(capsys)["cached_files"] == 1
        assert (old.exists(), new.exists(), elsewhere.exists()) == (False, True, True)
    finally:
        for path in (old, new, link):
            path.unlink(missing_ok=True)
