"""How the services name a person: the number in its other form, the `@lid`, the business-scoped user id.

Written from the services' documents alone: what reads webhooks has its own idea of these forms, and is tested by this one.
"""

import hashlib
import re
from typing import Literal

LidForm = Literal["never", "beside", "alone"]

# Brazil's ninth digit and Argentina's 9 after the country code: a WhatsApp account may be named with or without it.
_LONG = (re.compile(r"(55[1-9]\d)9(\d{8})"), re.compile(r"(54)9(\d{10})"))
_SHORT = ((re.compile(r"(55[1-9]\d)(\d{8})"), "9"), (re.compile(r"(54)(\d{10})"), "9"))


def other_form(digits: str) -> str:
    """The other form of a Brazilian or Argentinian number; any other as it is.

    Example:
        >>> other_form("5411" + "55550123").partition("11")[0], other_form("16505550123")
        ('549', '16505550123')
    """
    for long in _LONG:
        if found := long.fullmatch(digits):
            return found[1] + found[2]
    for short, digit in _SHORT:
        if found := short.fullmatch(digits):
            return found[1] + digit + found[2]
    return digits


def lid_of(digits: str) -> str:
    """The `@lid` by which WhatsApp hides this number.

    Example:
        >>> lid_of("16505550123") == lid_of("16505550123") != lid_of("16505550124")
        True
    """
    return f"{100_000_000_000_000 + _number(digits) % 800_000_000_000_000}@lid"


def user_id_of(digits: str) -> str:
    """Graph's business-scoped user id of this number."""
    country = "BR" if digits.startswith("55") else "AR" if digits.startswith("54") else "US"
    return f"{country}.{_number(digits) % 10**16:016d}"


def _number(digits: str) -> int:
    return int.from_bytes(hashlib.sha256(f"sandbox:{digits}".encode()).digest()[:8], "big")
