"""Nothing stored or shown holds a whole number, and a report adds up."""

import json
import pickle

import pytest
from prefect_whatsapp.models import ACCEPTED_STATES, Receipt, Report, SendState, mask, mask_numbers
from pydantic import ValidationError

RECEIPT = Receipt(
    provider="waha",
    account="default",
    recipient="+16505550123",
    message_id="true_16505550123@c.us_3EB0",
    status_text="sent to +1 650 555 0123",
    raw={"to": "16505550123"},
)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("+16505550123", "…0123"),
        ("120363000000001234@g.us", "…1234@g.us"),
        ("US.13491208655302741918", "…1918"),
        ("123", "…3"),
        ("", "…"),
    ],
)
def test_a_masked_address_is_its_last_four(address: str, shown: str) -> None:
    assert mask(address) == shown


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("to +1 650 555-0123.", "to …0123."),
        ("16505550123@c.us", "…0123@c.us"),
        ("error 131056 at 12:30", "error 131056 at 12:30"),
    ],
)
def test_whole_numbers_in_a_text_are_masked_and_codes_are_not(text: str, masked: str) -> None:
    assert mask_numbers(text) == masked


def test_in_memory_a_receipt_is_whole() -> None:
    assert (RECEIPT.recipient, RECEIPT.message_id) == ("+16505550123", "true_16505550123@c.us_3EB0")


def test_serialised_pickled_or_shown_a_receipt_holds_no_whole_number() -> None:
    again = pickle.loads(pickle.dumps(RECEIPT))
    for text in (RECEIPT.model_dump_json(), json.dumps(RECEIPT.model_dump()), repr(RECEIPT), str(RECEIPT), repr(again)):
        assert "5550123" not in text
        assert "555 0123" not in text
    assert again.recipient == "…0123"
    assert again.raw is None
    assert Receipt.model_validate_json(RECEIPT.model_dump_json()).model_dump() == RECEIPT.model_dump()


def test_a_report_that_does_not_add_up_is_refused() -> None:
    with pytest.raises(ValidationError, match="planned is not"):
        Report(broadcast="weekly", planned=3, accepted=1)


def test_a_broadcast_is_complete_when_everyone_was_accepted() -> None:
    assert Report(broadcast="weekly", planned=1, accepted=1).complete


@pytest.mark.parametrize("field", ["pending", "unknown", "failed", "skipped"])
def test_a_broadcast_is_not_complete_while_somebody_is_left_over(field: str) -> None:
    assert not Report.model_validate({"broadcast": "weekly", "planned": 1, field: 1}).complete


def test_accepted_includes_whatever_became_of_it_since() -> None:
    assert {state.value for state in ACCEPTED_STATES} == {"accepted", "sent", "delivered", "read", "played"}
    assert SendState.UNKNOWN not in ACCEPTED_STATES
