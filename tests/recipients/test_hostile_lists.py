"""Hostile lists, and large ones: each row ends usable or removed, and none is held longer than it must."""

import contextlib
import csv
import io
import itertools
import json
import random
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lists_read import ADA, BOB, Pipe, outcome, parquet, read
from memory import traced_peak
from prefect_whatsapp.models import Recipient
from prefect_whatsapp.models.errors import RecipientListError
from prefect_whatsapp.recipients.reader import RemovedRow, read_recipients

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
    def read() -> None:
        blocks = endless_line(50_000_000)
        if wrap:
            nines = (b"9" * 65_536 for _ in range(800))
            blocks = itertools.chain([b"[" + json.dumps(ADA).encode() + b","], nines, [b"]"])
        usable, removed = outcome(read_recipients(Blocks(blocks), filename="list"))  # type: ignore[arg-type]
        assert usable == ([ADA] if wrap else [ADA, BOB])
        assert [reason for _, reason in removed] == ["the line is longer than 65,536 bytes"]

    assert traced_peak(read, tries=2) < 3_000_000


def test_memory_does_not_grow_with_the_list() -> None:
    def peak(rows: int) -> int:
        lines = (b"to,name\n", *(f"+1212{n:07},{'n' * 150}\n".encode() for n in range(2_000_000, 2_000_000 + rows)))

        def read() -> None:
            for chunk in read_recipients(Blocks(iter(lines)), filename="list.csv"):  # type: ignore[arg-type]
                assert not chunk.removed

        return traced_peak(read, tries=2)

    small, large = peak(12_000), peak(24_000)
    assert large - small < 12_000 * 8  # bytes; a set of their numbers alone has 80 a row
