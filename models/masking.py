"""How a number or an id is written wherever it is not the ledger: its last four digits."""

import re

# What people, spreadsheets, URLs, JSON and HTML put between the digits of a number.
_BETWEEN = (
    r"(?:[\s()./\\_'\u00b7\u2019+\-\u00ad\u061c\u200b-\u2015\u202a-\u202f\u2060-\u2069\u2212\ufe58\ufe63\ufeff\uff0b\uff0d\uff0e]"
    r"|%[0-9A-Fa-f]{2}|\\?u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|&(?:nbsp|shy|\#\d{1,5}|\#x[0-9A-Fa-f]{1,5});)"
)
# A + in front says that it is a number, however short: some countries have seven digits with the country's code.
_DIGIT_RUN = re.compile(
    rf"(?:\+|%2[Bb]|\uff0b){_BETWEEN}{{0,2}}\d(?:{_BETWEEN}{{0,4}}\d){{4,}}|\d(?:{_BETWEEN}{{0,4}}\d){{6,}}"
)
_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}|\\?u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|&[#\w]+;")
# What has as many digits and is none: a date, as broadcasts are named by, and the address of a host.
_NO_NUMBER = re.compile(r"(?:19|20)\d\d-[01]\d-[0-3]\d|(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}", re.ASCII)
_DOMAINS = frozenset({"c.us", "s.whatsapp.net", "g.us", "newsletter", "lid", "broadcast"})


def mask(recipient: str) -> str:
    """Shorten a phone number, chat id or user id to what may be shown.

    Args:
        recipient: E.164 (`+16505550123`), a chat id (`16505550123@c.us`, `…@g.us`) or a business-scoped user id.

    Returns:
        `…` and the last four characters before any `@`, fewer where that would be more than half of them; of a chat id
        also its domain, where it is one of WhatsApp's: `…0123`, `…0123@g.us`.

    Example:
        >>> mask("+16505550123")
        '…0123'
        >>> mask("120363000000001234@g.us")
        '…1234@g.us'
    """
    name, _, domain = recipient.partition("@")
    return _tail(name.removeprefix("+")) + (f"@{domain}" if domain.lower() in _DOMAINS else "")


def mask_numbers(text: str) -> str:
    """Replace each run of seven or more digits in a text, of five after a `+`, by its last four.

    Args:
        text: Free text, such as a service's answer or a message id that holds the recipient.

    Returns:
        The text with `…0123` in place of `16505550123`; what stands between the digits of a number (`+1 650 555-0123`,
        `1%20650%20…`, invisible characters) counts as part of it. At least half of the digits are hidden. Dates and
        IPv4 addresses stay.

    Example:
        >>> mask_numbers("true_16505550123@c.us_3EB0 sent to +1 650 555 0123")
        'true_…0123@c.us_3EB0 sent to …0123'
    """
    return _DIGIT_RUN.sub(_masked_run, text)


def _masked_run(run: re.Match[str]) -> str:
    return run[0] if _NO_NUMBER.fullmatch(run[0]) else _tail(re.sub(r"\D", "", _ENCODED.sub("", run[0])))


def _tail(name: str) -> str:
    shown = min(4, len(name) // 2)
    return "…" + (name[-shown:] if shown else "")
