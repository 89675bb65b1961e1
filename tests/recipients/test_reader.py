"""Every row of a list is usable or removed with its reason, whatever program wrote it."""

import contextlib
import csv
import io
import itertools
import json
import random
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memory import traced_peak
from prefect_whatsapp.models import Recipient
from prefect_whatsapp.models.errors import RecipientListError
from prefect_whatsapp.recipients.reader import ListChunk, RemovedRow, read_recipients, recipients_of

REPEATED = "repeats an earlier row"
ADA, BOB, ZED = "+16505550123", "+16505550124", "+16505550125"


def outcome(chunks: Iterable[ListChunk]) -> tuple[list[str], list[tuple[int, str]]]:
    """All usable addresses, and line and reason of all removed rows."""
    usable: list[str] = []
    removed: list[tuple[int, str]] = []
    for chunk in chunks:
        assert chunk.rows <= 2_000
        usable += [recipient.to for recipient in chunk.usable]
        removed += [(row.line, row.reason) for row in chunk.removed]
    return usable, removed


def read(content: str | bytes, filename: str = "list.csv", region: str = "") -> tuple[list[str], list[tuple[int, str]]]:
    data = content.encode() if isinstance(content, str) else content
    return outcome(read_recipients(io.BytesIO(data), filename=filename, default_region=region))


def parquet(columns: Mapping[str, object], **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


# --- what lists look like


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_any_delimiter_and_line_end(delimiter: str, end: str) -> None:
    rows = [["Name", "Phone Number", "reply-to"], ["Ada", ADA, "wamid.A"], ["Bob", "+1 650 555-0124", ""]]
    text = "".join(delimiter.join(row) + end for row in rows)
    [chunk] = read_recipients(io.BytesIO(text.encode()), filename="list.csv")
    assert chunk.usable == [Recipient(to=ADA, name="Ada", reply_to="wamid.A"), Recipient(to=BOB, name="Bob")]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_any_encoding(encoding: str, form: str) -> None:
    row = f"to,name\n{ADA},Zoë Ärger\n" if form == "csv" else f'{{"to":"{ADA}","name":"Zoë Ärger"}}\n'
    [chunk] = read_recipients(io.BytesIO(row.encode(encoding)), filename=f"list.{form}")
    assert chunk.usable == [Recipient(to=ADA, name="Zoë Ärger")]


def test_utf_16_with_a_byte_order_mark_of_the_other_end() -> None:
    assert read(b"\xfe\xff" + f"to\n{ADA}\n".encode("utf-16-be"))[0] == [ADA]


def test_cyrillic_names_in_utf_16_without_a_mark() -> None:
    text = "phone;name\r\n" + "".join(f"+1650555{n:04};Владимир Ильич Константинопольский\r\n" for n in range(50))
    assert len(read(text.encode("utf-16-le"))[0]) == 50


def test_lines_of_two_encodings_in_one_file() -> None:
    [chunk] = read_recipients(io.BytesIO(f"to,name\n{ADA},Zoë\n".encode() + f"{BOB},Zoë\n".encode("cp1252")))
    assert [recipient.name for recipient in chunk.usable] == ["Zoë", "Zoë"]


# fmt: off
HEADINGS = (
    "to", "TO", " To ", "phone", "Phone_Number", "phone-number", "Number", "mobile", "WhatsApp", "WhatsApp Number",
    "telephone", "Tel.", "chat_id", "chatId", "Chat ID", "recipient", '"to"', "\ufeffto",
)
# fmt: on


@pytest.mark.parametrize("heading", HEADINGS)
def test_headings_of_the_address_column(heading: str) -> None:
    assert read(f"{heading},name\n{ADA},Ada\n")[0] == [ADA]


def test_of_several_address_columns_the_first_filled_one_is_taken_in_the_order_to_chat_id_phone() -> None:
    text = f"phone,chat_id,to\n{ADA},{BOB},{ZED}\n{ADA},16505550124@c.us,\n{ADA}, ,\n,,\n, ,x\n"
    usable, removed = read(text)
    assert usable == [ZED, BOB, ADA]
    assert [line for line, _ in removed] == [6]


def test_a_list_of_one_column_needs_no_headings() -> None:
    assert read(f"{ADA}\n\n{BOB}\nnobody\n") == ([ADA, BOB], [(4, "not a phone number or chat id")])
    assert read(f'"{ADA}"\n"{BOB}"\n', "list.txt")[0] == [ADA, BOB]
    assert read(f"{ADA};;\n{BOB};;\n")[0] == [ADA, BOB]
    assert read("(650) 555-0123\n650 555 0124\n", region="us")[0] == [ADA, BOB]
    assert read("120363000000001234@g.us\n")[0] == ["120363000000001234@g.us"]
    assert [line for line, _ in read("6505550123\n" + ADA)[1]] == [1]


def test_excels_hint_at_the_delimiter_is_no_row() -> None:
    assert read(f'sep=;\r\n"name";"to"\r\n"Doe, Ann";{ADA}\r\n')[0] == [ADA]


def test_quoted_fields_hold_delimiters_quotes_and_line_ends() -> None:
    text = f'name,to\n"Doe, ""Ann""",{ADA}\n"Bob\nthe second",{BOB}\nZed "Z" Zulu, "{ZED}"\n'
    [chunk] = read_recipients(io.BytesIO(text.encode()))
    assert [r.name for r in chunk.usable] == ['Doe, "Ann"', "Bob\N{REPLACEMENT CHARACTER}the second", 'Zed "Z" Zulu']


def test_a_quote_nobody_closed_costs_its_own_row_at_most() -> None:
    text = f'to,name\n"{ADA},Ada\n{BOB},Bob\n{ZED},"Zed\n+16505550126,Zoe\n"+16505550127,Zac"\n+16505550128,5" pipe\n'
    usable, removed = read(text)
    assert usable == [BOB, ZED, "+16505550126", "+16505550128"]
    assert removed == [(2, "a quote is opened and never closed"), (6, removed[1][1])]


def test_rows_of_nothing_are_no_rows_and_short_rows_are_removed() -> None:
    assert read(f'name,to\n,\n\n  ,  \n"",""\nAda\nBob,{BOB}\n\x00\n')[0] == [BOB]
    assert read(f"name,to\nAda\nBob,{BOB}\n")[1] == [(2, "no address: the cell is empty")]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("1.65056E+10", "the spreadsheet rounded the number"),
        ("=HYPERLINK(1)", "formula"),
        ("=cmd|' /C calc'!A0", "formula"),
        ("@SUM(1)", "not a chat id"),
        ("-16505550123", "negative"),
        ("16505550123", "no country code"),
        ("+1650\x00555\x000123", "not a phone number"),
        ("ann@example.org", "not a chat id"),
        ("#N/A", "not a phone number"),
    ],
)
def test_a_damaged_cell_is_removed_with_its_reason(cell: str, reason: str) -> None:
    usable, [(line, told)] = read(f"to,name\n{ADA},Ada\n{cell},Bob\n")
    assert (usable, line) == ([ADA], 3)
    assert reason in told
    assert "5550123" not in told


@pytest.mark.parametrize("cell", [f"'{ADA}", f'"=""{ADA}"""', f'="{ADA}"', f"=\t{ADA}", "\u202a" + ADA, f" {ADA}\xa0"])
def test_what_spreadsheets_put_around_a_number_is_taken_off(cell: str) -> None:
    assert read(f"to,name\n{cell},Ada\n")[0] == [ADA]


def test_a_removed_value_is_cut_and_holds_no_control_characters() -> None:
    text = "to\n+1650555\n" + "\x1b[2J\u202enobody" + "x" * 500 + "\n"
    removed = [row for chunk in read_recipients(io.BytesIO(text.encode())) for row in chunk.removed]
    assert len(removed[1].value) == 200
    assert removed[1].value.isprintable()
    assert "+1650555" not in repr(removed[0])


def test_a_name_is_cut_and_cleaned_and_a_reply_to_that_is_no_id_removes_the_row() -> None:
    text = f"to,name,reply_to\n{ADA},A\x00da{'a' * 500},\n{BOB},Bob,wam\x00id\n{ZED},Zed,{'x' * 257}\n"
    [chunk] = read_recipients(io.BytesIO(text.encode()))
    assert [len(r.name) for r in chunk.usable] == [200]
    assert chunk.usable[0].name.isprintable()
    assert [(row.line, row.reason) for row in chunk.removed] == [
        (3, "its reply_to is not the id of a message"),
        (4, "its reply_to is not the id of a message"),
    ]


def test_of_repeats_the_first_is_kept_by_its_canonical_address() -> None:
    group = "120363000000001234@g.us"
    text = f"to\n{ADA}\n16505550123@c.us\n+1 (650) 555-0123\n{group}\n{group.upper()}\n{BOB}\n"
    usable, removed = read(text)
    assert usable == [ADA, group, BOB]
    assert removed == [(line, "repeats an earlier row") for line in (3, 4, 6)]


# --- JSON


def test_json_lines_of_objects_and_bare_addresses() -> None:
    lines = [
        {"to": ADA, "name": "Ada", "extra": [1]},
        BOB,
        {"Phone Number": 16505550125},
        {"phone": 16505550126.0},
        {"chat_id": None, "phone": "16505550127"},
    ]
    text = "\n".join(map(json.dumps, lines)) + "\n\n"
    assert read(text, "list.jsonl", "US")[0] == [ADA, BOB, ZED, "+16505550126", "+16505550127"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "neither an object nor an address"),
        ("null", "neither an object nor an address"),
        ("true", "neither text nor a number"),
        ('{"to": true}', "neither text nor a number"),
        ('{"to": {"phone": "x"}}', "neither text nor a number"),
        ('{"to": 1.5}', "not a whole number"),
        ('{"to": 1e999}', "not a whole number"),
        ('{"to": -16505550123}', "negative"),
        ('{"to": NaN}', "the cell is empty"),
        ('{"to": ""}', "the cell is empty"),
        ('{"name": "Ada"}', "the cell is empty"),
        ("1" * 5_000, "not JSON"),
        ("[" * 30_000, "not JSON"),
        ('"\\ud800"', "not a phone number"),
        ('"' + "1" * 1_000_000 + '"', "longer than"),
    ],
)
def test_a_json_line_that_is_no_recipient_is_removed(line: str, reason: str) -> None:
    usable, [(number, told)] = read(f'{{"to": "{ADA}"}}\n{line}\n{{"to": "{BOB}"}}', "list.jsonl")
    assert (usable, number) == ([ADA, BOB], 2)
    assert reason in told


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_read_item_by_item(indent: int | None) -> None:
    items = [{"to": ADA, "name": 'a "b" \\ ,]}{['}, BOB, {"to": {"x": [1, 2]}}, None, {"phone": ZED}]
    usable, removed = read(json.dumps(items, indent=indent), "list.json")
    assert usable == [ADA, BOB, ZED]
    assert [line for line, _ in removed] == [3, 4]


def test_a_json_array_that_is_broken_or_cut_off_loses_its_broken_items_only() -> None:
    usable, removed = read(
        f'["{ADA}", {{"to": oops}}, "{BOB}", "{"x" * 200_000}", "{ZED}", {{"to": "+1650', "list.json"
    )
    assert usable == [ADA, BOB, ZED]
    assert [line for line, _ in removed] == [2, 4, 6]


# --- Parquet


def test_parquet_of_text_and_of_numbers() -> None:
    table = {"Mobile": [ADA, None, "nobody"], "name": ["Ada", "x", None], "other": [1, 2, 3]}
    assert read(parquet(table), "list.parquet")[0] == [ADA]
    for values in ([16505550123, None], [16505550123.0, float("nan")], [Decimal("16505550123.00"), None]):
        usable, removed = read(parquet({"phone": values}), "no suffix", "US")
        assert (usable, len(removed)) == ([ADA], 1)


def test_parquet_of_bytes_dictionaries_and_other_types() -> None:
    assert read(parquet({"to": [ADA.encode(), b"\xff"]}))[0] == [ADA]
    assert read(parquet({"to": pa.array([ADA, BOB, ADA]).dictionary_encode()}))[0] == [ADA, BOB]
    assert len(read(parquet({"to": [[ADA], [BOB]], "name": ["Ada", "Bob"]}))[1]) == 2
    assert len(read(parquet({"to": [{"phone": ADA}]}))[1]) == 1


def test_parquet_lines_go_on_over_row_groups() -> None:
    numbers = [f"+1650{n:07}" for n in range(5_000_000, 5_005_000)] + ["nobody"]
    usable, removed = read(parquet({"to": numbers}, row_group_size=700))
    assert usable == numbers[:-1]
    assert [line for line, _ in removed] == [5_001]


class Pipe(io.RawIOBase):
    """A stream as a socket gives it: it can't be sought and reads short."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 1_000) if size > 0 else size)


@pytest.mark.parametrize(
    "content", [parquet({"to": [ADA] + ["x"] * 30_000}), f"to\n{ADA}\n".encode() + b"x\n" * 30_000]
)
def test_a_stream_that_cannot_be_sought(content: bytes) -> None:
    usable, removed = outcome(read_recipients(Pipe(content), filename="list"))  # type: ignore[arg-type]
    assert (usable, len(removed)) == ([ADA], 30_000)


def test_parquet_behind_something_else_in_its_stream() -> None:
    stream = io.BytesIO(b"before" + parquet({"to": [ADA]}))
    stream.seek(6)
    assert outcome(read_recipients(stream))[0] == [ADA]


# --- lists that can't be used as a whole


@pytest.mark.parametrize(
    ("content", "filename", "reason"),
    [
        (b"", "list.csv", "is empty"),
        (b"\xef\xbb\xbf", "list.csv", "is empty"),
        (b"\n \n", "list.csv", "is empty"),
        (b"to,name\n", "list.csv", "is empty"),
        (b"", "list.parquet", "is empty"),
        (b"[]", "list.json", "is empty"),
        (parquet({"to": pa.array([], pa.string())}), "list.parquet", "is empty"),
        (b"vorname,alter\nAda,36\n", "list.csv", "no usable column: it has 2 columns, and none is called"),
        (b"Ada,+16505550123\n", "list.csv", "in a first line of headings"),
        (b"+16505550123,Ada\n", "list.csv", "in a first line of headings"),
        (b'{"vorname":"Ada"}\n{"alter":36}\n', "list.jsonl", "no usable column: it has 1 column, and"),
        (b'[{"vorname":"Ada"}]', "list.json", "no usable column: it has 1 column, and it is not called"),
        (parquet({"vorname": ["Ada"]}), "list.parquet", "no usable column: it has 1 column, and it is not called"),
        (b"to\n", "list.parquet", "is not Parquet"),
        (b"PAR1 and nothing more", "list.parquet", "can't be read as Parquet"),
        (parquet({"to": [ADA] * 9})[:60], "list.parquet", "can't be read as Parquet"),
        (b"PK\x03\x04...", "list.xlsx", "or as CSV"),
        (b"\x1f\x8b...", "list.csv.gz", "compressed"),
        (b"<!DOCTYPE html>", "list.csv", "HTML"),
        (b"x" * 1_000_000, "list.csv", "no usable column"),
        (b"a," * 100_000, "list.csv", "it has 65,5.. columns|it has 65,... columns|no usable column"),
    ],
)
def test_a_list_that_is_none_is_refused_in_one_sentence(content: bytes, filename: str, reason: str) -> None:
    with pytest.raises(RecipientListError, match=reason) as refused:
        read(content, filename)
    assert len(str(refused.value)) < 1_000
    assert "\n" not in str(refused.value)
    assert "5550123" not in str(refused.value)


def test_an_unknown_region_is_refused_before_anything_is_read() -> None:
    class Untouched(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise AssertionError("read")

    with pytest.raises(RecipientListError, match="two-letter region"):
        read_recipients(Untouched(), default_region="Utopia")
    with pytest.raises(RecipientListError, match="two-letter region"):
        recipients_of([ADA], default_region="XX")


def test_an_error_of_the_stream_itself_is_not_hidden() -> None:
    class Lost(Pipe):
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        outcome(read_recipients(Lost(b""), filename="list.csv"))  # type: ignore[arg-type]


# --- lists in memory


def test_a_list_in_memory_of_every_kind() -> None:
    items = [
        ADA,
        Recipient(to=BOB, name="Bob\x00"),
        {"Phone": ZED, "name": 7},
        {"to": 16505550126},
        ADA,
        None,
        {},
        b"x",
    ]
    [chunk] = recipients_of(items, default_region="US")  # type: ignore[arg-type]
    assert [r.to for r in chunk.usable] == [ADA, BOB, ZED, "+16505550126"]
    assert [r.name for r in chunk.usable] == ["", "Bob\N{REPLACEMENT CHARACTER}", "7", ""]
    assert [row.line for row in chunk.removed] == [5, 6, 7, 8]


@pytest.mark.parametrize("items", [[], (), [{}], [{"vorname": "Ada"}], ADA, {"to": ADA}])
def test_a_list_in_memory_that_is_none_is_refused(items: list[object]) -> None:
    with pytest.raises(RecipientListError):
        outcome(recipients_of(items))  # type: ignore[arg-type]


def test_an_iterator_is_read_as_far_as_chunks_are_asked_for() -> None:
    chunks = recipients_of(f"+1650{n:07}" for n in itertools.count(5_000_000))
    assert [next(chunks).rows for _ in range(3)] == [2_000] * 3


# --- hostile lists, and large ones

# fmt: off
PIECES = st.sampled_from(
    ["+1650555", "0123", "16505550123", "@c.us", "@g.us", "=", "+", "-", "'", '"', '""', ",", ";", "\t", "|", " ",
     "\x00", "\x85", "\u2028", "\u202e", "\u200f", "\ufeff", "\ud800", "é", "٣", "E+10", ".0", "{", "}", "[", "]", "\\",
     "null", "US.1", "=cmd|' /C calc'!A0", "x" * 300, "\x1b[31m"]
)
# fmt: on
CELLS = st.lists(PIECES, max_size=6).map("".join)
ROWS = st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=12)
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "utf-32"])
REGIONS = st.sampled_from(["", "US", "DE"])


def counted(stream: BinaryIO, filename: str, region: str) -> int:
    rows = 0
    for chunk in read_recipients(stream, filename=filename, default_region=region):
        assert all(isinstance(row, RemovedRow) and row.reason and row.line > 0 for row in chunk.removed)
        assert all(len(row.value) <= 200 and row.value.replace("\xa0", " ").isprintable() for row in chunk.removed)
        assert all(Recipient(to=r.to, name=r.name, reply_to=r.reply_to) == r for r in chunk.usable)
        rows += chunk.rows
    return rows


@given(ROWS, st.sampled_from(",;\t|"), ENCODINGS, REGIONS)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@example([("\x85", "", "")], ",", "utf-8", "")
def test_each_row_that_a_csv_writer_wrote_is_usable_or_removed(
    rows: list[tuple[str, str, str]], delimiter: str, encoding: str, region: str
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    # A line end inside a field is another test's; an empty row is no row.
    rows = [("x" + to, name.replace("\n", ""), reply_to) for to, name, reply_to in rows]
    writer.writerows([("to", "name", "reply_to"), *rows])
    assert counted(io.BytesIO(text.getvalue().encode(encoding, "replace")), "list.csv", region) == len(rows)


@given(ROWS, st.booleans(), REGIONS)
@settings(max_examples=100)
def test_each_json_object_is_usable_or_removed(rows: list[tuple[str, str, str]], array: bool, region: str) -> None:
    objects = [{"to": to, "name": name, "reply_to": reply_to} for to, name, reply_to in rows]
    text = json.dumps(objects) if array else "\n".join(map(json.dumps, objects))
    assert counted(io.BytesIO(text.encode()), "list.json", region) == len(rows)


@given(ROWS, REGIONS)
@settings(max_examples=60)
def test_each_parquet_row_is_usable_or_removed(rows: list[tuple[str, str, str]], region: str) -> None:
    names = ("to", "name", "reply_to")
    columns = {
        name: [cell.encode("utf-8", "replace").decode() for cell in cells]
        for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    }
    assert counted(io.BytesIO(parquet(columns)), "list.parquet", region) == len(rows)


@given(st.binary(max_size=400), st.sampled_from(["csv", "jsonl", "json", "txt", ""]))
@settings(max_examples=300)
def test_any_bytes_are_rows_or_one_refusal(content: bytes, suffix: str) -> None:
    for data in (content, b"to,name\n" + content, b'{"to":1}\n' + content, b"[" + content):
        with contextlib.suppress(RecipientListError):
            assert counted(io.BytesIO(data), f"list.{suffix}", "US") > 0


def hostile_cells(count: int) -> Iterator[str]:
    """Cells of every shape that has been seen in lists, none of them with a line end or a delimiter."""
    rng = random.Random(4829)
    makers: list[Callable[[int], str]] = [
        lambda n: f"+1650555{n:04}",
        lambda n: f"1650555{n:04}@c.us",
        lambda n: f"+1 (650) 555-{n:04}",
        lambda n: f"1.65{n:04}E+10",
        lambda n: f'=HYPERLINK("http://x.test/{n}")',
        lambda n: f"=cmd|' /C calc'!A{n}",
        lambda n: f"'+1650555{n:04}",
        lambda n: f"\u202a+1650555{n:04}\u202c",
        lambda n: f"+1650\x00555{n:04}",
        lambda n: f"650555{n:04}.0",
        lambda n: f"\u0661\u0662{n}",
        lambda n: f"名前 {n}",
        lambda n: "+" * (n % 50 + 1),
        lambda n: f"{n}" * 40,
        lambda n: f"user{n}@example.org",
        lambda n: f"8912345{n:04}",
        lambda n: "\x1b[2J" + "\ufffd" * (n % 9),
        lambda n: f'"+1650556{n:04}',
        lambda n: f'+1650557{n:04}"',
    ]
    for number in range(count):
        yield "M" * 1_000_000 if number % 1_000 == 999 else rng.choice(makers)(rng.randrange(10_000))


def test_ten_thousand_hostile_rows_end_usable_or_removed_and_no_row_is_lost() -> None:
    cells = list(hostile_cells(10_000))
    rng = random.Random(7)
    lines = [f"{cell};Ann \xe9;".encode(rng.choice(["utf-8", "cp1252"]), "replace") for cell in cells]
    usable, removed = read(b"Phone;Name;Reply to\r\n" + b"\r\n".join(lines))
    assert len(usable) + len(removed) == 10_000
    assert all(reason for _, reason in removed)
    assert len({line for line, _ in removed}) == len(removed)
    assert len(usable) > 2_000
    assert sum("longer than" in reason for _, reason in removed) == 10
    objects = "\n".join(json.dumps({"to": cell}) for cell in cells)
    again, gone = read(objects, "list.jsonl")
    assert len(again) + len(gone) == 10_000
    assert set(again) >= set(usable)  # Windows-1252 has no bidi marks: there they became question marks


def endless_line(size: int) -> Iterator[bytes]:
    yield f"to\n{ADA}\n".encode()
    for _ in range(size // 65_536):
        yield b"9" * 65_536
    yield f"\n{BOB}\n".encode()


class Blocks(Pipe):
    """A stream that makes its content as it is read."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, b""

    def read(self, size: int = -1) -> bytes:
        self._rest = self._rest or next(self._blocks, b"")
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


@pytest.mark.parametrize("wrap", [b"", b"["])
def test_a_line_of_fifty_megabytes_is_not_held_in_memory(wrap: bytes) -> None:
    blocks = endless_line(50_000_000)
    if wrap:
        blocks = itertools.chain([b"[" + json.dumps(ADA).encode() + b","], (b"9" * 65_536 for _ in range(800)), [b"]"])
    tracemalloc.start()
    try:
        usable, removed = outcome(read_recipients(Blocks(blocks), filename="list"))  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert usable == ([ADA] if wrap else [ADA, BOB])
    assert [reason for _, reason in removed] == ["the line is longer than 65,536 bytes"]
    assert peak < 3_000_000


def test_memory_does_not_grow_with_the_list() -> None:
    def peak(rows: int) -> int:
        lines = (b"to,name\n", *(f"+1212{n:07},{'n' * 150}\n".encode() for n in range(2_000_000, 2_000_000 + rows)))

        def read() -> None:
            for chunk in read_recipients(Blocks(iter(lines)), filename="list.csv"):  # type: ignore[arg-type]
                assert not chunk.removed

        return traced_peak(read, tries=2)

    small, large = peak(12_000), peak(24_000)
    assert large - small < 12_000 * 8  # bytes; a set of their numbers alone has 80 a row


def test_exactly_one_chunk_of_unusable_rows_is_a_list_without_usable_rows_and_not_an_empty_one() -> None:
    for rows in (1_999, 2_000, 2_001, 4_000):
        usable, removed = read("to\n" + "nobody\n" * rows)
        assert (usable, len(removed)) == ([], rows)


def test_one_account_in_two_spellings_is_a_repeat() -> None:
    assert read("to\n+55 11 91234-5678\n5511912345678@c.us\n") == (["+5511912345678"], [(3, REPEATED)])
    with_nine, without = "+5511" + "9" + "7" * 8, "+5511" + "7" * 8
    assert read(f"to\n{without}\n{with_nine}\n") == ([without], [(3, REPEATED)])
