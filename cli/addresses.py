"""People who are named on the command line or on standard input."""

from collections.abc import Iterable

from ..models import Recipient
from ..models.errors import InputError


def read_addresses(given: Iterable[str], default_region: str) -> list[str]:
    """Read phone numbers and chat ids, each person once.

    Args:
        given: As they were typed, or lines of standard input; blank ones are passed over.
        default_region: Country of numbers without a country code.

    Returns:
        Canonical addresses, in the order given.

    Raises:
        InputError: One of them is no address, or there is none.
    """
    try:
        who = [Recipient.parse(each, default_region=default_region).to for each in given if each.strip()]
    except ValueError as refused:
        raise InputError(str(refused)) from None
    if not who:
        raise InputError("name at least one phone number or chat id")
    return list(dict.fromkeys(who))
