"""CSV as spreadsheets, exports and hands write it: any delimiter, quoted fields, and quotes that nobody closed."""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator

from .columns import Columns, RawRow, no_column
from .headings import column_of
from .text import LONGEST_LINE, Line

_DELIMITERS = ",;\t|"
_LONGEST_RECORD = 20  # lines that one quoted field may span
_PHONE_LIKE = re.compile(r"[\s('\"=]*\+?\d[\d\s().\-/]{5,30}['\"]?\s*")
TOO_LONG = f"the line is longer than {LONGEST_LINE:,} bytes"


def csv_rows(lines: Iterator[Line], *, filename: str, is_address: Callable[[str], bool]) -> Iterator[RawRow]:
    """Read rows under a line of headings, or the one column of a list that has none.

    Args:
        lines: From the list's first on.
        filename: For messages.
        is_address: Whether a text can be sent to: tells a list without headings from one without a usable column.

    Raises:
        RecipientListError: No usable column.
    """
    queue = _Lines(lines)
    delimiters = _DELIMITERS
    first = queue.next_filled()
    if first and (hint := re.fullmatch(r'"?sep=(.)"?[,;\t|]*', first.text, re.IGNORECASE)):  # Excel's own hint
        delimiters = hint[1]
        first = queue.next_filled()
    if first is None:
        return

    def addressed(cell: str) -> bool:
        return bool(_PHONE_LIKE.fullmatch(cell)) or is_address(cell)

    layouts = [(delimiter, [cell.strip() for cell in _cells(first.text, delimiter)]) for delimiter in delimiters]
    delimiter, names = max(layouts, key=lambda layout: (sum(map(bool, map(column_of, layout[1]))), len(layout[1])))
    columns = Columns.find(names)
    if not columns.address:
        bare = next(((d, cells) for d, cells in layouts if addressed(cells[0]) and not any(cells[1:])), None)
        if bare is None:
            hint_at_data = ", in a first line of headings" if any(map(addressed, names)) else ""
            raise no_column(filename, len(names), hint_at_data)
        (delimiter, _), names, columns = bare, bare[1][:1], Columns(address=(0,))
        queue.push_back([first])
    yield from _rows(queue, delimiter, len(names), columns)


class _Lines:
    """Lines that can be put back, for a quote that was opened and never closed."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines, self._returned = lines, deque[Line]()

    def next(self) -> Line | None:
        return self._returned.popleft() if self._returned else next(self._lines, None)

    def next_filled(self) -> Line | None:
        while (line := self.next()) and not line.text.strip():
            pass
        return line

    def push_back(self, lines: list[Line]) -> None:
        self._returned.extendleft(reversed(lines))


def _rows(queue: _Lines, delimiter: str, width: int, columns: Columns) -> Iterator[RawRow]:
    blank = delimiter + " \t\xa0\"'"
    while line := queue.next():
        text = line.text
        if not line.whole:
            yield RawRow(line.number, text, damage=TOO_LONG)
        elif not text.strip(blank):
            continue  # spreadsheets end a list with rows of nothing but delimiters
        elif '"' not in text:
            yield columns.pick(line.number, text.split(delimiter))
        else:
            cells = _record([text], delimiter) or _spanning(text, queue, delimiter, width, columns)
            damage = ""
            if not cells:
                # Where the cells still fall into their columns the quote did no harm.
                cells = _cells(text, delimiter)
                damage = "" if len(cells) == width else "a quote is opened and never closed"
            yield RawRow(line.number, text, damage=damage) if damage else columns.pick(line.number, cells)


def _spanning(text: str, queue: _Lines, delimiter: str, width: int, columns: Columns) -> list[str] | None:
    """Read a record whose quoted field goes on below; None, and the lines put back, where that would hide rows.

    A stray quote opens a field too, and the next one, rows later, seems to close it: the rows between would be lost.
    """
    texts, below = [text], list[Line]()
    while width > 1 and len(texts) < _LONGEST_RECORD and sum(map(len, texts)) < LONGEST_LINE and (line := queue.next()):
        below.append(line)
        texts.append(line.text)
        if not line.whole:
            break
        if '"' in line.text and (cells := _record(texts, delimiter)) is not None:
            hidden = any(len(_cells(row, delimiter)) == width and _has_phone(row, delimiter) for row in texts[1:-1])
            broken = any("\n" in cells[place].strip() for place in columns.address if place < len(cells))
            if len(cells) == width and not hidden and not broken:
                return cells
            break
    queue.push_back(below)
    return None


def _has_phone(text: str, delimiter: str) -> bool:
    return any(_PHONE_LIKE.fullmatch(cell) for cell in text.split(delimiter))


def _record(texts: list[str], delimiter: str) -> list[str] | None:
    """The cells of a record, or None while a quote is open, which is when the csv module asks for one line more."""
    lines = [text + "\n" for text in (*texts, "")]
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=len(texts) > 1)
    try:
        cells = next(reader)
    except csv.Error:
        return None
    return cells if reader.line_num == len(texts) else None


def _cells(text: str, delimiter: str) -> list[str]:
    """The cells of one line by itself, an open quote closed at its end."""
    return [cell.rstrip("\n") for cell in next(csv.reader([text], delimiter=delimiter, skipinitialspace=True), [""])]
