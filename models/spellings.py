"""The forms in which WhatsApp writes one person's number.

In Brazil, Argentina and Mexico the account's own id may lack, or have, a digit that the number has: whoever was sent to
as `+55 11 9…` answers as `5511…`. What compares people compares all forms.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/reference/messages
"""

import re

_PERSON = re.compile(r"\+?(?P<digits>\d{6,15})(?::\d+)?(?:@(?:c\.us|s\.whatsapp\.net))?", re.ASCII)
_LID = re.compile(r"(?P<digits>\d{3,20})(?::\d+)?@lid", re.ASCII)
_FORMS = (
    # Brazil: mobile numbers got a 9 in front; accounts from before it have none.
    (re.compile(r"55([1-9]\d)9(\d{8})"), re.compile(r"55([1-9]\d)(\d{8})"), "55{}9{}", "55{}{}"),
    # Argentina: a 9 after the country code marks mobile numbers; Mexico: a 1, until 2019.
    (re.compile(r"549(\d{10})"), re.compile(r"54(\d{10})"), "549{}", "54{}"),
    (re.compile(r"521(\d{10})"), re.compile(r"52(\d{10})"), "521{}", "52{}"),
)


def spellings(address: str) -> tuple[str, ...]:
    """Give every form in which WhatsApp may write this address, its own first.

    Args:
        address: Canonical, as in the ledger: E.164 with `+`, a chat id or a user id.

    Example:
        >>> spellings("+5511955550123")[1].replace("+5511", "")
        '55550123'
        >>> spellings("+16505550123")
        ('+16505550123',)
    """
    digits = address.removeprefix("+")
    if digits == address or not digits.isascii():
        return (address,)
    for long, short, as_long, as_short in _FORMS:
        if found := long.fullmatch(digits):
            return address, "+" + as_short.format(*found.groups())
        if found := short.fullmatch(digits):
            return address, "+" + as_long.format(*found.groups())
    return (address,)


def address_in_webhook(value: object) -> str:
    """Read who a webhook names; empty where it names nobody that a ledger could hold.

    Not `canonical_address`: what WhatsApp says is its own id, which a numbering plan need not know.

    Args:
        value: `16505550123`, `16505550123@c.us`, `16505550123:7@s.whatsapp.net`, `900@lid`, `US.1349…`, `…@g.us`.

    Example:
        >>> address_in_webhook("16505550123:7@s.whatsapp.net")
        '+16505550123'
    """
    if not isinstance(value, str) or not 0 < len(value) <= 160:
        return ""
    if person := _PERSON.fullmatch(value):
        return "+" + person["digits"]
    if lid := _LID.fullmatch(value):
        return f"{lid['digits']}@lid"
    return value if value.isascii() and value.isprintable() and " " not in value else ""
