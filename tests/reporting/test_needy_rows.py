"""A row that needs a person is named by its line in the list and its last four digits, and by nothing else."""

import dataclasses
import io
from collections import Counter

import pytest
from prefect_whatsapp.ledger import RemovedRow, Row
from prefect_whatsapp.models import Report, SendState
from prefect_whatsapp.recipients import reader
from prefect_whatsapp.reporting.pages import Reason, needy_row, removed_row, report

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


def test_the_words_of_a_service_stand_in_the_tables_without_backslashes() -> None:
    """Prefect's newer UI shows the cells of a table as they are."""
    told = dataclasses.replace(row(), error_text="(#131047) Re-engagement message", error_code="131047")
    assert (needy_row(told)["reason"], needy_row(told)["code"]) == ("(#131047) Re-engagement message", "131047")
    assert removed_row(RemovedRow(2, "x", "it is not `to`!"))["reason"] == "it is not \u02cbto\u02cb!"


def test_a_row_of_no_list_has_no_line() -> None:
    assert needy_row(row())["line"] == ""


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("window", "They must write to you first."),
        ("opted out", "None: they asked for no more messages."),
        ("unsupported", "This service can't send it to them."),
        ("forgotten", "None: their data was erased."),
        ("a later version's", "Correct what the reason names"),
    ],
)
def test_a_skipped_row_is_told_what_to_do_about_its_own_reason(kind: str, advice: str) -> None:
    shown = needy_row(dataclasses.replace(row(), state=SendState.SKIPPED, error_kind=kind))
    assert shown["next step"].startswith(advice)
    reasons = Counter([Reason(SendState.SKIPPED, "", kind, "why")])
    assert f"| {shown['next step']} |" in report("weekly", Report(broadcast="weekly"), reasons)


def test_each_usable_row_of_a_list_says_its_line() -> None:
    listed = b"to\n+16505550101\nnobody\n+16505550101\n\n+16505550102\n"
    (chunk,) = reader.read_recipients(io.BytesIO(listed))
    assert list(zip([each.to for each in chunk.usable], chunk.lines, strict=True)) == [
        ("+16505550101", 2),
        ("+16505550102", 6),
    ]
