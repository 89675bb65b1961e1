"""What a cell says of the country of a number."""

import re
from functools import lru_cache

import phonenumbers

_SAME = {"UK": "GB", "EL": "GR"}
NO_COUNTRY = "its country is neither a two-letter code such as DE nor a calling code such as +49"


@lru_cache(maxsize=512)
def region_of(cell: str) -> str | None:
    """Give the two-letter region of a cell: empty for an empty cell, None for one that says no country.

    Example:
        >>> region_of("de"), region_of("+55"), region_of(""), region_of("Narnia")
        ('DE', 'BR', '', None)
    """
    text = cell.strip().upper()
    if not text:
        return ""
    text = _SAME.get(text, text)
    if text in phonenumbers.SUPPORTED_REGIONS:
        return text
    if code := re.fullmatch(r"(?:\+|00)?(\d{1,3})(?:\.0)?", text, re.ASCII):
        region = phonenumbers.region_code_for_country_code(int(code[1]))
        return region if region in phonenumbers.SUPPORTED_REGIONS else None
    return None
