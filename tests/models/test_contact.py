"""A contact card as it is shown, and the vCard that carries it."""

import pytest
from prefect_whatsapp.models import Contact, ContactAddress, ContactEmail, ContactPhone, ContactUrl
from pydantic import ValidationError


def test_the_shorthand_number_offers_message() -> None:
    contact = Contact(name="Ada Byron", phone="+44 20 7946 0000")
    assert contact.phone == "+442079460000"
    assert contact.all_phones == (ContactPhone(phone="+442079460000", wa_id="442079460000"),)
    assert contact.whatsapp_id == "442079460000"


def test_a_number_without_a_whatsapp_id_offers_nothing() -> None:
    assert Contact(name="Ada", phones=(ContactPhone(phone="020 7946 0000"),)).whatsapp_id == ""


def test_the_name_is_made_of_its_parts_where_none_is_given() -> None:
    assert Contact(prefix="Dr", first_name="Ada", last_name="Byron").formatted_name == "Dr Ada Byron"
    assert Contact(name="Countess", first_name="Ada").formatted_name == "Countess"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "needs a name or a phone"),
        ({"name": "Ada", "phone": "120363000000001234@g.us"}, "takes a phone number"),
        ({"name": "Ada", "phone": "2079460000"}, "no country code"),
        ({"name": "Ada", "birthday": "1815-13-10"}, "month"),
        ({"name": "Ada", "fax": "1"}, "Extra inputs"),
        ({"phones": ({"phone": "1", "wa_id": "+1"},)}, "pattern"),
    ],
)
def test_a_card_that_says_nothing_or_nonsense_is_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Contact.model_validate(fields)


def test_the_vcard_has_n_fn_and_waid_and_escapes_what_would_end_a_value() -> None:
    card = Contact(
        name="Byron, Ada; Countess\r\nof Lovelace",
        phone="+442079460000",
        organisation="Analytical\\Engine",
        department="Notes",
        job_title="Author",
        emails=(ContactEmail(email="ada@example.org"),),
        urls=(ContactUrl(url="https://example.org"),),
        addresses=(ContactAddress(street="12 St James's Sq", city="London", zip="SW1Y", type="HO:ME"),),
        birthday="1815-12-10",
    ).vcard()
    assert card.split("\n") == [
        "BEGIN:VCARD",
        "VERSION:3.0",
        r"N:;Byron\, Ada\; Countess\nof Lovelace;;;",
        r"FN:Byron\, Ada\; Countess\nof Lovelace",
        r"ORG:Analytical\\Engine;Notes",
        "TITLE:Author",
        "TEL;type=CELL;type=VOICE;waid=442079460000:+442079460000",
        "EMAIL;type=WORK:ada@example.org",
        "URL;type=WORK:https://example.org",
        "ADR;type=HOME:;;12 St James's Sq;London;;SW1Y;",
        "BDAY:1815-12-10",
        "END:VCARD",
    ]


def test_a_card_without_a_name_is_shown_by_its_number() -> None:
    assert "FN:442079460000" in Contact(phone="+442079460000").vcard().split("\n")
