"""A row that needs a person is named by its line in the list and its last four digits, and by nothing else."""

import io

from prefect_whatsapp.ledger import Row
from prefect_whatsapp.models import SendState
from prefect_whatsapp.recipients import reader
from prefect_whatsapp.reporting.pages import needy_row

TEXTS = ("reply_to", "message_id", "status_text", "error_code", "error_kind", "task_run_id")


def row(**more: object) -> Row:
    """One that failed."""
    facts = {"id": 70_123, "broadcast_id": "b", "recipient": "+16505550123", "name": "Ada Byron", "provider": "graph"}
    facts |= {"state": SendState.FAILED, "attempts": 1, "account": "1", "error_text": "no +1 650 555 0123 here"}
    return Row(**dict.fromkeys(TEXTS, ""), **facts, **more)  # type: ignore[arg-type]


def test_a_row_is_named_by_its_line_and_last_four_digits() -> None:
    shown = needy_row(row(line=3))
    assert (shown["line"], shown["recipient"]) == ("3", "\N{HORIZONTAL ELLIPSIS}0123")
    assert "Ada" not in repr(shown)
    assert "555" not in repr(shown)


def test_a_row_of_no_list_has_no_line() -> None:
    assert needy_row(row())["line"] == ""


def test_each_usable_row_of_a_list_says_its_line() -> None:
    listed = b"to\n+16505550101\nnobody\n+16505550101\n\n+16505550102\n"
    (chunk,) = reader.read_recipients(io.BytesIO(listed))
    assert list(zip([each.to for each in chunk.usable], chunk.lines, strict=True)) == [
        ("+16505550101", 2),
        ("+16505550102", 6),
    ]
