"""Rows out of an Excel workbook (.xlsx): its first sheet, row by row, whatever its size.

Source: https://openpyxl.readthedocs.io/en/stable/optimized.html#read-only-mode
"""

import re
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Any, BinaryIO

from ..media.limits import SPOOL_BYTES
from ..models.errors import RecipientListError
from .columns import Columns, RawRow, cut, no_column

MAX_UNPACKED_BYTES = 256_000_000
_MAX_ROWS, _MAX_COLUMNS = 1_048_576, 200  # Excel's own rows; of its 16,384 columns a list has a few
_LONGEST_CELL = 32_767  # Excel's own
# openpyxl holds a row, and each part that has none, as a tree of some 80 bytes for each byte: a workbook of 10 kB took 460 MB.
MAX_ROW_BYTES = 4_000_000
_ROW_ENDS = re.compile(rb"</(?:\w+:)?row\s*>|<(?:\w+:)?row\b[^<>]*/>")
_TEXT_ENDS = re.compile(rb"</(?:\w+:)?si\s*>|<(?:\w+:)?si\s*/>")
_SHARED_TEXTS = re.compile(rb"<(?:\w+:)?sst[\s>]")
ROUNDED = "the spreadsheet rounded the number and its last digits are lost: format the column as text"


def excel_rows(head: bytes, stream: BinaryIO, filename: str, *, is_address: Callable[[str], bool]) -> Iterator[RawRow]:
    """Read rows under a row of headings, or the one column of a sheet that has none.

    Args:
        head: What was read of the stream already.
        stream: The rest.
        filename: For messages.
        is_address: Whether a text can be sent to: tells a sheet without headings from one without a usable column.

    Raises:
        RecipientListError: No workbook of Excel, damaged, too large, or no usable column.
    """
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    refused = (
        zipfile.BadZipFile,
        InvalidFileException,
        KeyError,
        ValueError,
        TypeError,
        OSError,
        SyntaxError,
        EOFError,
    )
    with ExitStack() as stack:
        source: Any = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))
        source.writelines(chain((head,), iter(lambda: stream.read(1 << 20), b"")))
        source.seek(0)
        line = 0
        try:
            _check_size(source, filename)
            with warnings.catch_warnings():  # of what is lost when it is written again, which it never is
                warnings.simplefilter("ignore")
                book = load_workbook(source, read_only=True, data_only=True, keep_links=False)
            stack.callback(book.close)
            sheet = next((each for each in book.worksheets if each.sheet_state == "visible"), None)
            if sheet is None:
                raise RecipientListError(f"the list {cut(filename)} has no sheet that is visible")
            sheet.reset_dimensions()  # what a file says of them may be wrong
            rows = enumerate(sheet.iter_rows(max_row=_MAX_ROWS, max_col=_MAX_COLUMNS, values_only=True), 1)
            for row in _under_headings(((number, _cells(row)) for number, row in rows), filename, is_address):
                line = row.line
                yield row
        except RecipientListError:
            raise
        except refused as error:
            raise RecipientListError(
                f"the list {cut(filename)} can't be read as an Excel workbook after row {line:,} ({type(error).__name__}): "
                "save it again as .xlsx, or as CSV"
            ) from None


def _check_size(source: Any, filename: str) -> None:
    with zipfile.ZipFile(source) as archive:
        # zipfile reads no more of a part than is stated here.
        size = sum(part.file_size for part in archive.infolist())
        if size > MAX_UNPACKED_BYTES:
            raise RecipientListError(
                f"the list {cut(filename)} has {size / 1e6:,.0f} MB unpacked, where {MAX_UNPACKED_BYTES / 1e6:,.0f} MB are "
                "read of a workbook: save it as CSV"
            )
        for part in archive.infolist():
            if part.file_size > MAX_ROW_BYTES and not _has_short_rows(archive, part):
                raise RecipientListError(
                    f"the list {cut(filename)} has more than {MAX_ROW_BYTES / 1e6:,.0f} MB in one row, or in something that is"
                    " no row, such as a pivot table: save it as CSV"
                )
    source.seek(0)


def _has_short_rows(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bool:
    """Whether rows, or shared texts, end often enough in a part for no more than that to be held at a time."""
    with archive.open(part) as content:
        block = content.read(1 << 20)
        if b"<" not in block[:64]:
            return True  # a picture: no XML, in whatever encoding
        ends, since, rest = _TEXT_ENDS if _SHARED_TEXTS.search(block[:4096]) else _ROW_ENDS, 0, b""
        while block:
            last = None
            for last in ends.finditer(rest + block):  # noqa: B007 (the last of them)
                pass
            since = len(rest + block) - last.end() if last else since + len(block)
            if since > MAX_ROW_BYTES:
                return False
            rest, block = block[-32:], content.read(1 << 20)
    return True


def _cells(row: tuple[object, ...]) -> list[object]:
    return [cell[:_LONGEST_CELL] if isinstance(cell, str) else cell for cell in row]


def _under_headings(
    rows: Iterator[tuple[int, list[object]]], filename: str, is_address: Callable[[str], bool]
) -> Iterator[RawRow]:
    filled: Iterator[tuple[int, list[object]]] = (row for row in rows if any(cell not in (None, "") for cell in row[1]))
    first = next(filled, None)
    if first is None:
        return
    number, cells = first
    names = ["" if cell is None else str(cell) for cell in cells]
    columns = Columns.find(names)
    if not columns.address:
        bare = [place for place, name in enumerate(names) if name.strip()]
        if len(bare) != 1 or not is_address(_number_text(cells[bare[0]])):
            raise no_column(filename, len(bare))
        columns = Columns(address=(bare[0],))
        filled = chain((first,), filled)
    for number, cells in filled:
        row = columns.pick(number, cells)
        yield row._replace(damage=ROUNDED) if _rounded(row.address) else row


def _rounded(value: object) -> bool:
    """Whether a number was likely stored with its last digits lost: 1.65056E+10 was saved."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value >= 10**15 or (value >= 10**8 and value % 100_000 == 0)


def _number_text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
