"""What may be shown of a number."""

from urllib.parse import quote

import phonenumbers
import pytest
from prefect_whatsapp.models import mask, mask_numbers
from prefect_whatsapp.models.errors import ProviderError

GROUPS = ("1", "650", "555", "0123")
BETWEEN = [
    "", " ", "-", ".", "/", " / ", "\\", "_", "  ", " - ", ") ", " (", "\u00a0", "\u2009", "\u202f", "\u200b", "\u200d",
    "\u2060", "\ufeff", "\u00ad", "\u2010", "\u2011", "\u2013", "\u2014", "\u2212", "\uff0d", "\u00b7", "\u2019", "%20",
    "%2D", "%C2%A0", "\\u200b", "&nbsp;", "&#8209;", "\t", "\u202a",
]  # fmt: skip


@pytest.mark.parametrize("between", BETWEEN, ids=[ascii(each) for each in BETWEEN])
@pytest.mark.parametrize("plus", ["+", "", "%2B"])
def test_no_spelling_of_a_number_passes(plus: str, between: str) -> None:
    shown = mask_numbers(f"to {plus}{between.join(GROUPS)} now")
    assert shown.startswith("to ")
    assert shown.endswith("…0123 now")
    assert "555" not in shown
    assert "650" not in shown


def test_digits_of_other_scripts_are_digits() -> None:
    assert (
        mask_numbers("\u0661\u0666\u0665\u0660\u0665\u0665\u0665\u0660\u0661\u0662\u0663")
        == "…\u0660\u0661\u0662\u0663"
    )
    assert mask_numbers("\uff0b\uff11\uff16\uff15\uff10\uff15\uff15\uff15\uff10\uff11\uff12\uff13").startswith("…")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to +1 (650) 555-0123 now", "to …0123 now"),
        ("1.650.555.0123", "…0123"),
        ("true_16505550123@c.us_3EB0", "true_…0123@c.us_3EB0"),
        (quote("+1 (650) 555-0123"), "…0123"),
        ("2026-11-20 16505550123", "…0123"),
        ("six digits: 123456", "six digits: 123456"),
        ("+290-" + "22222", "…2222"),
        ("+683 4000", "…000"),
        ("16505550123,16505550124", "…0123,…0124"),
    ],
)
def test_no_whole_number_is_left_in_a_text(text: str, shown: str) -> None:
    assert mask_numbers(text) == shown


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_of_every_countrys_shortest_number_at_least_half_is_hidden(region: str) -> None:
    lengths = phonenumbers.PhoneMetadata.metadata_for_region(region).general_desc.possible_length
    number = f"+{phonenumbers.country_code_for_region(region)}" + "123456789012345"[: min(lengths)]
    for shown in (mask(number), mask_numbers(number)):
        assert shown[0] == "…"
        assert len(shown) - 1 <= (len(number) - 1) // 2


@pytest.mark.parametrize(
    "text",
    [
        "daily-2026-11-20",
        "daily-20260308",
        "nightly_20260308-1830",
        "backup.202603081830",
        "monday-20260308T183000",
        "hourly-2026-03-08-18",
        "hourly-2026-03-08 18:30:15",
        "daily-2026_03_08",
        "daily-08.03.2026",
        "2026-11-20T13:00:00+00:00",
        "POST to 192.168.100.100",
        "1,234,567 messages",
        "code 131026",
        "weekly-2026-W47",
        "-50 % of 3 + 4",
    ],
)
def test_dates_addresses_and_counts_stay_readable(text: str) -> None:
    assert mask_numbers(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "20260308",  # a local number in Denmark and Hong Kong
        "to 20260308 now",
        "daily-20261308",  # no such month
        "daily-20260332",
        "true_20260308@c.us",
        "daily-+20260308",
        "call-2026030812",
        "to-201012241830",  # a mobile in Egypt, and a date of 2010
        "x-2026030818301",
        "2026-03-0818305550",
        "daily-45 20260308",
    ],
)
def test_what_only_looks_like_a_date_is_hidden(text: str) -> None:
    shown = mask_numbers(text)
    assert "…" in shown
    assert len(shown) < len(text)


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_no_countrys_whole_number_is_a_date_without_dashes(region: str) -> None:
    """Joined to a word it would be shown: so none may begin with 202 or 203 and have a date's length."""
    code = str(phonenumbers.country_code_for_region(region))
    if not code.startswith("20"):
        return
    for length in (8, 12, 14):
        for start in ("2", "3"):
            number = phonenumbers.PhoneNumber(country_code=int(code), national_number=int(start + "1" * (length - 3)))
            assert not phonenumbers.is_possible_number(number) or not phonenumbers.is_valid_number(number)


def test_a_long_text_of_separators_is_read_in_one_go() -> None:
    text = "1 " * 3 + "%20" * 200_000 + "\u200b" * 200_000 + "(1" * 100_000
    assert len(mask_numbers(text)) < len(text)


def test_a_recipient_is_shown_by_its_last_four_or_less() -> None:
    assert [mask(to) for to in ("+16505550123", "120363000000001234@g.us", "+6834000", "7", "")] == [
        *("…0123", "…1234@g.us", "…000"),
        *("…", "…"),
    ]


def test_what_follows_the_at_sign_is_shown_only_where_it_is_whatsapps() -> None:
    assert mask("x@16505550123") == "…"
    assert mask("16505550123@<img src=x>") == "…0123"
    assert mask("16505550123@S.WhatsApp.net") == "…0123@S.WhatsApp.net"


def test_a_code_and_a_trace_id_hold_no_number() -> None:
    error = ProviderError("no", provider="waha", code="no-16505550123", trace_id="for 16505550123")
    assert (error.code, error.trace_id) == ("no-…0123", "for …0123")
    assert ProviderError("no", provider="graph", code="131026").code == "131026"
