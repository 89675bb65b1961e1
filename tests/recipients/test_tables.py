"""Data frames and Parquet are read through Arrow, and no file of a few bytes takes the memory."""

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory import traced_peak
from prefect_whatsapp.models import Recipient
from prefect_whatsapp.models.errors import RecipientListError
from prefect_whatsapp.recipients import tables
from prefect_whatsapp.recipients.parquet_pages import read_pages
from prefect_whatsapp.recipients.reader import read_recipients, recipients_of

ADA, BOB = "+16505550123", "+16505550124"
TABLE = pa.table({"age": [1, 2, 3, 4], "Phone": [ADA, "garbage", None, BOB], "name": ["Ada", "Eve", "Nil", "Bob"]})


class ByStream:
    """What polars and pandas look like: a table that hands over an Arrow stream."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class ByProtocol:
    """What older data frames look like."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> object:
        return self._table.__dataframe__(nan_as_null, allow_copy)


@pytest.mark.parametrize("kind", [ByStream, ByProtocol, lambda table: table])
def test_a_data_frame_of_any_make_is_a_list(kind: type[ByStream]) -> None:
    [chunk] = recipients_of(kind(TABLE))
    assert chunk.usable == [Recipient(to=ADA, name="Ada"), Recipient(to=BOB, name="Bob")]
    assert [(row.line, row.reason) for row in chunk.removed] == [
        (2, "not a phone number or chat id"),
        (3, "no address: the cell is empty"),
    ]


def test_a_generator_of_anything_is_a_list_and_bad_ones_are_removed() -> None:
    def rows() -> Iterator[object]:
        yield from (ADA, {"teléfono": BOB, "nombre": "Bob"}, {"to": "garbage"}, Recipient(to="120363000000001234@g.us"))
        yield from (None, 7, object(), ["+16505550125"], {"phone": 16505550126.0, "country": "US"})

    [chunk] = recipients_of(rows())
    assert [recipient.to for recipient in chunk.usable] == [ADA, BOB, "120363000000001234@g.us", "+16505550126"]
    assert [row.line for row in chunk.removed] == [3, 5, 6, 7, 8]


@pytest.mark.parametrize("value", [ADA, b"x", {"to": ADA}, 7, None, pa.table({"age": [1]}), pa.Table])
def test_what_holds_no_rows_is_refused(value: object) -> None:
    with pytest.raises(RecipientListError):
        list(recipients_of(value))


def bomb(values: pa.Array, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"to": values}), sink, compression="brotli", **options)
    return sink.getvalue()


def peak_of(content: bytes) -> tuple[set[str], int]:
    pool, reasons = pa.default_memory_pool(), set[str]()
    before, highest = pool.bytes_allocated(), 0

    def read() -> None:
        nonlocal highest
        for chunk in read_recipients(io.BytesIO(content), filename="list.parquet"):
            highest = max(highest, pool.bytes_allocated() - before)
            reasons.update(row.reason for row in chunk.removed)

    return reasons, max(traced_peak(read, tries=2), highest)


@pytest.mark.parametrize("encoding", ["dictionary", "delta"])
def test_a_small_file_of_long_cells_is_removed_row_by_row_without_taking_the_memory(encoding: str) -> None:
    long = pa.array(["1" * 1_000_000]).dictionary_encode()
    values = pa.DictionaryArray.from_arrays(pa.array([0] * 4_000, pa.int32()), long.dictionary)
    if encoding == "dictionary":
        content = bomb(values)
    else:
        content = bomb(
            pa.array(["1" * 1_000_000] * 200), use_dictionary=False, column_encoding={"to": "DELTA_BYTE_ARRAY"}
        )
    assert len(content) < 20_000
    reasons, peak = peak_of(content)
    assert reasons == {"the line is longer than 65,536 bytes"}
    assert peak < 150_000_000


def test_more_rows_than_any_list_has_are_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = bomb(pa.nulls(50_000, pa.string()))
    monkeypatch.setattr(tables, "MAX_ROWS", 40_000)
    with pytest.raises(RecipientListError, match=r"is too large: 50,000 rows and 0 MB unpacked"):
        list(read_recipients(io.BytesIO(content), filename="list.parquet"))


def with_a_smaller_footer(content: bytes, size: int) -> bytes:
    """The same file, whose footer says 1 where it said how large a chunk unpacks to; no byte changes its place."""
    told, number = bytearray(), size << 1
    while number > 127:
        told.append(number & 127 | 128)
        number >>= 7
    told.append(number)
    lie = bytes([2 | 128, *[128] * (len(told) - 2), 0])
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    assert bytes(told) in content[footer:]  # of the chunk, and of its row group
    return content[:footer] + content[footer:].replace(bytes(told), lie)


def test_a_footer_that_speaks_of_a_few_bytes_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page's own header says how large it is: room is made by that."""
    content = bomb(pa.array(["1" * 50_000_000]), use_dictionary=False, write_statistics=False)
    column = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0)
    lying = with_a_smaller_footer(content, column.total_uncompressed_size)
    assert pq.ParquetFile(io.BytesIO(lying)).metadata.row_group(0).column(0).total_uncompressed_size == 1
    monkeypatch.setattr(tables, "MAX_UNPACKED_BYTES", 20_000_000)
    with pytest.raises(RecipientListError, match=r"is too large: 1 rows and 50 MB unpacked"):
        list(read_recipients(io.BytesIO(lying), filename="list.parquet"))


@pytest.mark.parametrize(
    "options", [{}, {"use_dictionary": False}, {"data_page_version": "2.0"}, {"data_page_size": 1_000}]
)
def test_the_pages_headers_come_to_what_an_honest_footer_says(options: dict[str, object]) -> None:
    content = bomb(pa.array([f"+1650555{n:04}" for n in range(3_000)]), **options)
    column = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0)
    start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
    found = read_pages(io.BytesIO(content), start, start + column.total_compressed_size)
    # The footer counts the headers too.
    assert 0.9 * column.total_uncompressed_size < found.unpacked < column.total_uncompressed_size
    assert bool(found.dictionary) is ("use_dictionary" not in options)
    assert not found.delta


def test_a_page_whose_header_cannot_be_read_is_refused_in_one_sentence() -> None:
    content = bomb(pa.array([ADA] * 500), use_dictionary=False)
    with pytest.raises(RecipientListError, match="can't be read as Parquet"):
        list(read_recipients(io.BytesIO(content[:4] + b"\xff" * 20 + content[24:]), filename="list.parquet"))


def test_no_value_of_a_damaged_file_is_quoted() -> None:
    content = bomb(pa.array([ADA, "canary"] * 500), use_dictionary=False, write_statistics=False)
    damaged = content[:60] + bytes(20) + content[80:]
    with pytest.raises(RecipientListError, match="can't be read as Parquet") as refused:
        list(read_recipients(io.BytesIO(damaged), filename="list.parquet"))
    assert "canary" not in str(refused.value)
