"""Lists in JSON and in Parquet."""

import io
import json
from decimal import Decimal

import pyarrow as pa
import pytest
from lists_read import ADA, BOB, ZED, Pipe, outcome, parquet, read
from prefect_whatsapp.recipients.reader import read_recipients

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
