"""Who gets a message: one phone number, chat id or business-scoped user id, normalised once, at the edge."""

import re
from enum import StrEnum
from typing import Any, NamedTuple, Self

import phonenumbers
from pydantic import BaseModel, ConfigDict, Field, field_validator

from .errors import AddressError, InputError
from .masking import mask, mask_numbers
from .phone_number import read_number


class RecipientKind(StrEnum):
    """What kind of address a recipient is."""

    PHONE = "phone"  # a person, by E.164 number; `<digits>@c.us` is the same person
    GROUP = "group"  # `…@g.us`
    NEWSLETTER = "newsletter"  # `…@newsletter`, a WhatsApp channel
    LID = "lid"  # `…@lid`, a person whose number is hidden
    USER_ID = "user id"  # a business-scoped user id of the Cloud API, `US.1349…`
    GRAPH_GROUP = "graph group"  # an opaque id of Graph's Groups API


_PERSON = re.compile(r"(?P<digits>\d{7,15})@(?:c\.us|s\.whatsapp\.net)", re.ASCII)
_CHAT = re.compile(r"[0-9][0-9-]{4,40}@(?P<domain>g\.us|newsletter|lid)", re.ASCII)
# At least one digit, so that `DR.WHO` in a list of names is no address.
_USER_ID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?(?=[A-Za-z]{0,127}[0-9])[0-9A-Za-z]{1,128}", re.ASCII)
_GRAPH_GROUP = re.compile(r"Y2FwaV9ncm91cDo[0-9A-Za-z_=+/-]{1,200}", re.ASCII)
_PHONE_SHAPE = re.compile(r"[\s(]*\+?[\d\s().\-/\u2010-\u2015\u2212]+")
# What spreadsheets and data frames make of a number: 1.65056E+10 has lost digits, 16505550123.0 has one too many.
_ROUNDED = re.compile(r"[+-]?\d+(?:[.,]\d+)?[eE][+-]?\d{1,3}", re.ASCII)
_FLOAT = re.compile(r"(\+?\d{6,})[.,]0", re.ASCII)
# Stricter than `spellings`, which is for finding whom a webhook is about: a Brazilian landline has no ninth digit, and
# whoever has the mobile number of the same eight digits is another person, who must not be left out.
_SHORTER = (
    (re.compile(r"\+55([1-9]\d)9([6-9]\d{7})", re.ASCII), r"+55\1\2"),
    (re.compile(r"\+549(\d{10})", re.ASCII), r"+54\1"),
    (re.compile(r"\+521(\d{10})", re.ASCII), r"+52\1"),
)
_FORMULA_NUMBER = re.compile(r"\+?\d+|\"[^\"]*\"", re.ASCII)  # ="+1650…" keeps a spreadsheet's + and zeros
# Marks that spreadsheets and contact apps leave around a number; they never belong to it.
_INVISIBLE = dict.fromkeys(
    [0xAD, 0x61C, *range(0x200B, 0x2010), *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF]
)
_SHOWN = 40
_LONGEST = 256  # the longest address is a Graph group's id; no pattern is tried on a megabyte


class Recipient(BaseModel):
    """One person, group or newsletter, and what belongs to the message for them alone.

    Attributes:
        to: The canonical address: E.164 with `+` for a person (a chat id `<digits>@c.us` becomes that number),
            `…@g.us`, `…@newsletter` or `…@lid` as it is, or a Cloud API user id such as `US.13491208655302741918`.
        name: How the list calls them; never sent.
        reply_to: Id of the message to quote, in the service's own form; empty for none.

    Raises:
        pydantic.ValidationError: The address is none of these, or is a number without a country code. Use
            `Recipient.parse` to supply a default region.

    Example:
        >>> Recipient(to="+1 650 555 0123").to
        '+16505550123'
        >>> Recipient(to="16505550123@c.us").chat_id
        '16505550123@c.us'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", title="Recipient", hide_input_in_errors=True)

    to: str = Field(
        description="Phone number with + and country code, or a chat id.", json_schema_extra={"position": 0}
    )
    name: str = Field(default="", description="A name for the report; never sent.", json_schema_extra={"position": 1})
    reply_to: str = Field(
        default="", description="Id of the message to quote; empty for none.", json_schema_extra={"position": 2}
    )

    @field_validator("to")
    @classmethod
    def _canonical(cls, value: str) -> str:
        return canonical_address(value)

    @classmethod
    def parse(cls, to: str, *, default_region: str = "", name: str = "", reply_to: str = "") -> Self:
        """Make a recipient from a number or chat id as people write it.

        Args:
            to: A number in any spelling (`+1 (650) 555-0123`, or `650 555 0123` with a default region), or a chat id.
            default_region: Two-letter region (`US`) for numbers without a country code; empty refuses those.
            name: A name for the report.
            reply_to: Id of the message to quote.

        Raises:
            AddressError: The address can't be used; the text says why, without the whole number.
        """
        return cls(to=canonical_address(to, default_region), name=name, reply_to=reply_to)

    @classmethod
    def stored(cls, to: str, *, name: str = "", reply_to: str = "") -> "Recipient":
        """Make a recipient from an address that was checked when it was stored, without checking it again.

        Each release of phonenumbers may change which numbers are valid; a row that was planned must still be sent.

        Args:
            to: The canonical address, as the ledger has it.
            name: A name for the report.
            reply_to: Id of the message to quote.
        """
        return cls.model_construct(to=to, name=name, reply_to=reply_to)

    @property
    def kind(self) -> RecipientKind:
        """What kind of address `to` is."""
        if self.to.startswith("+"):
            return RecipientKind.PHONE
        if chat := _CHAT.fullmatch(self.to):
            return {
                "g.us": RecipientKind.GROUP,
                "newsletter": RecipientKind.NEWSLETTER,
                "lid": RecipientKind.LID,
            }[chat["domain"]]
        return RecipientKind.GRAPH_GROUP if _GRAPH_GROUP.fullmatch(self.to) else RecipientKind.USER_ID

    @property
    def account_key(self) -> str:
        """What repeats are found by; see `account_key`."""
        return account_key(self.to)

    @property
    def digits(self) -> str:
        """The number without `+`; empty where there is none."""
        return self.to[1:] if self.to.startswith("+") else ""

    @property
    def chat_id(self) -> str:
        """The gateways' form: `<digits>@c.us` for a number, else the chat id itself."""
        return f"{self.digits}@c.us" if self.digits else self.to

    @property
    def masked(self) -> str:
        """What may be shown: `…0123`."""
        return mask(self.to)

    def __repr__(self) -> str:
        return f"Recipient({self.masked!r})"

    __str__ = __repr__

    def __rich_repr__(self) -> Any:
        yield self.masked


def account_key(address: str) -> str:
    """Give one key for all spellings of a WhatsApp account: the shortest, as WhatsApp's own ids are.

    Brazil's mobile numbers got a 9, Argentina's have one after the country code, and Mexico's had a 1: the account is the
    same with it and without.

    Args:
        address: Canonical, as `Recipient.to`.

    Example:
        >>> mexico, number = "+52", "5550001234"
        >>> account_key(mexico + "1" + number) == account_key(mexico + number)
        True
        >>> account_key("+16505550123")
        '+16505550123'
    """
    return next((form.sub(short, address) for form, short in _SHORTER if form.fullmatch(address)), address)


class ReadAddress(NamedTuple):
    """An address that was read: its canonical spelling, and whether a country code was added."""

    to: str
    completed: bool = False


def canonical_address(value: str, default_region: str = "") -> str:
    """Give the one spelling of an address that the ledger compares.

    Args:
        value: What stands in the list.
        default_region: Two-letter region for numbers without a country code; empty refuses those.

    Returns:
        E.164 with `+`, a group, newsletter or lid chat id, or a user id.

    Raises:
        AddressError: Not an address, or one without a country code; the text names the reason and hides the number.
        InputError: The region is unknown.

    Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages — without
    `+` the sender's own country code may be put in front, so that the message reaches a stranger.
    """
    if region := default_region.strip().upper():
        check_region(region)
    return read_address(value, region).to


def read_address(value: str, region: str = "", *, certain: bool = False) -> ReadAddress:
    """Read an address, and say whether its number had no country code.

    Args:
        value: What stands in the list.
        region: A known two-letter region in capitals, for a number without a country code; empty refuses those.
        certain: Whether the region is this number's own, and not a guess for the whole list.

    Raises:
        AddressError: As for `canonical_address`.
    """
    text = value.translate(_INVISIBLE).strip().lstrip("'\u2019").lstrip()  # an apostrophe marks a cell as text
    if text.startswith("="):
        text = text[1:].lstrip()
        if not _FORMULA_NUMBER.fullmatch(text):
            raise AddressError("a formula, not an address", _shown(text))
    text = text.strip("'\" ")
    if not text:
        raise AddressError("empty")
    if len(text) > _LONGEST:
        raise AddressError(f"too long for an address: {len(text)} characters")
    if "@" in text:
        folded = text.lower()
        if person := _PERSON.fullmatch(folded):
            return ReadAddress(read_number("+" + person["digits"]).e164)
        if _CHAT.fullmatch(folded):
            return ReadAddress(folded)
        raise AddressError(
            "not a chat id that can be sent to: it ends in @c.us, @g.us, @newsletter or @lid", _shown(text)
        )
    if _USER_ID.fullmatch(text) or _GRAPH_GROUP.fullmatch(text):
        return ReadAddress(text)
    if _ROUNDED.fullmatch(text):
        raise AddressError("the spreadsheet rounded the number and its last digits are lost: format the column as text")
    if text.startswith("-"):
        raise AddressError("a negative number", _shown(text))
    text = _FLOAT.sub(r"\1", text) if _FLOAT.fullmatch(text) else text.replace("\uff0b", "+")
    if not _PHONE_SHAPE.fullmatch(text):
        raise AddressError("not a phone number or chat id", _shown(text))
    try:
        return ReadAddress(*read_number(text, region, certain=certain))
    except AddressError as refused:
        raise AddressError(refused.reason, _shown(text)) from None


def check_region(region: str) -> None:
    """Refuse a default region that phonenumbers doesn't know.

    Raises:
        InputError: Not one of its two-letter regions.
    """
    if region.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise InputError(
            f"default country {mask_numbers(region[:_SHOWN])!r} is not a two-letter region such as US, GB or BR"
        )


def _shown(text: str) -> str:
    """The last four digits: Prefect stores what an error says, and beside a number may stand a name."""
    digits = [character for character in text if character.isdecimal()]
    return f"…{''.join(digits[-4:])}" if len(digits) >= 8 else ""
