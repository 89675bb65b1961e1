"""Reading a phone number as people write it, so that what has no country code never becomes a stranger's number.

A list without `+` mixes national numbers with international ones. With a default country, `4915123456789` could be read as
a number in Germany of thirteen digits, or as `+49 1512 3456789`. Each number is read both ways; what is valid in one way
only is that, and what is valid in both ways is refused unless one of them is hardly anybody's.

Source: https://github.com/google/libphonenumber/blob/master/FAQ.md (valid and possible numbers)
"""

import re
import unicodedata
from typing import NamedTuple

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType

from .errors import AddressError

_MOBILE = {PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE}
_LONGEST_DIGITS = 20
# WhatsApp's ids of accounts in Mexico have a 1 that the numbering plan gave up in 2019.
_MEXICO_WITH_ONE = re.compile(r"521[2-9]\d{9}", re.ASCII)


class ReadNumber(NamedTuple):
    """A number that was read.

    Attributes:
        e164: With `+`.
        completed: Whether it had no country code, so that one was put in front.
    """

    e164: str
    completed: bool = False


def read_number(text: str, region: str = "", *, certain: bool = False) -> ReadNumber:
    """Read one number.

    Args:
        text: In any spelling: digits of any script, spaces, brackets, dashes, dots.
        region: Two-letter region for a number without a country code; empty refuses those.
        certain: Whether the region is this very number's own, and not a guess for a whole list.

    Returns:
        Its E.164 form. A number with `+` or `00` has to be possible; one without has to be valid.

    Raises:
        AddressError: It is none, has no country code, or may be read in two ways.

    Example:
        >>> read_number("4915123456789", "DE"), read_number("01512 3456789", "DE")
        (ReadNumber(e164='+4915123456789', completed=False), ReadNumber(e164='+4915123456789', completed=True))
    """
    digits = re.sub(r"[^\d+]", "", text)
    if not digits.isascii():
        digits = "".join(c if c == "+" else str(unicodedata.decimal(c)) for c in digits)
    if len(digits) > _LONGEST_DIGITS:
        raise AddressError(f"too long for a phone number: {len(digits)} digits")
    if digits.startswith("00"):
        digits = "+" + digits[2:]
    bare = digits.removeprefix("+")
    if _MEXICO_WITH_ONE.fullmatch(bare) and (bare != digits or region == "MX"):
        return ReadNumber("+" + bare)
    if digits.startswith("+"):
        return ReadNumber(_russian_trunk_eight(digits) or _international(digits))
    if not region:
        if put_right := _russian_trunk_eight(digits):
            return ReadNumber(put_right)
        raise AddressError("no country code: it needs a leading + or a default country")
    return _without_plus(digits, region, certain=certain, grouped=text.lstrip().startswith("("))


def _international(digits: str) -> str:
    try:
        number = phonenumbers.parse(digits)
    except phonenumbers.NumberParseException as refused:
        why = str(refused).partition(") ")[2].rstrip(".").lower()  # it says "(0) Invalid country code."
        raise AddressError(f"not a phone number: {why}") from None
    # is_possible_number() would take a number without its area code, which can't be reached from abroad.
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise AddressError("not a possible phone number: it has the wrong length for its country")
    return _written(number)


def _without_plus(digits: str, region: str, *, certain: bool, grouped: bool) -> ReadNumber:
    national = _valid(digits, region)
    # A country code never begins with 0, and in brackets stands an area code.
    foreign = (
        None if digits.startswith("0") or grouped else _valid("+" + digits) or _valid(_russian_trunk_eight(digits))
    )
    if foreign and national and _written(foreign) == _written(national):
        return ReadNumber(_written(foreign))
    own_code = phonenumbers.country_code_for_region(region)
    if national and national.country_code != own_code:  # after the region's own prefix for calls abroad
        return ReadNumber(_written(national))
    if foreign and foreign.country_code == own_code and not _mobile(national):
        return ReadNumber(_written(foreign))
    if national and not _mobile(national) and _longer_than_mobile(national, region):
        national = None  # where numbers have any length, nearly every foreign number is a valid landline
    if national and (certain or not foreign or (_mobile(national) and not _mobile(foreign))):
        return ReadNumber(_written(national), completed=True)
    if national and foreign:
        raise AddressError(
            f"two readings without a +: {_masked(national)} or {_masked(foreign)}; write it with + and its country code, "
            "or add a column called country"
        )
    if foreign and not certain:
        return ReadNumber(_written(foreign))
    if foreign:
        raise AddressError(f"not a valid number in {region}: it could be {_masked(foreign)}")
    raise AddressError(f"not a valid number in {region}, nor one with a country code: {_why_not(digits, region)}")


def _valid(digits: str, region: str | None = None) -> PhoneNumber | None:
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None


def _why_not(digits: str, region: str) -> str:
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return "it is not a phone number"
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return "it has the wrong length for its country"
    return "no number begins like that"


def _mobile(number: PhoneNumber | None) -> bool:
    return number is not None and phonenumbers.number_type(number) in _MOBILE


def _longer_than_mobile(number: PhoneNumber, region: str) -> bool:
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    lengths = metadata.mobile.possible_length if metadata and metadata.mobile else ()
    return bool(lengths) and len(phonenumbers.national_significant_number(number)) > max(lengths)


def _written(number: PhoneNumber) -> str:
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def _masked(number: PhoneNumber) -> str:
    where = phonenumbers.region_code_for_number(number) or "no country"
    return f"+{number.country_code} …{_written(number)[-4:]} ({where})"


def _russian_trunk_eight(digits: str) -> str:
    """Russian and Kazakh numbers written with the trunk prefix 8: the gateways never deliver those, 7 is meant.

    Only where the 8 can't be another country's code (Vietnam's is 84), so 8 and a valid number that +8… is not.
    """
    bare = digits.removeprefix("+")
    if len(bare) != 11 or bare[0] != "8":
        return ""
    as_seven = phonenumbers.parse("+7" + bare[1:])
    if not phonenumbers.is_valid_number(as_seven):
        return ""
    try:
        if phonenumbers.is_possible_number(phonenumbers.parse("+" + bare)):
            return ""
    except phonenumbers.NumberParseException:
        pass  # +8… is no country code: 7 is meant
    return "+7" + bare[1:]
