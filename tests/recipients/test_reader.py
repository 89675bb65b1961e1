"""Every row of a list is usable or removed with its reason, whatever program wrote it."""

import io
import itertools

import pyarrow as pa
import pytest
from lists_read import ADA, BOB, ZED, Pipe, outcome, parquet, read
from prefect_whatsapp.models import Recipient
from prefect_whatsapp.models.errors import RecipientListError
from prefect_whatsapp.recipients.reader import read_recipients, recipients_of

REPEATED = "repeats an earlier row"


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


def test_exactly_one_chunk_of_unusable_rows_is_a_list_without_usable_rows_and_not_an_empty_one() -> None:
    for rows in (1_999, 2_000, 2_001, 4_000):
        usable, removed = read("to\n" + "nobody\n" * rows)
        assert (usable, len(removed)) == ([], rows)


def test_one_account_in_two_spellings_is_a_repeat() -> None:
    assert read("to\n+55 11 91234-5678\n5511912345678@c.us\n") == (["+5511912345678"], [(3, REPEATED)])
    with_nine, without = "+5511" + "9" + "7" * 8, "+5511" + "7" * 8
    assert read(f"to\n{without}\n{with_nine}\n") == ([without], [(3, REPEATED)])
