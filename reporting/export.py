"""What the ledger knows, as a file: a broadcast's rows, or the rows of its list that were removed.

An export holds whole numbers; that is its purpose. It is written as it is read, so memory doesn't grow with it, and a
path appears under its name only when it is whole.
"""

import csv
import datetime
import io
import json
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeVar, get_args

from ..models.escaping import escaped_controls, spreadsheet, without_controls

if TYPE_CHECKING:
    import pyarrow as pa
    from openpyxl.cell import Cell

    from ..ledger.people import OptOut
    from ..ledger.records import RemovedRow, Row

ExportFormat = Literal["csv", "jsonl", "parquet", "xlsx"]
EXPORT_FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)
Value = str | int | datetime.datetime | None
_T = TypeVar("_T")

ROW_COLUMNS: dict[str, type] = {
    "recipient": str,
    "name": str,
    "state": str,
    "provider": str,
    "account": str,
    "message_id": str,
    "status": str,
    "error_code": str,
    "error_text": str,
    "attempts": int,
    "task_run_id": str,
    "claimed_at": datetime.datetime,
    "settled_at": datetime.datetime,
    "row": int,  # by which the report in Prefect names it; its broadcast and it say which row it is
    "sent_at": datetime.datetime,
    "delivered_at": datetime.datetime,
    "read_at": datetime.datetime,
    "played_at": datetime.datetime,
    "failed_at": datetime.datetime,
    "resolved_by": str,
    "line": int,  # of the list
    "broadcast": str,
    # The row is told of at least as it was then. Its own times do not order two exports: services round the times of
    # receipts and tell of them late, and a row that is queued again has fewer of them.
    "exported_at": datetime.datetime,
}
REMOVED_COLUMNS: dict[str, type] = {"line": int, "value": str, "reason": str}
OPT_OUT_COLUMNS: dict[str, type] = {"recipient": str, "source": str, "since": datetime.datetime}
_BATCH = 2_000
_SHEET_ROWS = 1_000_000  # Excel opens 1,048,576
_COLUMN_WIDTH = 20  # of a time
_NO_XML = str.maketrans("", "", "\v\f\ufffe\uffff")  # what no document of XML holds, of what `without_controls` leaves


async def export_rows(rows: "AsyncIterable[Row]", target: str | Path | BinaryIO, form: ExportFormat) -> int:
    """Write a broadcast's rows.

    The column `recipient` is read again by `read_recipients`: the same recipients come back.

    Args:
        rows: As `LedgerStore.rows` gives them.
        target: A path, replaced when the export is whole; or a binary stream, which is left open.
        form: `csv` (UTF-8, a line of headings, texts without control characters) or `jsonl` (an object a line) or `parquet`
            for programs; `xlsx` for people: Excel opens it as it is, whatever its language, numbers whole and no formula.

    Returns:
        How many rows were written.

    Raises:
        OSError: The path can't be written; what stood there is as it was.
    """
    now = datetime.datetime.now(datetime.UTC)
    return await _export(rows, lambda row: _row_values(row, now), ROW_COLUMNS, target, form)


async def export_removed(
    rows: "AsyncIterable[RemovedRow] | Iterable[RemovedRow]", target: str | Path | BinaryIO, form: ExportFormat
) -> int:
    """Write the rows of a list that were removed: `line`, `value` and `reason`. Arguments as for `export_rows`."""
    return await _export(rows, lambda row: (row.line, row.value, row.reason), REMOVED_COLUMNS, target, form)


async def export_opt_outs(opt_outs: "AsyncIterable[OptOut]", target: str | Path | BinaryIO) -> int:
    """Write people who opted out as CSV: `recipient`, `source` and `since`. Arguments as for `export_rows`."""
    return await _export(
        opt_outs, lambda each: (each.address, each.source, _utc(each.since)), OPT_OUT_COLUMNS, target, "csv"
    )


def arrow_schema(columns: dict[str, type] | None = None) -> "pa.Schema":
    """The Arrow types of an export's columns; those of a broadcast's rows unless others are given."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), datetime.datetime: pa.timestamp("us", tz="UTC")}
    return pa.schema([(name, kinds[kind]) for name, kind in (columns or ROW_COLUMNS).items()])


def row_as_dict(row: "Row", exported_at: datetime.datetime) -> dict[str, Value]:
    """Give a row as data: the columns of an export, whole numbers included.

    Args:
        row: As `LedgerStore.rows` gives it.
        exported_at: A moment before the first row was read, the same for all of an export.

    Returns:
        The values by the names of `ROW_COLUMNS`.
    """
    return dict(zip(ROW_COLUMNS, _row_values(row, exported_at), strict=True))


def _row_values(row: "Row", exported_at: datetime.datetime) -> tuple[Value, ...]:
    return (
        *(row.recipient, row.name, row.state.value, row.provider, row.account, row.message_id, row.status_text),
        *(row.error_code, row.error_text, row.attempts, row.task_run_id, _utc(row.claimed_at), _utc(row.settled_at)),
        row.id,
        *map(_utc, (row.sent_at, row.delivered_at, row.read_at, row.played_at, row.failed_at)),
        row.resolved_by,
        row.line,
        row.broadcast,
        _utc(exported_at),
    )


def _utc(moment: datetime.datetime | None) -> datetime.datetime | None:
    """The moment in UTC; SQLite gives it without a zone."""
    if moment is None:
        return None
    return moment.astimezone(datetime.UTC) if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


async def _export(
    rows: AsyncIterable[_T] | Iterable[_T],
    values: Callable[[_T], tuple[Value, ...]],
    columns: dict[str, type],
    target: str | Path | BinaryIO,
    form: ExportFormat,
) -> int:
    written = 0
    batch: list[tuple[Value, ...]] = []
    with _opened(target) as stream, closing(_WRITERS[form](stream, columns)) as writer:
        async for row in _each(rows):
            batch.append(values(row))
            if len(batch) == _BATCH:
                writer.write(batch)
                written += len(batch)
                batch.clear()
        writer.write(batch)
    return written + len(batch)


async def _each(rows: AsyncIterable[_T] | Iterable[_T]) -> AsyncIterator[_T]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
    else:
        for row in rows:
            yield row


@contextmanager
def _opened(target: str | Path | BinaryIO) -> Iterator[BinaryIO]:
    if not isinstance(target, str | Path):
        yield target
        return
    path = Path(target)
    # A name of its own that nobody could know, so that no link lies in wait there; readable by its owner alone.
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)


class _Writer(ABC):
    """Writes records under columns to a stream."""

    def __init__(self, stream: BinaryIO, columns: dict[str, type]) -> None:
        self._stream, self._columns = stream, columns

    @abstractmethod
    def write(self, records: Sequence[tuple[Value, ...]]) -> None:
        """Write some."""

    def close(self) -> None:  # noqa: B027 - text ends without more
        """Write what ends the file; the stream is its opener's to close."""


class _CsvWriter(_Writer):
    def __init__(self, stream: BinaryIO, columns: dict[str, type]) -> None:
        super().__init__(stream, columns)
        self.write([tuple(columns)])

    def write(self, records: Sequence[tuple[Value, ...]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([_cell(value) for value in record] for record in records)
        self._stream.write(text.getvalue().encode("utf-8", "replace"))


def _cell(value: Value) -> str:
    return spreadsheet(without_controls(value)) if isinstance(value, str) else _plain(value)


def _plain(value: Value) -> str:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return "" if value is None else str(value)


class _JsonlWriter(_Writer):
    def write(self, records: Sequence[tuple[Value, ...]]) -> None:
        for record in records:
            line = json.dumps(dict(zip(self._columns, record, strict=True)), ensure_ascii=False, default=_plain)
            self._stream.write(escaped_controls(line).encode("utf-8", "replace") + b"\n")


class _ParquetWriter(_Writer):
    def __init__(self, stream: BinaryIO, columns: dict[str, type]) -> None:
        import pyarrow.parquet as pq

        super().__init__(stream, columns)
        self._schema = arrow_schema(columns)
        self._writer = pq.ParquetWriter(stream, self._schema)

    def write(self, records: Sequence[tuple[Value, ...]]) -> None:
        import pyarrow as pa

        if records:
            cells = [[_storable(value) for value in column] for column in zip(*records, strict=True)]
            arrays = [pa.array(column, kind) for column, kind in zip(cells, self._schema.types, strict=True)]
            self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _storable(value: Value) -> Value:
    """Half surrogates, which no UTF-8 holds, as question marks."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


class _XlsxWriter(_Writer):
    """Each text is a cell of text, so that a number keeps its `+` and digits, and nothing is calculated; times are UTC."""

    def __init__(self, stream: BinaryIO, columns: dict[str, type]) -> None:
        from openpyxl import Workbook

        super().__init__(stream, columns)
        self._book = Workbook(write_only=True)
        self._begin_sheet()

    def _begin_sheet(self) -> None:
        from openpyxl.cell import WriteOnlyCell
        from openpyxl.utils import get_column_letter

        self._sheet = self._book.create_sheet()
        self._sheet.freeze_panes = "A2"
        self._cells = [WriteOnlyCell(self._sheet) for _ in self._columns]
        for number, cell in enumerate(self._cells, 1):
            self._sheet.column_dimensions[get_column_letter(number)].width = _COLUMN_WIDTH
            cell.number_format = "@"  # text, also once somebody edits it
        self._append(tuple(self._columns))
        self._left = _SHEET_ROWS

    def write(self, records: Sequence[tuple[Value, ...]]) -> None:
        for record in records:
            if not self._left:
                self._begin_sheet()
            self._append(record)
            self._left -= 1

    def _append(self, record: tuple[Value, ...]) -> None:
        # A row is written as it is appended: its cells serve for the next one.
        self._sheet.append([self._shown(cell, value) for cell, value in zip(self._cells, record, strict=True)])

    def _shown(self, cell: "Cell", value: Value) -> "Cell | Value":
        if isinstance(value, datetime.datetime):
            return value.replace(tzinfo=None)  # Excel knows no zones
        if not isinstance(value, str):
            return value
        cell.value = without_controls(str(_storable(value))).translate(_NO_XML)
        cell.data_type = "s"  # a text that begins with `=` was taken for a formula, `#N/A` for an error
        return cell

    def close(self) -> None:
        self._book.save(self._stream)


_WRITERS: dict[ExportFormat, type[_Writer]] = {
    "csv": _CsvWriter,
    "jsonl": _JsonlWriter,
    "parquet": _ParquetWriter,
    "xlsx": _XlsxWriter,
}
