"""A contact card, and the vCard that carries it where a service takes no object of its own."""

import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .recipient import Recipient, RecipientKind


class ContactPhone(BaseModel):
    """A number on a card.

    Attributes:
        phone: As it is to be shown, any spelling.
        type: `CELL`, `MAIN`, `IPHONE`, `HOME`, `WORK` or a word of one's own.
        wa_id: The WhatsApp id, digits without `+`; with it the card offers *Message*. Empty: derived where `phone` is E.164.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    phone: str = Field(min_length=1)
    type: str = "CELL"
    wa_id: str = Field(default="", pattern=r"^\d*$")


class ContactEmail(BaseModel):
    """An e-mail address on a card; `type` is `HOME`, `WORK` or a word of one's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    email: str = Field(min_length=3)
    type: str = "WORK"


class ContactUrl(BaseModel):
    """A web address on a card; `type` is `HOME`, `WORK` or a word of one's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(min_length=1)
    type: str = "WORK"


class ContactAddress(BaseModel):
    """A postal address on a card; `country_code` is the two-letter code, `type` is `HOME` or `WORK`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    street: str = ""
    city: str = ""
    state: str = ""
    zip: str = ""
    country: str = ""
    country_code: str = ""
    type: str = "WORK"


class Contact(BaseModel):
    """One contact card, in the words of no service.

    Attributes:
        name: The whole name as it is shown; may be empty only for a Chat-API contact, whose name the phone book gives.
        phone: Shorthand for one number: E.164, or digits with country code and `+`; it offers *Message*.
        phones: More numbers, or numbers with a type and a `wa_id` of their own.
        first_name, last_name, middle_name, prefix, suffix: Parts of the name; `first_name` is filled from `name`.
        organisation, department, job_title: Where they work.
        emails, urls, addresses: As on a vCard.
        birthday: `YYYY-MM-DD`, empty for none.

    Raises:
        pydantic.ValidationError: No name and no number, or a birthday that is no date.

    Example:
        >>> Contact(name="Ada Byron", phone="+442079460000").whatsapp_id
        '442079460000'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Contact")

    name: str = Field(default="", description="Name as shown on the card.", json_schema_extra={"position": 0})
    phone: str = Field(
        default="", description="Phone number with + and country code.", json_schema_extra={"position": 1}
    )
    organisation: str = Field(default="", description="Company or team.", json_schema_extra={"position": 2})
    first_name: str = ""
    last_name: str = ""
    middle_name: str = ""
    prefix: str = ""
    suffix: str = ""
    department: str = ""
    job_title: str = ""
    phones: tuple[ContactPhone, ...] = ()
    emails: tuple[ContactEmail, ...] = ()
    urls: tuple[ContactUrl, ...] = ()
    addresses: tuple[ContactAddress, ...] = ()
    birthday: str = ""

    @field_validator("phone")
    @classmethod
    def _phone_is_e164(cls, value: str) -> str:
        if not value:
            return value
        recipient = Recipient(to=value)
        if recipient.kind is not RecipientKind.PHONE:
            raise ValueError("phone takes a phone number with + and country code")
        return recipient.to

    @field_validator("birthday")
    @classmethod
    def _birthday_is_a_date(cls, value: str) -> str:
        if value:
            datetime.date.fromisoformat(value)
        return value

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.name or self.first_name or self.last_name or self.all_phones):
            raise ValueError("a contact needs a name or a phone number")
        return self

    @property
    def all_phones(self) -> tuple[ContactPhone, ...]:
        """Every number, each with its WhatsApp id where one is known."""
        own = (ContactPhone(phone=self.phone, wa_id=self.phone[1:]),) if self.phone else ()
        return own + self.phones

    @property
    def whatsapp_id(self) -> str:
        """Digits of the first number that has a WhatsApp id; empty where none has."""
        return next((entry.wa_id for entry in self.all_phones if entry.wa_id), "")

    @property
    def formatted_name(self) -> str:
        """The name as shown; composed of its parts where `name` is empty."""
        parts = (self.prefix, self.first_name, self.middle_name, self.last_name, self.suffix)
        return self.name or " ".join(part for part in parts if part)

    def vcard(self) -> str:
        r"""Write the card as vCard 3.0 with `N`, `FN` and `waid`, lines ended by `\n`.

        Some clients show no name without `N`; `waid` is what makes the card offer *Message*.

        Source: RFC 2426; https://waha.devlike.pro/docs/how-to/send-messages/ (send contact).
        """
        last, first = self.last_name, self.first_name
        if not (last or first):
            first = self.formatted_name
        lines = [
            "BEGIN:VCARD",
            "VERSION:3.0",
            "N:" + ";".join(map(_escape, (last, first, self.middle_name, self.prefix, self.suffix))),
            f"FN:{_escape(self.formatted_name or self.whatsapp_id)}",
        ]
        if self.organisation or self.department:
            lines.append("ORG:" + ";".join(map(_escape, (self.organisation, self.department))))
        if self.job_title:
            lines.append(f"TITLE:{_escape(self.job_title)}")
        for entry in self.all_phones:
            waid = f";waid={entry.wa_id}" if entry.wa_id else ""
            lines.append(f"TEL;type={_parameter(entry.type)};type=VOICE{waid}:{_escape(entry.phone)}")
        lines += [f"EMAIL;type={_parameter(e.type)}:{_escape(e.email)}" for e in self.emails]
        lines += [f"URL;type={_parameter(u.type)}:{_escape(u.url)}" for u in self.urls]
        for a in self.addresses:
            parts = ("", "", a.street, a.city, a.state, a.zip, a.country)
            lines.append(f"ADR;type={_parameter(a.type)}:" + ";".join(map(_escape, parts)))
        if self.birthday:
            lines.append(f"BDAY:{self.birthday}")
        return "\n".join([*lines, "END:VCARD"])


def _escape(value: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ("\r\n", "\\n"), ("\n", "\\n"), ("\r", "\\n"), (",", "\\,"), (";", "\\;")):
        value = value.replace(plain, escaped)
    return value


def _parameter(value: str) -> str:
    """A vCard parameter may not hold the characters that end it."""
    return "".join(c for c in value if c.isalnum() or c == "-") or "CELL"
