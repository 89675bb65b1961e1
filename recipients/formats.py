"""A recipient list's rows out of CSV, Excel, JSON and Parquet, one at a time, whatever the file is called."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import BinaryIO

from ..models.errors import RecipientListError
from .columns import NO_ADDRESS, Columns, RawRow, cut, no_column
from .csv_rows import TOO_LONG, csv_rows
from .excel import excel_rows
from .tables import parquet_rows
from .text import LONGEST_LINE, Line, decoded, read_head, read_lines, utf8_blocks

_HELD_ROWS = 2_000  # objects looked at before a list of them is said to have no usable column
_NOT_LISTS = (
    (b"\xd0\xcf\x11\xe0", "an old or password-protected workbook: save it as .xlsx or CSV without a password"),
    (b"\x1f\x8b", "compressed: unpack it first"),
    (b"%PDF", "a PDF document"),
    (b"<", "an HTML or XML page"),
)
_JSON_MARKS = re.compile(rb'["\\{}\[\],]')


def read_rows(stream: BinaryIO, *, filename: str, is_address: Callable[[str], bool]) -> Iterator[RawRow]:
    """Find out what the stream holds and read it row by row.

    Args:
        stream: Bytes from the list's beginning; need not be seekable.
        filename: For messages, and for its suffix where the content doesn't tell.
        is_address: Whether a text can be sent to: tells a list without headings from one without a usable column.

    Raises:
        RecipientListError: Not a list, or no usable column.
    """
    head = read_head(stream)
    if head.startswith(b"PAR1"):
        return parquet_rows(head, stream, filename)
    if head.startswith(b"PK\x03\x04"):
        return excel_rows(head, stream, filename, is_address=is_address)
    suffix = filename.lower().rpartition(".")[2]
    if suffix in {"parquet", "pq"} and head:
        raise RecipientListError(f"the list {cut(filename)} is not Parquet, whatever its name says")
    for magic, what in _NOT_LISTS:
        if head.lstrip().startswith(magic):
            raise RecipientListError(f"the list {cut(filename)} is {what}")
    blocks = utf8_blocks(head, stream)
    first = next(blocks, b"")
    blocks = chain((first,), blocks)
    opening = first.lstrip()[:1]
    if opening == b"[":
        return _checked(map(_json_row, _array_items(blocks)), filename)
    if opening == b"{" or suffix in {"jsonl", "ndjson", "json"}:
        return _checked((_json_row(line) for line in read_lines(blocks) if line.text.strip()), filename)
    return csv_rows(read_lines(blocks), filename=filename, is_address=is_address)


def object_rows(values: Iterable[object]) -> Iterator[RawRow]:
    """Read values that are in memory, numbered from 1: mappings with the columns of a list, or bare addresses."""
    return _checked((_value_row(place, value) for place, value in enumerate(values, 1)), "")


# --- JSON

_Keyed = tuple[RawRow, list[str] | None]  # a row, and its keys where it has keys but none for an address


def _json_row(line: Line) -> _Keyed:
    if not line.whole:
        return RawRow(line.number, line.text[:1000], damage=TOO_LONG), None
    try:
        value = json.loads(line.text)
    except (ValueError, RecursionError):
        return RawRow(line.number, line.text[:1000], damage="not JSON: it needs one object or string a line"), None
    if isinstance(value, dict | str | int | float):
        return _value_row(line.number, value)
    return RawRow(line.number, line.text[:1000], damage="neither an object nor an address"), None


def _value_row(line: int, value: object) -> _Keyed:
    if not isinstance(value, Mapping):
        return RawRow(line, value), None
    keys = [str(key) for key in value]
    columns = Columns.find(keys)
    row = columns.pick(line, list(value.values()))
    return row, None if columns.address else keys


def _checked(rows: Iterable[_Keyed], filename: str) -> Iterator[RawRow]:
    """Objects have no line of headings: where none of the first ones has an address, the list has no such column."""
    rows = iter(rows)
    held: list[RawRow] = []
    missing: list[str] | None = None
    for row, keys in rows:
        held.append(row)
        missing = missing if keys is None else keys or missing or []
        if keys is None and row.damage in {"", NO_ADDRESS}:
            missing = None
            break
        if len(held) == _HELD_ROWS:
            break
    if missing is not None:
        raise no_column(filename, len(missing))
    yield from held
    del held
    for row, _ in rows:
        yield row


class _Depth:
    """Where in a JSON text one is: how deep in brackets, and whether in a string."""

    def __init__(self) -> None:
        self.depth, self._quoted, self._escaped = 0, False, -1

    def step(self, sign: bytes, place: int) -> bool:
        """Take the next mark and its place in the whole text; say whether it is one of structure."""
        if self._quoted:
            if place != self._escaped:
                self._quoted = sign != b'"'
                self._escaped = place + 1 if sign == b"\\" else -1
            return False
        self._quoted = sign == b'"'
        self.depth = max(self.depth + (sign in b"{[") - (sign in b"}]"), 0)
        return not self._quoted


def _array_items(blocks: Iterator[bytes]) -> Iterator[Line]:
    """Cut one JSON array into its items, numbered from 1, without reading it whole; broken ones are cut out too."""
    item, number, seen, at = bytearray(), 0, 0, _Depth()
    for block in blocks:
        start = 0
        for mark in _JSON_MARKS.finditer(block):
            place, before = mark.start(), at.depth
            if not at.step(mark[0], seen + place):
                continue
            if before == 0 and mark[0] == b"[":
                start = place + 1
            elif before == 1 and (at.depth == 0 or mark[0] == b","):
                item += block[start:place]
                start = place + 1
                if item.strip():
                    number += 1
                    yield _item(number, item)
                item.clear()
        item += block[start:]
        del item[2 * LONGEST_LINE :]
        seen += len(block)
    if item.strip():  # the array is cut off in the middle of an item, or more follows it
        yield _item(number + 1, item)


def _item(number: int, raw: bytearray) -> Line:
    return Line(number, decoded(bytes(raw[: LONGEST_LINE + 1]).strip()), whole=len(raw) <= LONGEST_LINE)
