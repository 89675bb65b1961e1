"""An Excel workbook is read like CSV, with what a spreadsheet does to numbers caught."""

import datetime
import io
import zipfile
from collections.abc import Sequence
from typing import Any

import pytest
from openpyxl import Workbook
from prefect_whatsapp.models import Recipient
from prefect_whatsapp.models.errors import RecipientListError
from prefect_whatsapp.recipients import excel
from prefect_whatsapp.recipients.reader import ListChunk, read_recipients

ADA, BOB = "+16505550123", "+16505550124"


def workbook(*rows: Sequence[Any], hidden_first: bool = False) -> bytes:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    if hidden_first:
        sheet.append(["secret"])
        sheet.sheet_state = "hidden"
        sheet = book.create_sheet("People")
    for row in rows:
        sheet.append(row)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def read(content: bytes, region: str = "") -> ListChunk:
    [chunk] = read_recipients(io.BytesIO(content), filename="people.xlsx", default_region=region)
    return chunk


def test_rows_under_headings_are_recipients() -> None:
    chunk = read(workbook(["Name", "Telefon", "Land"], ["Ada", ADA, None], [], ["Bob", "6505550124", "US"]))
    assert chunk.usable == [Recipient(to=ADA, name="Ada"), Recipient(to=BOB, name="Bob")]
    assert dict(chunk.completed) == {"US": 1}


@pytest.mark.parametrize(
    ("cell", "address"), [(16505550123, ADA), (16505550123.0, ADA), ("16505550123.0", ADA), ("'+1 650 555 0123", ADA)]
)
def test_a_number_stored_as_a_number_is_that_number(cell: object, address: str) -> None:
    assert [recipient.to for recipient in read(workbook(["phone"], [cell]), "US").usable] == [address]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (165056 * 10**5, "the spreadsheet rounded the number and its last digits are lost: format the column as text"),
        ("1.65056E+10", "the spreadsheet rounded the number and its last digits are lost: format the column as text"),
        (1.650555e15, "the spreadsheet rounded the number and its last digits are lost: format the column as text"),
        (16505550123.5, "not a whole number"),
        (datetime.date(2026, 1, 1), "neither text nor a number: datetime"),
        (True, "neither text nor a number: bool"),
        ("#N/A", "not a phone number or chat id"),
    ],
)
def test_what_a_spreadsheet_made_of_a_number_is_removed_with_its_reason(cell: object, reason: str) -> None:
    [row] = read(workbook(["phone"], [cell]), "US").removed
    assert (row.line, row.reason) == (2, reason)


def test_a_sheet_of_one_column_needs_no_headings_and_a_hidden_sheet_is_passed_over() -> None:
    assert [recipient.to for recipient in read(workbook([ADA], [BOB], hidden_first=True)).usable] == [ADA, BOB]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (workbook(["canary", "age"], ["canary", 36]), "has no usable column: it has 2 columns"),
        (workbook(["phone"]), "is empty"),
        (workbook(), "is empty"),
        (b"PK\x03\x04 and nothing more", "can't be read as an Excel workbook"),
        (b"\xd0\xcf\x11\xe0...", "an old or password-protected workbook"),
    ],
)
def test_a_workbook_that_is_no_list_is_refused_in_one_sentence(content: bytes, reason: str) -> None:
    with pytest.raises(RecipientListError, match=reason) as refused:
        read(content)
    assert "canary" not in str(refused.value)


def test_a_zip_that_is_no_workbook_is_refused() -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a.txt", "canary")
    with pytest.raises(RecipientListError, match="can't be read as an Excel workbook"):
        read(sink.getvalue())


def test_a_workbook_that_unpacks_to_more_than_a_list_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excel, "MAX_UNPACKED_BYTES", 1_000)
    with pytest.raises(RecipientListError, match=r"MB unpacked, where 0 MB are read of a workbook: save it as CSV"):
        read(workbook(["phone"], [ADA]))


def test_a_row_that_says_it_is_the_billionth_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excel, "_MAX_ROWS", 10_000)  # Excel's own million takes seconds
    content = workbook(["phone"], [ADA], [BOB])
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(sink, "w") as archive:
        for name in given.namelist():
            part = given.read(name)
            if name.endswith("sheet1.xml"):
                part = part.replace(b'<row r="3"', b'<row r="999999999"').replace(b'r="A3"', b'r="A999999999"')
            archive.writestr(name, part)
    assert [recipient.to for recipient in read(sink.getvalue()).usable] == [ADA]


@pytest.mark.parametrize(
    ("part", "end"),
    [
        ("xl/worksheets/sheet1.xml", b"</row>"),
        ("xl/workbook.xml", b"</workbook>"),
        ("xl/worksheets/sheet1.xml", b"</worksheet>"),
    ],
    ids=["a row of cells", "a part without rows", "what follows the rows"],
)
def test_a_small_file_that_unpacks_to_a_tree_of_gigabytes_is_refused(part: str, end: bytes) -> None:
    with pytest.raises(RecipientListError, match="has more than 4 MB in one row, or in something that is no row"):
        read(padded(workbook(["phone"], [ADA]), part, end, b"<c/>" * 1_500_000))


def test_a_sheet_is_as_long_as_it_likes_where_its_rows_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excel, "MAX_ROW_BYTES", 20_000)
    rows = [[f"+1650555{number:04}", f"name {number}"] for number in range(1_500)]
    assert read(padded(workbook(["phone", "name"], *rows), "xl/media/logo.png", b"", b"\x89PNG" * 10_000)).rows == 1_500


def padded(content: bytes, part: str, end: bytes, padding: bytes) -> bytes:
    """A workbook with something before the first of these ends of a part; the part is made where there is none."""
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as given, zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in {*given.namelist(), part}:
            held = given.read(name) if name in given.namelist() else b""
            archive.writestr(name, held.replace(end, padding + end, 1) if name == part and end else held or padding)
    return sink.getvalue()
