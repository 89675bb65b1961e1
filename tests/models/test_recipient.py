"""An address has one spelling, and what could reach a stranger is refused."""

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect_whatsapp.models import Recipient, RecipientKind, canonical_address, check_region
from prefect_whatsapp.models.errors import AddressError, InputError
from prefect_whatsapp.models.recipient import account_key
from pydantic import ValidationError

NUMBER = "+16505550123"


@pytest.mark.parametrize(
    ("written", "region"),
    [
        ("+16505550123", ""),
        ("+1 (650) 555-0123", ""),
        ("(+1) 650 555 0123", ""),
        ("+1.650.555.0123", ""),
        ("+1 650‑555‑0123", ""),
        ("001 650 555 0123", ""),
        ("16505550123@c.us", ""),
        ("16505550123@S.WhatsApp.net", ""),
        ("  \u202a+16505550123\u202c\u00a0", ""),
        ("+1650555\u00ad0123\u061c", ""),
        ("'+16505550123", ""),
        ("’+16505550123", ""),
        ('="+16505550123"', ""),
        ("=+16505550123", ""),
        ("\uff0b１６５０５５５０１２３", ""),
        ("+١٦٥٠٥٥٥٠١٢٣", ""),
        ("(650) 555-0123", "US"),
        ("6505550123", "us"),
        ("16505550123", "US"),
        ("16505550123.0", "US"),
        ("6505550123,0", " US "),
    ],
)
def test_every_spelling_of_a_number_is_one_address(written: str, region: str) -> None:
    assert canonical_address(written, region) == NUMBER


@pytest.mark.parametrize(
    ("written", "region", "reason"),
    [
        ("", "", "empty"),
        (" '' ", "", "empty"),
        ("16505550123", "", "no country code"),
        ("6505550123", "", "no country code"),
        ("1.65056E+10", "US", "the spreadsheet rounded the number"),
        ("1,65056e+10", "", "the spreadsheet rounded the number"),
        ("+15550123", "", "wrong length for its country"),
        ("5550123", "US", "wrong length for its country"),
        ("112", "DE", "wrong length for its country"),
        ("-6505550123", "US", "negative"),
        ("=16505550123-1", "US", "formula"),
        ('=HYPERLINK("http://x.test","+16505550123")', "", "formula"),
        ("=cmd|' /C calc'!A0", "", "formula"),
        ("+16505550123 / +16505550124", "", "not a phone number"),
        ("+16505550123 ext 5", "", "not a phone number"),
        ("+0", "", "not a phone number"),
        ("1" * 21, "US", "too long"),
        ("(" * 1_000_000 + "x", "US", "too long"),
        ("ada@example.org", "", "not a chat id"),
        ("1234@c.us", "", "not a chat id"),
        ("DR.WHO", "", "not a phone number"),
        ("+1650\x00555\x000123", "", "not a phone number"),
        ("²", "US", "not a phone number"),
    ],
)
def test_what_is_no_address_is_refused_with_its_reason(written: str, region: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        canonical_address(written, region)
    assert "5550123" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("89123456789", "+79123456789"),
        ("+89123456789", "+79123456789"),
        ("87011234567", "+77011234567"),
        ("+84912345678", "+84912345678"),
    ],
)
def test_a_russian_or_kazakh_8_is_a_7_but_vietnam_stays(written: str, canonical: str) -> None:
    assert canonical_address(written) == canonical


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("+16505550123", RecipientKind.PHONE),
        ("17680561234-1479621234@g.us", RecipientKind.GROUP),
        ("120363000000001234@newsletter", RecipientKind.NEWSLETTER),
        ("120363000000001234@lid", RecipientKind.LID),
        ("US.13491208655302741918", RecipientKind.USER_ID),
        ("US.ENT.11815799212886844830", RecipientKind.USER_ID),
        ("Y2FwaV9ncm91cDoxOTUwNTU1", RecipientKind.GRAPH_GROUP),
    ],
)
def test_each_kind_of_address_is_known_by_its_form(written: str, kind: RecipientKind) -> None:
    recipient = Recipient(to=written)
    assert (recipient.to, recipient.kind) == (written, kind)


def test_a_number_has_digits_and_a_chat_id_and_a_group_has_itself() -> None:
    person, group = Recipient(to=NUMBER), Recipient(to="120363000000001234@g.us")
    assert (person.digits, person.chat_id) == ("16505550123", "16505550123@c.us")
    assert (group.digits, group.chat_id) == ("", "120363000000001234@g.us")


def test_no_way_of_showing_a_recipient_shows_the_number() -> None:
    recipient = Recipient(to=NUMBER, name="Ada")
    assert {str(recipient), repr(recipient), f"{recipient}"} == {"Recipient('…0123')"}
    assert pickle.loads(pickle.dumps(recipient)) == recipient


def test_parse_takes_a_default_region_and_the_constructor_none() -> None:
    assert Recipient.parse("650 555 0123", default_region="US", name="Ada", reply_to="wamid.X").reply_to == "wamid.X"
    with pytest.raises(ValidationError, match="no country code"):
        Recipient(to="650 555 0123")


@pytest.mark.parametrize("region", ["USA", "XX", "1", "United States"])
def test_an_unknown_region_is_refused(region: str) -> None:
    with pytest.raises(ValueError, match="two-letter region"):
        check_region(region)
    with pytest.raises(ValueError, match="two-letter region"):
        canonical_address(NUMBER, region)


@given(st.text(max_size=300), st.sampled_from(["", "US", "DE", "RU"]))
def test_any_text_is_canonical_or_a_value_error_and_canonical_is_stable(text: str, region: str) -> None:
    try:
        address = canonical_address(text, region)
    except ValueError:
        return
    assert canonical_address(address) == address


@given(st.text(alphabet="+0123456789٣８ ()-./=.'eE,\u200e", max_size=24), st.sampled_from(["", "US", "DE", "KZ"]))
def test_what_resembles_a_number_is_canonical_or_a_value_error(text: str, region: str) -> None:
    try:
        address = canonical_address(text, region)
    except ValueError:
        return
    assert canonical_address(address, region) == address


def test_what_is_no_address_raises_the_error_that_the_docstring_names() -> None:
    with pytest.raises(InputError, match="not a phone number or chat id"):
        Recipient.parse("garbage")
    with pytest.raises(InputError, match="two-letter region"):
        Recipient.parse("650 555 0123", default_region="Mars")
    with pytest.raises(ValidationError, match="not a phone number or chat id"):
        Recipient(to="garbage")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+55" + "11" + "9" + "90000001", "+55" + "11" + "90000001"),
        ("+54" + "9" + "11" + "50000001", "+54" + "11" + "50000001"),
        ("+52" + "1" + "55" + "50000001", "+52" + "55" + "50000001"),
    ],
)
def test_both_spellings_of_an_account_have_one_key_and_each_stays_as_it_was_given(one: str, other: str) -> None:
    """Brazil's ninth digit, Argentina's 9, Mexico's 1: as a number and as a chat id."""
    for number in (one, other):
        assert Recipient(to=number).to == number
        assert Recipient(to=f"{number[1:]}@c.us").to == number
    assert Recipient(to=one).account_key == Recipient(to=other).account_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+55" + "11" + "9" + "30000001", "+55" + "11" + "30000001"),  # a landline has no ninth digit
        ("+5511" + "90000001", "+5521" + "90000001"),
        ("+5255" + "50000001", "+5255" + "50000002"),
        ("1234567890123@g.us", "1234567890123@lid"),
    ],
)
def test_other_accounts_have_other_keys(one: str, other: str) -> None:
    assert account_key(one) != account_key(other)


def test_mexicos_one_is_taken_with_the_country_as_default() -> None:
    number = "521" + "55" + "50000001"
    assert Recipient.parse(number, default_region="MX").to == f"+{number}"
    with pytest.raises(ValueError, match="no country code"):
        Recipient.parse(number)


@pytest.mark.parametrize(
    "text", ["+1650555015x9 CANARY", "CANARY", "=CANARY()", "CANARY@nowhere", "-16505550159 CANARY"]
)
def test_a_refused_address_is_named_by_its_last_four_digits_alone(text: str) -> None:
    with pytest.raises(AddressError) as refused:
        Recipient.parse(text)
    said = f"{refused.value} {refused.value.shown} {refused.value!r}"
    assert "CANARY" not in said
    assert not re.search(r"\d\D?\d\D?\d\D?\d\D?\d", refused.value.shown)
