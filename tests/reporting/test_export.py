"""An export holds what the ledger holds, harms no spreadsheet, and can be sent to again."""

import asyncio
import csv
import datetime
import io
import json
import os
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import traced_peak
from openpyxl import load_workbook
from prefect_whatsapp.ledger import Row
from prefect_whatsapp.models import SendState
from prefect_whatsapp.models.escaping import spreadsheet
from prefect_whatsapp.recipients.reader import RemovedRow, read_recipients
from prefect_whatsapp.reporting import export
from prefect_whatsapp.reporting.export import (
    EXPORT_FORMATS,
    REMOVED_COLUMNS,
    ROW_COLUMNS,
    ExportFormat,
    export_removed,
    export_rows,
)

FORMATS = EXPORT_FORMATS
QUICK_AND_SLOW = [pytest.param(form, marks=pytest.mark.ci) if form == "xlsx" else form for form in FORMATS]
NOON = datetime.datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=datetime.UTC)
ADA = Row(
    id=1,
    broadcast_id="B1",
    recipient="+16505550123",
    name="Ada Byron, Countess",
    reply_to="wamid.Q",
    state=SendState.FAILED,
    attempts=2,
    message_id="wamid.M",
    status_text="accepted",
    error_code="131026",
    error_text='not on "WhatsApp"\nat all',
    error_kind="recipient",
    task_run_id="0198-ab",
    provider="graph",
    account="106540352242922",
    claimed_at=NOON,
    settled_at=None,
    broadcast="weekly-2026-W47",
)
HOSTILE = ["=cmd|' /C calc'!A0", "+1+1", "-2", "@SUM(1)", "\t=1", " =1", "\r=1", "＝1", '=HYPERLINK("http://x.test")']


async def each(rows: Iterable[Row]) -> AsyncIterator[Row]:
    for row in rows:
        yield row


async def exported(rows: Iterable[Row], form: ExportFormat) -> bytes:
    stream = io.BytesIO()
    rows = list(rows)
    assert await export_rows(each(rows), stream, form) == len(rows)
    assert not stream.closed
    return stream.getvalue()


def parsed(content: bytes, form: ExportFormat) -> list[dict[str, object]]:
    match form:
        case "csv":
            return [dict(row) for row in csv.DictReader(io.StringIO(content.decode(), newline=""))]
        case "jsonl":
            return [json.loads(line) for line in content.splitlines()]
        case "parquet":
            return pq.read_table(io.BytesIO(content)).to_pylist()  # type: ignore[no-any-return]
        case "xlsx":
            headings, *rows = sheet_of(content).iter_rows(values_only=True)
            texts = {name for name, kind in {**ROW_COLUMNS, **REMOVED_COLUMNS}.items() if kind is str}
            return [
                {str(n): cell or "" if n in texts else cell for n, cell in zip(headings, row, strict=True)}
                for row in rows
            ]


def sheet_of(content: bytes) -> Any:
    return load_workbook(io.BytesIO(content), read_only=True).worksheets[0]


@pytest.mark.parametrize(
    ("form", "attempts", "claimed_at", "settled_at"),
    [
        ("csv", "2", "2026-11-20T12:00:00.250000+00:00", ""),
        ("jsonl", 2, "2026-11-20T12:00:00.250000+00:00", None),
        ("parquet", 2, NOON, None),
        ("xlsx", 2, NOON.replace(tzinfo=None), None),
    ],
)
async def test_a_row_is_written_whole(
    form: ExportFormat, attempts: object, claimed_at: object, settled_at: object
) -> None:
    before = datetime.datetime.now(datetime.UTC)
    [row] = parsed(await exported([ADA], form), form)
    at = datetime.datetime.fromisoformat(str(row["exported_at"]))
    at = at if form != "xlsx" else at.replace(tzinfo=datetime.UTC)  # Excel's is a day's fraction, without a zone
    rounded = datetime.timedelta(milliseconds=1)
    assert before - rounded <= at <= datetime.datetime.now(datetime.UTC) + rounded
    assert row == {
        "recipient": "+16505550123",
        "name": "Ada Byron, Countess",
        "state": "failed",
        "provider": "graph",
        "account": "106540352242922",
        "message_id": "wamid.M",
        "status": "accepted",
        "error_code": "131026",
        "error_text": 'not on "WhatsApp"\nat all',
        "attempts": attempts,
        "task_run_id": "0198-ab",
        "claimed_at": claimed_at,
        "settled_at": settled_at,
        "row": ADA.id if form != "csv" else str(ADA.id),
        **dict.fromkeys(("sent_at", "delivered_at", "read_at", "played_at", "failed_at"), settled_at),
        "resolved_by": "",
        "line": 0 if form != "csv" else "0",
        "broadcast": "weekly-2026-W47",
        "exported_at": row["exported_at"],
    }
    assert list(row) == list(ROW_COLUMNS)


@pytest.mark.parametrize("form", FORMATS)
async def test_no_rows_make_a_file_of_no_rows(form: ExportFormat) -> None:
    content = await exported([], form)
    assert parsed(content, form) == []
    if form != "xlsx":
        assert (b"recipient" in content) is (form != "jsonl")


@pytest.mark.parametrize("form", QUICK_AND_SLOW)
async def test_what_is_exported_can_be_read_as_a_list_and_gives_the_same_recipients(form: ExportFormat) -> None:
    addresses = [f"+1650{n:07}" for n in range(5_000_000, 5_004_100)] + [
        "120363000000001234@g.us",
        "17680561234-1479621234@g.us",
        "120363000000001234@newsletter",
        "120363000000001234@lid",
        "US.13491208655302741918",
        "Y2FwaV9ncm91cDoxOTUwNTU1",
    ]
    content = await exported([replace(ADA, recipient=address, name="Zoë; O'Hara") for address in addresses], form)
    chunks = list(read_recipients(io.BytesIO(content), filename=f"export.{form}"))
    assert [recipient.to for chunk in chunks for recipient in chunk.usable] == addresses
    assert {recipient.name for chunk in chunks for recipient in chunk.usable} == {"Zoë; O'Hara"}
    assert not [row for chunk in chunks for row in chunk.removed]


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_cell_that_a_spreadsheet_would_calculate_is_made_text(text: str) -> None:
    [row] = parsed(await exported([replace(ADA, name=text, error_text=text, message_id=text)], "csv"), "csv")
    assert row["name"] == row["error_text"] == row["message_id"] == spreadsheet(text.replace("\r", "\n"))
    assert row["name"].startswith("'")
    assert row["recipient"] == "+16505550123"


@pytest.mark.parametrize("form", ["jsonl", "parquet", "xlsx"])
@pytest.mark.parametrize("text", HOSTILE)
async def test_other_formats_hold_the_text_itself(form: ExportFormat, text: str) -> None:
    [row] = parsed(await exported([replace(ADA, name=text)], form), form)
    assert row["name"] == (text if form != "xlsx" else text.replace("\r", "\n"))


async def test_excel_opens_an_export_with_whole_numbers_and_calculates_nothing() -> None:
    """Whatever separator and alphabet its language has: a German Excel shows a CSV as one column, and 1,65055E+10."""
    rows = [replace(ADA, name=text, error_code="16505550123", error_text="#N/A") for text in ("Zoë", *HOSTILE)]
    headings, *written = sheet_of(await exported(rows, "xlsx")).iter_rows()
    assert [cell.value for cell in headings] == list(ROW_COLUMNS)
    assert written[0][0].value == "+16505550123"
    for row in written:
        kinds = {name: cell.data_type for name, cell in zip(ROW_COLUMNS, row, strict=True) if cell.value is not None}
        formats = {
            name: cell.number_format for name, cell in zip(ROW_COLUMNS, row, strict=True) if kinds.get(name) == "s"
        }
        assert {kinds[name] for name in ("recipient", "name", "error_code", "error_text", "message_id")} == {"s"}
        assert (kinds["attempts"], kinds["claimed_at"], kinds["line"]) == ("n", "d", "n")
        assert set(formats.values()) == {"@"}


async def test_more_rows_than_a_sheet_of_excels_has_go_on_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_SHEET_ROWS", 2)
    book = load_workbook(io.BytesIO(await exported([replace(ADA, name=n) for n in "abcde"], "xlsx")), read_only=True)
    assert [[row[1] for row in sheet.iter_rows(values_only=True)] for sheet in book.worksheets] == [
        ["name", "a", "b"],
        ["name", "c", "d"],
        ["name", "e"],
    ]


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.sampled_from(FORMATS))
@settings(max_examples=80)
async def test_any_name_leaves_the_recipient_whole_and_no_cell_a_formula(names: list[str], form: ExportFormat) -> None:
    rows = [replace(ADA, recipient=f"+1650555{n:04}", name=name, error_text=name) for n, name in enumerate(names)]
    back = parsed(await exported(rows, form), form)
    assert [row["recipient"] for row in back] == [row.recipient for row in rows]
    if form == "csv":
        cells = [str(cell) for row in back for cell in list(row.values())[1:]]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]


TERMINAL = "a\x1b]0;mine\x07b\x1b[2Jc\x9b31md\u202ee\u2066f\x7fg\r\nh\tZo\u00eb \u0645\u06cc\u200c\u062e\r"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_a_terminal_that_shows_an_export_carries_nothing_out(form: ExportFormat) -> None:
    content = await exported([replace(ADA, name=TERMINAL, error_text=TERMINAL, broadcast=TERMINAL)], form)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", content.decode())
    [row] = parsed(content, form)
    stripped = "a]0;mineb[2Jc31mdefg\nh\tZo\u00eb \u0645\u06cc\u200c\u062e\n"
    left = stripped if form == "csv" else TERMINAL
    assert row["name"] == row["error_text"] == row["broadcast"] == left


async def test_half_a_surrogate_is_a_question_mark() -> None:
    for form in FORMATS:
        [row] = parsed(await exported([replace(ADA, name="A\ud800da")], form), form)
        assert row["name"] == "A?da"


async def test_a_time_without_a_zone_is_utc_and_another_zone_is_told_in_utc() -> None:
    east = NOON.astimezone(datetime.timezone(datetime.timedelta(hours=3)))
    row = replace(ADA, claimed_at=NOON.replace(tzinfo=None), settled_at=east)
    for form in FORMATS:
        [back] = parsed(await exported([row], form), form)
        assert str(back["claimed_at"]) == str(back["settled_at"])
        assert "12:00:00" in str(back["settled_at"])


@pytest.mark.parametrize("form", FORMATS)
async def test_a_path_is_replaced_when_the_export_is_whole_and_not_before(tmp_path: Path, form: ExportFormat) -> None:
    path = tmp_path / f"rows.{form}"
    path.write_text("what was there")

    async def broken() -> AsyncIterator[Row]:
        for _ in range(5_000):
            yield ADA
        raise ConnectionResetError("the ledger is gone")

    with pytest.raises(ConnectionResetError):
        await export_rows(broken(), path, form)
    assert path.read_text() == "what was there"
    assert await export_rows(each([ADA]), str(path), form) == 1
    assert parsed(path.read_bytes(), form)[0]["recipient"] == ADA.recipient
    assert os.listdir(tmp_path) == [path.name]


async def test_a_path_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await export_rows(each([ADA]), tmp_path / "nowhere" / "rows.csv", "csv")


@pytest.mark.parametrize("form", FORMATS)
async def test_removed_rows_are_written_with_line_value_and_reason(form: ExportFormat) -> None:
    removed = [RemovedRow(2, "=cmd|x", "a formula"), RemovedRow(7, "16505550123", "no country code")]
    for rows in (removed, (row for row in removed)):
        stream = io.BytesIO()
        assert await export_removed(rows, stream, form) == 2
        back = parsed(stream.getvalue(), form)
        assert list(back[0]) == list(REMOVED_COLUMNS)
        assert [str(row["line"]) for row in back] == ["2", "7"]
        assert back[0]["value"] == ("'=cmd|x" if form == "csv" else "=cmd|x")
        assert back[1]["value"] == "16505550123"


@pytest.mark.parametrize("form", QUICK_AND_SLOW)
def test_memory_does_not_grow_with_the_export(tmp_path: Path, form: ExportFormat) -> None:
    def peak(count: int) -> int:
        def write() -> None:
            rows = (replace(ADA, id=n, message_id=f"wamid.{n}") for n in range(count))
            assert asyncio.run(export_rows(each(rows), tmp_path / "rows", form)) == count

        return traced_peak(write, tries=2)

    peak(2_000)  # what is loaded once
    assert peak(16_000) < peak(4_000) * 1.25 + 200_000


async def test_an_export_is_its_owners_alone_and_follows_no_link_that_lies_in_wait(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / "rows.csv.part").symlink_to(elsewhere)
    (tmp_path / "rows.csv").symlink_to(elsewhere)
    await export_removed([RemovedRow(1, "x", "y")], tmp_path / "rows.csv", "csv")
    assert elsewhere.read_text() == "mine"
    assert not (tmp_path / "rows.csv").is_symlink()
    assert (tmp_path / "rows.csv").stat().st_mode & 0o777 == 0o600
    assert set(os.listdir(tmp_path)) == {"elsewhere", "rows.csv", "rows.csv.part"}
