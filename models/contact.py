"""A contact card and each service's form of it: Graph's object, Wawp's and WAHA's object, a chat id, a vCard."""

import contextlib
import datetime
import re
import unicodedata
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from .masking import mask
from .recipient import Recipient, RecipientKind, canonical_address

T = TypeVar("T")

_NAME_PARTS = ("first_name", "last_name", "middle_name", "prefix", "suffix")
_KNOWN_TYPES = frozenset({"CELL", "MAIN", "IPHONE", "HOME", "WORK"})
# Whatever str.splitlines takes for the end of a line; a reader of vCards may do the same.
_LINE_BREAK = re.compile("\r\n|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]")
# Whole numbers stay out of validation errors, which quote their input otherwise.
_FROZEN = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ContactPhone(BaseModel):
    """A number on a card.

    Attributes:
        phone: As it is to be shown, any spelling.
        type: `CELL`, `MAIN`, `IPHONE`, `HOME`, `WORK` or a word of your own.
        wa_id: The WhatsApp id, digits without `+`; with it the card offers *Message*. Empty: derived where `phone` has
            `+` and a country code.
    """

    model_config = _FROZEN

    phone: str = Field(min_length=1)
    type: str = "CELL"
    wa_id: str = Field(default="", pattern=r"^[0-9]*$")

    @model_validator(mode="after")
    def _derived_wa_id(self) -> Self:
        if not self.wa_id and self.phone.lstrip().startswith("+"):
            with contextlib.suppress(ValueError):  # shown as it is written; the card then offers no Message button
                object.__setattr__(self, "wa_id", canonical_address(self.phone)[1:])
        return self

    def __repr__(self) -> str:
        return f"ContactPhone({mask(self.phone)!r}, {self.type})"

    __str__ = __repr__

    def __rich_repr__(self) -> Any:
        yield mask(self.phone)
        yield self.type


class ContactEmail(BaseModel):
    """An e-mail address on a card; `type` is `HOME`, `WORK` or a word of your own."""

    model_config = _FROZEN

    email: str = Field(min_length=3)
    type: str = "WORK"


class ContactUrl(BaseModel):
    """A web address on a card; `type` is `HOME`, `WORK` or a word of your own."""

    model_config = _FROZEN

    url: str = Field(min_length=1)
    type: str = "WORK"


class ContactAddress(BaseModel):
    """A postal address on a card; `country_code` is the two-letter code, `type` is `HOME` or `WORK`."""

    model_config = _FROZEN

    street: str = ""
    city: str = ""
    state: str = ""
    zip: str = ""
    country: str = ""
    country_code: str = ""
    type: str = "WORK"


class Contact(BaseModel):
    """One contact card, independent of the service.

    Attributes:
        name: The whole name as it is shown; may be empty only for a Chat-API contact, whose name the phone book gives.
        phone: Shorthand for one number: E.164, or digits with country code and `+`; it offers *Message*.
        phones: More numbers, or numbers with a type and a `wa_id` of their own.
        first_name, last_name, middle_name, prefix, suffix: Parts of the name; where there is neither a first nor a last
            name, `name` stands in for the first.
        organisation, department, job_title: Where they work.
        emails, urls, addresses: As on a vCard.
        birthday: `YYYY-MM-DD`, empty for none.

    Raises:
        pydantic.ValidationError: No name and no number, or a birthday that is not a date.

    Example:
        >>> Contact(name="Ada Byron", phone="+442079460000").whatsapp_id
        '442079460000'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, title="Contact")

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
        return value and datetime.date.fromisoformat(value).isoformat()

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.name or self.first_name or self.last_name or self.all_phones):
            raise ValueError("a contact needs a name or a phone number")
        return self

    def __repr__(self) -> str:
        return f"Contact({self.formatted_name!r}, {', '.join(mask(entry.phone) for entry in self.all_phones)})"

    __str__ = __repr__

    def __rich_repr__(self) -> Any:
        yield self.formatted_name
        yield [mask(entry.phone) for entry in self.all_phones]

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

    @property
    def chat_id(self) -> str:
        """All that Chat-API knows of a contact: `<digits>@c.us`; empty without a WhatsApp id."""
        return f"{self.whatsapp_id}@c.us" if self.whatsapp_id else ""

    @property
    def only_a_chat_id(self) -> bool:
        """Whether there is nothing on the card but one number that is on WhatsApp."""
        named = self.model_dump(exclude={"phone", "phones"}, exclude_defaults=True)
        return not named and bool(self.whatsapp_id) and len(self.all_phones) == 1

    def cloud_object(self) -> dict[str, Any]:
        """Build the contact object of the Cloud API, which 1msg takes too; absent members are left out.

        Its `wa_id` makes the card offer *Message*; without it WhatsApp offers *Invite*.

        Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/contacts-messages
        """
        parts = _present({key: getattr(self, key) for key in _NAME_PARTS}) or {"first_name": self.formatted_name}
        org = {"company": self.organisation, "department": self.department, "title": self.job_title}
        return _present(
            {
                "name": _present({"formatted_name": self.formatted_name} | parts),
                "phones": [_typed(p) for p in self.all_phones],
                "emails": [_typed(e) for e in self.emails],
                "urls": [_typed(u) for u in self.urls],
                "addresses": [_typed(a) for a in self.addresses],
                "org": _present(org),
                "birthday": self.birthday,
            }
        )

    @property
    def beyond_gateway_object(self) -> tuple[str, ...]:
        """Names of the members that `gateway_object` has no place for; empty where it carries the whole card."""
        carried = {"name", *_NAME_PARTS, "organisation", "phone", "phones"}
        more = self.model_dump(exclude=carried, exclude_defaults=True)
        return (*more, *(("phones",) if len(self.all_phones) > 1 else ()))

    def gateway_object(self) -> dict[str, str]:
        """Build the contact object of Wawp and WAHA: a name, an organisation and the first number, without its type.

        Source: https://waha.devlike.pro/docs/how-to/send-messages/ (send contact).
        """
        phone = next(iter(self.all_phones), None)
        return _present(
            {
                "fullName": self.formatted_name,
                "organization": self.organisation,
                "phoneNumber": phone.phone if phone else "",
                "whatsappId": phone.wa_id if phone else "",
            }
        )

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
        lines += [f"URL;type={_parameter(u.type)}:{_uri(u.url)}" for u in self.urls]
        for a in self.addresses:
            parts = ("", "", a.street, a.city, a.state, a.zip, a.country)
            lines.append(f"ADR;type={_parameter(a.type)}:" + ";".join(map(_escape, parts)))
        if self.birthday:
            lines.append(f"BDAY:{self.birthday}")
        return "\n".join([*lines, "END:VCARD"])


def _present(members: dict[str, T]) -> dict[str, T]:
    return {key: value for key, value in members.items() if value}


def _typed(entry: BaseModel) -> dict[str, str]:
    members = _present(entry.model_dump())
    if members.get("type", "").upper() in _KNOWN_TYPES:
        members["type"] = members["type"].upper()
    return members


def _escape(value: str) -> str:
    """Write a text value: its own separators escaped, each line break as `\\n`, other control characters gone."""
    value = _LINE_BREAK.sub("\n", value)
    value = "".join(c for c in value if c in "\n\t" or unicodedata.category(c) != "Cc")
    for plain, escaped in (("\\", "\\\\"), ("\n", "\\n"), (",", "\\,"), (";", "\\;")):
        value = value.replace(plain, escaped)
    return value


def _uri(value: str) -> str:
    """Write an address: RFC 2426 has no escaping there, so what would end the line is left out."""
    return "".join(c for c in value if not c.isspace() and unicodedata.category(c) != "Cc")


def _parameter(value: str) -> str:
    """A vCard parameter may not hold the characters that end it."""
    return "".join(c for c in value if c.isalnum() or c == "-") or "OTHER"
