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
_TIME = r"(?:[\s_-]?(?:[01]\d|2[0-3])(?:[-_.]?[0-5]\d){0,2})?"
# What has as many digits and is none: a date, as broadcasts are named by, and the address of a host.
_NO_NUMBER = re.compile(
    rf"(?:19|20)\d\d([-_./])(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01]){_TIME}"
    r"|(?:0[1-9]|[12]\d|3[01])([-./])(?:0[1-9]|1[0-2])\2(?:19|20)\d\d"
    r"|(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}",
    re.ASCII,
)
# A date without dashes might be a number. No country's has 8, 12 or 14 digits that begin with 202 or 203 (Egypt's 20 has 11
# with Cairo's 2, and 12 with its mobiles' 1), so what is left is a local number; a name has a word before its date.
_PLAIN_DATE = re.compile(
    r"20[23]\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[-_]?(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?)?", re.ASCII
)
_WORD_BEFORE = re.compile(r"[^\W\d_][-_.]")
FORGOTTEN = "forgotten"  # what stands in the place of a recipient whose data was erased
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
    if recipient == FORGOTTEN:
        return recipient
    name, _, domain = recipient.partition("@")
    return _tail(name.removeprefix("+")) + (f"@{domain}" if domain.lower() in _DOMAINS else "")


def mask_numbers(text: str) -> str:
    """Replace each run of seven or more digits in a text, of five after a `+`, by its last four.

    Args:
        text: Free text, such as a service's answer or a message id that holds the recipient.

    Returns:
        The text with `…0123` in place of `16505550123`; what stands between the digits of a number (`+1 650 555-0123`,
        `1%20650%20…`, invisible characters) counts as part of it. At least half of the digits are hidden. Dates and
        IPv4 addresses stay; a date without dashes does where it ends a word, as in `daily-20260308`.

    Example:
        >>> mask_numbers("true_16505550123@c.us_3EB0 sent to +1 650 555 0123")
        'true_…0123@c.us_3EB0 sent to …0123'
    """
    return _DIGIT_RUN.sub(_masked_run, text)


def _masked_run(run: re.Match[str]) -> str:
    if _NO_NUMBER.fullmatch(run[0]) or _is_plain_date(run):
        return run[0]
    return _tail(re.sub(r"\D", "", _ENCODED.sub("", run[0])))


def _is_plain_date(run: re.Match[str]) -> bool:
    return (
        _PLAIN_DATE.fullmatch(run[0]) is not None
        and _WORD_BEFORE.fullmatch(run.string, max(run.start() - 2, 0), run.start()) is not None
        and not run.string.startswith("@", run.end())
    )


def _tail(name: str) -> str:
    shown = min(4, len(name) // 2)
    return "…" + (name[-shown:] if shown else "")
