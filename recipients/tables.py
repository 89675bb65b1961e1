"""Rows out of Parquet files and of data frames in memory, both by way of Arrow, some at a time."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

from ..models.errors import RecipientListError
from .columns import Columns, RawRow, cut, no_column
from .csv_rows import TOO_LONG
from .parquet_pages import Pages, read_pages
from .text import LONGEST_LINE

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

MAX_ROWS = 20_000_000
MAX_UNPACKED_BYTES = 1_000_000_000  # of the columns that are used
_BATCH_ROWS = 2_000
_BATCH_BYTES = 1 << 25


def is_table(value: object) -> bool:
    """Whether a value is a table by one of the two protocols that data frames have."""
    return not isinstance(value, type) and any(hasattr(value, each) for each in ("__arrow_c_stream__", "__dataframe__"))


def table_rows(table: Any) -> Iterator[RawRow]:
    """Read a data frame, its rows numbered from 1.

    Args:
        table: An object with `__arrow_c_stream__` (pandas, polars, pyarrow, DuckDB, …) or `__dataframe__`.

    Raises:
        RecipientListError: It has no usable column, or can't be read.

    Source: https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html,
    https://data-apis.org/dataframe-protocol/latest/
    """
    import pyarrow as pa
    from pyarrow.interchange import from_dataframe

    try:
        if hasattr(table, "__arrow_c_stream__"):
            reader = pa.RecordBatchReader.from_stream(table)
        else:
            reader = from_dataframe(table).to_reader()
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError, RuntimeError, ImportError) as error:
        raise RecipientListError(f"the table of recipients can't be read as Arrow ({type(error).__name__})") from None
    columns = Columns.find(reader.schema.names)
    if not columns.address:
        raise no_column("", len(reader.schema.names))
    places = sorted(set(columns.used))
    yield from _rows(batch.select(places) for batch in reader)


def parquet_rows(head: bytes, stream: BinaryIO, filename: str) -> Iterator[RawRow]:
    """Read Parquet some rows at a time; a stream that can't be sought goes through a file first.

    Args:
        head: What was read of the stream already.
        stream: The rest.
        filename: For messages.

    Raises:
        RecipientListError: It is damaged, has no usable column, or would take too much memory.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    refused = (pa.ArrowException, OSError, ValueError)
    with ExitStack() as stack:
        source: BinaryIO = stream
        if stream.seekable():
            stream.seek(-len(head), 1)
        if not stream.seekable() or stream.tell() != 0:
            source = stack.enter_context(tempfile.TemporaryFile())
            pieces = chain((b"" if stream.seekable() else head,), iter(lambda: stream.read(1 << 20), b""))
            source.writelines(pieces)
            source.seek(0)
        try:
            file = pq.ParquetFile(source, buffer_size=1 << 20)  # not a column's whole chunk at once
            names = list(file.schema_arrow.names)
        except refused as error:
            raise RecipientListError(f"the list {cut(filename)} can't be read as Parquet ({_kind(error)})") from None
        columns = Columns.find(names)
        if not columns.address:
            raise no_column(filename, len(names))
        wanted = sorted({names[place] for place in columns.used})
        try:
            pages = _pages(file, source, wanted)
        except refused as error:
            raise RecipientListError(f"the list {cut(filename)} can't be read as Parquet ({_kind(error)})") from None
        _check_size(file, filename, pages)
        line = 0
        try:
            source.seek(0)
            # A dictionary's values are looked up and not repeated in each row: one of a megabyte would fill the memory.
            dictionaries = _dictionaries(file, wanted)
            file = pq.ParquetFile(source, buffer_size=1 << 20, read_dictionary=dictionaries)
            rows_at_once = _batch_rows(file, pages, dictionaries)
            batches = file.iter_batches(batch_size=rows_at_once, columns=wanted, use_threads=False)
            for row in _rows(batches):
                line = row.line
                yield row
        except refused as error:
            raise RecipientListError(
                f"the list {cut(filename)} can't be read as Parquet after row {line:,} ({_kind(error)})"
            ) from None


def _kind(error: Exception) -> str:
    # Its words may hold a heading or a value.
    return type(error).__name__


def _rows(batches: Iterable[Any]) -> Iterator[RawRow]:
    import pyarrow as pa

    line = 0
    for batch in batches:
        columns = Columns.find(batch.schema.names)
        for place in range(batch.num_rows):
            line += 1
            try:
                cells: list[object] = [column[place].as_py() for column in batch.columns]
            except (ValueError, OverflowError, pa.ArrowException):
                yield RawRow(line, "", damage="a value that can't be read")
                continue
            if any(isinstance(cell, str | bytes) and len(cell) > LONGEST_LINE for cell in cells):
                yield RawRow(line, "", damage=TOO_LONG)
                continue
            yield columns.pick(line, cells)


def _chunks(file: "ParquetFile", wanted: list[str]) -> Iterator[Any]:
    metadata = file.metadata
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema.partition(".")[0] in wanted:
                yield column


def _dictionaries(file: "ParquetFile", wanted: list[str]) -> list[str]:
    """Columns that Arrow can leave in dictionary form."""
    chunks = list(_chunks(file, wanted))
    other = {
        chunk.path_in_schema for chunk in chunks if not {"RLE_DICTIONARY", "PLAIN_DICTIONARY"} & {*chunk.encodings}
    }
    return sorted({chunk.path_in_schema for chunk in chunks if chunk.physical_type == "BYTE_ARRAY"} - other)


def _pages(file: "ParquetFile", source: BinaryIO, wanted: list[str]) -> list[tuple[str, Pages]]:
    """What the pages of each chunk come to, with its column; at least what the footer says of it.

    Raises:
        ValueError: A page's header can't be read.
    """
    found = []
    for column in _chunks(file, wanted):
        starts = [column.data_page_offset, *([column.dictionary_page_offset] if column.has_dictionary_page else [])]
        start = min(place for place in starts if place)
        pages = read_pages(source, start, start + column.total_compressed_size)
        pages.unpacked = max(pages.unpacked, column.total_uncompressed_size)
        pages.delta |= "DELTA_BYTE_ARRAY" in column.encodings
        found.append((column.path_in_schema, pages))
    return found


def _check_size(file: "ParquetFile", filename: str, pages: list[tuple[str, Pages]]) -> None:
    """Refuse what is larger than any list of people."""
    size = sum(each.unpacked for _, each in pages)
    if file.metadata.num_rows > MAX_ROWS or size > MAX_UNPACKED_BYTES:
        raise RecipientListError(
            f"the list {cut(filename)} is too large: {file.metadata.num_rows:,} rows and {size / 1e6:,.0f} MB unpacked, "
            f"where {MAX_ROWS:,} rows and {MAX_UNPACKED_BYTES / 1e6:,.0f} MB are read; split it"
        )


def _batch_rows(file: "ParquetFile", pages: list[tuple[str, Pages]], dictionaries: list[str]) -> int:
    """How many rows at a time take some megabytes, however large a cell may be.

    A column in delta encoding repeats the beginning of the cell before, so that each may be as long as the whole; and a
    dictionary that Arrow doesn't leave as it is may have its longest value in each row.
    """
    size, rows = sum(each.unpacked for _, each in pages), max(file.metadata.num_rows, 1)
    by_size: int = _BATCH_BYTES * rows // max(size, 1)
    repeated = [each.unpacked for _, each in pages if each.delta]
    repeated += [each.dictionary for name, each in pages if name not in dictionaries]
    largest = max(repeated, default=0)
    by_cell = _BATCH_BYTES // largest if largest > _BATCH_BYTES // _BATCH_ROWS else _BATCH_ROWS
    return max(1, min(_BATCH_ROWS, by_size, by_cell))
