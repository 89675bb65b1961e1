"""A contact card as it is shown, and the vCard that carries it."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
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


def test_a_whatsapp_id_is_derived_where_the_number_has_its_country_code() -> None:
    assert ContactPhone(phone="+44 20 7946 0000").wa_id == "442079460000"
    assert ContactPhone(phone="+44 20 7946 0000", wa_id="1").wa_id == "1"
    assert ContactPhone(phone="+1").wa_id == ""


def test_a_birthday_is_normalised() -> None:
    assert Contact(name="Ada", birthday="18151210").birthday == "1815-12-10"


def test_graph_s_object_leaves_absent_members_out() -> None:
    assert Contact(name="Ada Byron", phone="+442079460000").cloud_object() == {
        "name": {"formatted_name": "Ada Byron", "first_name": "Ada Byron"},
        "phones": [{"phone": "+442079460000", "type": "CELL", "wa_id": "442079460000"}],
    }


def test_graph_s_object_holds_all_of_a_card() -> None:
    card = Contact(
        prefix="Dr",
        first_name="Ada",
        last_name="Byron",
        organisation="Engines",
        department="Notes",
        job_title="Author",
        phones=(ContactPhone(phone="020 7946 0000", type="work"), ContactPhone(phone="1", type="Pop-Up")),
        emails=(ContactEmail(email="ada@example.org"),),
        urls=(ContactUrl(url="https://example.org", type="home"),),
        addresses=(ContactAddress(city="London", country_code="GB"),),
        birthday="1815-12-10",
    )
    assert card.cloud_object() == {
        "name": {"formatted_name": "Dr Ada Byron", "first_name": "Ada", "last_name": "Byron", "prefix": "Dr"},
        "phones": [{"phone": "020 7946 0000", "type": "WORK"}, {"phone": "1", "type": "Pop-Up"}],
        "emails": [{"email": "ada@example.org", "type": "WORK"}],
        "urls": [{"url": "https://example.org", "type": "HOME"}],
        "addresses": [{"city": "London", "country_code": "GB", "type": "WORK"}],
        "org": {"company": "Engines", "department": "Notes", "title": "Author"},
        "birthday": "1815-12-10",
    }


def test_the_gateways_object_says_what_it_has_no_place_for() -> None:
    plain = Contact(first_name="Ada", last_name="Byron", phone="+442079460000")
    assert plain.beyond_gateway_object == ()
    assert plain.gateway_object() == {
        "fullName": "Ada Byron",
        "phoneNumber": "+442079460000",
        "whatsappId": "442079460000",
    }
    rich = plain.model_copy(update={"job_title": "Author", "phones": (ContactPhone(phone="1"),)})
    assert rich.beyond_gateway_object == ("job_title", "phones")


def test_chat_api_s_contact_is_its_chat_id() -> None:
    assert Contact(phone="+442079460000").chat_id == "442079460000@c.us"
    assert Contact(name="Ada").chat_id == ""
    assert Contact(phone="+442079460000").only_a_chat_id
    assert not Contact(phone="+442079460000", organisation="Engines").only_a_chat_id
    assert not Contact(name="Ada").only_a_chat_id


def test_neither_a_card_nor_its_validation_error_shows_a_whole_number() -> None:
    contact = Contact(name="Ada", phone="+442079460000", phones=(ContactPhone(phone="+44 20 7946 0001"),))
    shown = f"{contact!r} {contact} {contact.phones!r}"
    assert "…0000" in shown
    assert "7946" not in shown
    with pytest.raises(ValidationError) as refused:
        Contact.model_validate({"name": "Ada", "phones": [{"phone": "+442079460000", "wa_id": "+442079460000"}]})
    assert "7946" not in str(refused.value)


@given(
    *(st.text(max_size=30),) * 4,
    st.text("abc\r\n\x0b\x85\u2028:;,\\=", min_size=3, max_size=12),
)
def test_no_text_breaks_out_of_its_line_and_each_is_read_back(
    name: str, last: str, organisation: str, job: str, other: str
) -> None:
    card = Contact(
        name=name,
        last_name=last,
        organisation=organisation,
        job_title=job,
        phones=(ContactPhone(phone=other, type=other),),
        emails=(ContactEmail(email=other, type=other),),
        urls=(ContactUrl(url=other, type=other),),
        addresses=(ContactAddress(street=other, type=other),),
    )
    lines = card.vcard().splitlines()
    assert lines == card.vcard().split("\n")
    keys = [line.partition(":")[0].partition(";")[0] for line in lines]
    assert [key for key in keys if key not in ("ORG", "TITLE")] == [
        *("BEGIN", "VERSION", "N", "FN", "TEL", "EMAIL", "URL", "ADR", "END")
    ]
    values = {key: line.partition(":")[2] for key, line in zip(keys, lines, strict=True)}
    assert read_back(values["N"])[0] == plain(last)
    assert read_back(values["FN"]) == [plain(card.formatted_name)]
    assert read_back(values["ADR"])[2] == plain(other)
    if organisation:
        assert read_back(values["ORG"])[0] == plain(organisation)
    if job:
        assert read_back(values["TITLE"]) == [plain(job)]


def read_back(value: str) -> list[str]:
    """Read a vCard value as RFC 2426 does: parts between bare semicolons, each unescaped."""
    parts = re.findall(r"((?:\\.|[^;\\])*)(?:;|$)", value)[: value.replace("\\;", "").count(";") + 1 or 1]
    return [re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], part) for part in parts]


def plain(text: str) -> str:
    """A text with each kind of line break as one newline, and without other control characters."""
    lines = "\n".join((text + "\0").splitlines()).removesuffix("\0")
    return "".join(c for c in lines if c in "\n\t" or unicodedata.category(c) != "Cc")
