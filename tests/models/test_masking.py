"""What may be shown of a number."""

import pytest
from prefect_whatsapp.models import mask, mask_numbers


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to +1 (650) 555-0123 now", "to …0123 now"),
        ("1.650.555.0123", "…0123"),
        ("true_16505550123@c.us_3EB0", "true_…0123@c.us_3EB0"),
        ("2026-11-20 16505550123", "…0123"),
        ("six digits: 123456", "six digits: 123456"),
    ],
)
def test_no_whole_number_is_left_in_a_text(text: str, shown: str) -> None:
    assert mask_numbers(text) == shown


@pytest.mark.parametrize("text", ["daily-2026-11-20", "2026-11-20T13:00:00+00:00", "POST to 192.168.100.100"])
def test_dates_and_addresses_stay_readable(text: str) -> None:
    assert mask_numbers(text) == text


def test_a_recipient_is_shown_by_its_last_four() -> None:
    assert [mask(to) for to in ("+16505550123", "120363000000001234@g.us", "7")] == ["…0123", "…1234@g.us", "…7"]
