"""How a number or an id is written wherever it is not the ledger: its last four digits."""

import re

_DIGIT_RUN = re.compile(r"\+?\d(?:[\s().-]{0,2}\d){6,}")
# What has as many digits and is none: a date, as broadcasts are named by, and the address of a host.
_NO_NUMBER = re.compile(r"(?:19|20)\d\d-[01]\d-[0-3]\d|(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}", re.ASCII)


def mask(recipient: str) -> str:
    """Shorten a phone number, chat id or user id to what may be shown.

    Args:
        recipient: E.164 (`+16505550123`), a chat id (`16505550123@c.us`, `…@g.us`) or a business-scoped user id.

    Returns:
        `…` and the last four characters before any `@`, with the chat id's domain kept: `…0123`, `…0123@g.us`.

    Example:
        >>> mask("+16505550123")
        '…0123'
        >>> mask("120363000000001234@g.us")
        '…1234@g.us'
    """
    name, at, domain = recipient.partition("@")
    shown = name[-4:] if len(name) > 4 else name[-1:]
    return f"…{shown}{at}{domain}"


def mask_numbers(text: str) -> str:
    """Replace each run of seven or more digits in a text by its last four, so that no whole number is left.

    Args:
        text: Free text, such as a service's answer or a message id that holds the recipient.

    Returns:
        The text with `…0123` in place of `16505550123`; separators inside a number (`+1 650 555-0123`) count as part
        of it. Dates and IPv4 addresses stay.

    Example:
        >>> mask_numbers("true_16505550123@c.us_3EB0 sent to +1 650 555 0123")
        'true_…0123@c.us_3EB0 sent to …0123'
    """
    return _DIGIT_RUN.sub(_masked_run, text)


def _masked_run(run: re.Match[str]) -> str:
    return run[0] if _NO_NUMBER.fullmatch(run[0]) else "…" + re.sub(r"\D", "", run[0])[-4:]
