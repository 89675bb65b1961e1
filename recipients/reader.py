"""Who is to get the message: a list read in chunks, each row usable or removed with its reason.

A row never raises: it ends in `usable` or in `removed`. A list raises where it can't be used as a whole: an unknown
region, nothing in it, no usable column, not a list. Rows without anything in them are no rows.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import BinaryIO

from ..ledger import RemovedRow
from ..models import Recipient, check_region, read_address
from ..models.errors import AddressError, RecipientListError
from .columns import RawRow, cut
from .countries import NO_COUNTRY, region_of
from .formats import object_rows, read_rows
from .repeats import Repeats
from .tables import is_table, table_rows
from .text import decoded

CHUNK_ROWS = 2_000
_SHOWN = 200
_LONGEST_REPLY_TO = 256  # ids of messages have 30 to 100 characters
_REPEATED = "repeats an earlier row"


@dataclass(frozen=True, slots=True)
class ListChunk:
    """The outcome of at most 2,000 rows, one after the other: `rows = len(usable) + len(removed)`.

    Attributes:
        usable: Recipients in the list's order.
        lines: The line of each of them.
        removed: Rows that get no message, with their reasons.
        completed: Of the usable, how many had no country code, by the country that was put in front.
    """

    usable: list[Recipient] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    removed: list[RemovedRow] = field(default_factory=list)
    completed: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """How many rows this chunk is the outcome of."""
        return len(self.usable) + len(self.removed)


def read_recipients(stream: BinaryIO, *, filename: str = "", default_region: str = "") -> Iterator[ListChunk]:
    r"""Read a list of recipients in CSV, Excel, JSON lines, a JSON array or Parquet, in memory that does not grow with it.

    The format is told by the content, then by the suffix. Text may be UTF-8, UTF-16, UTF-32 or Windows-1252. A column
    `to`, `chat_id` or `phone` (or `recipient`, `mobile`, `teléfono`, `телефон`, …) holds the address, the first filled
    one in that order; `name` and `reply_to` are taken along. A `country` column (`DE` or `+49`) says for its row which
    country a number without a country code is in. CSV and Excel with one column of addresses need no headings.

    Args:
        stream: The list's bytes from the beginning; need not be seekable.
        filename: For messages, and for its suffix.
        default_region: Two-letter region (`US`) for numbers without a country code; empty removes those.

    Returns:
        Chunks in the list's order. Of rows with the same WhatsApp account, in whatever spelling, the first is usable.

    Raises:
        RecipientListError: An unknown region, at once; while read: empty, no usable column, not a list.

    Example:
        >>> import io
        >>> [chunk] = read_recipients(io.BytesIO(b"to;name\n+1 650 555 0123;Ada\n+16505550123;Ada\n"))
        >>> chunk.usable[0].to, chunk.removed[0].reason
        ('+16505550123', 'repeats an earlier row')
    """
    region = _checked_region(default_region)

    def is_address(text: str) -> bool:
        try:
            return bool(read_address(text, region))
        except AddressError:
            return False

    def rows() -> Iterator[RawRow]:  # the stream is touched when the first chunk is asked for, not before
        yield from read_rows(stream, filename=filename, is_address=is_address)

    return _sorted_out(rows(), region, f"the list {cut(filename)}" if filename else "the list")


def recipients_of(items: object, *, default_region: str = "") -> Iterator[ListChunk]:
    """Sort out rows in memory: addresses, recipients, or mappings with the columns of a list file; or a data frame.

    Args:
        items: A list, a generator or any other iterable, read once, as the chunks are; or a table with such columns
            that tells its content by `__arrow_c_stream__` or `__dataframe__` (pandas, polars, Arrow, DuckDB, …).
        default_region: Two-letter region (`US`) for numbers without a country code; empty removes those.

    Returns:
        Chunks as from `read_recipients`.

    Raises:
        RecipientListError: An unknown region or a bare text, at once; while read: empty, no usable column.

    Example:
        >>> [chunk] = recipients_of(["650 555 0123", {"phone": "+16505550124", "name": "Ada"}], default_region="US")
        >>> [recipient.to for recipient in chunk.usable]
        ['+16505550123', '+16505550124']
    """
    region = _checked_region(default_region)
    if is_table(items):
        return _sorted_out(table_rows(items), region, "the table of recipients")
    if not is_rows(items):
        raise RecipientListError("recipients are given as a list or a data frame, not as one text, mapping or value")
    assert isinstance(items, Iterable)
    return _sorted_out(object_rows(items), region, "the list")


def is_rows(value: object) -> bool:
    """Whether a value holds rows of recipients in memory: a table, or an iterable that is no text and no mapping."""
    return is_table(value) or (isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping))


def _checked_region(default_region: str) -> str:
    region = default_region.strip().upper()
    if region:
        try:
            check_region(region)
        except ValueError as refused:
            raise RecipientListError(str(refused)) from None
    return region


def _sorted_out(rows: Iterator[RawRow], region: str, which: str) -> Iterator[ListChunk]:
    chunk, anything = ListChunk(), False
    with Repeats() as repeats:
        for row in rows:
            anything = True
            outcome = _recipient(row, region)
            if isinstance(outcome, str):
                chunk.removed.append(RemovedRow(row.line, _shown(row.address), outcome))
            elif repeats.seen(outcome[0].account_key):
                chunk.removed.append(RemovedRow(row.line, _shown(row.address), _REPEATED))
            else:
                chunk.usable.append(outcome[0])
                chunk.lines.append(row.line)
                if outcome[1]:
                    chunk.completed[outcome[1]] += 1
            if chunk.rows >= CHUNK_ROWS:
                yield chunk
                chunk = ListChunk()
    if chunk.rows:
        yield chunk
    elif not anything:
        raise RecipientListError(f"{which} is empty: it needs at least one recipient")


def _recipient(row: RawRow, region: str) -> tuple[Recipient, str] | str:
    """A recipient and the country that completed its number, or the reason why the row is none."""
    if row.damage:
        return row.damage
    completed = ""
    if isinstance(row.address, Recipient):
        to, name, reply_to = row.address.to, row.address.name, row.address.reply_to
    else:
        own = region_of(_text(row.country)[:20])
        try:
            address = read_address(
                _address_text(row.address), own or region if own is not None else "", certain=bool(own)
            )
        except AddressError as refused:
            return NO_COUNTRY if own is None and refused.reason.startswith("no country code") else refused.reason
        to, completed = address.to, (own or region) if address.completed else ""
        name, reply_to = _text(row.name), _text(row.reply_to)
    reply_to = reply_to.strip()
    if len(reply_to) > _LONGEST_REPLY_TO or not reply_to.isprintable():
        return "its reply_to is not the id of a message"
    # The address is canonical already: validating it again would double the time a list takes.
    return Recipient.model_construct(to=to, name=_clean(name.strip()), reply_to=reply_to), completed


def _address_text(value: object) -> str:
    """An address as text, of the types that Parquet and JSON have for a number.

    Raises:
        AddressError: A value of another type, or a number that is not whole.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return decoded(value)
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        if not math.isfinite(value) or value != int(value):
            raise AddressError("not a whole number")
        if not 0 <= value < 10**20:
            raise AddressError("not a phone number: negative or too long")
        return str(int(value))
    raise AddressError(f"neither text nor a number: {type(value).__name__}")


def _text(value: object) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN is how data frames write nothing
        return ""
    return decoded(value) if isinstance(value, bytes) else str(value)


def _shown(value: object) -> str:
    if isinstance(value, Recipient):
        value = value.to
    return _clean(value if isinstance(value, str) else decoded(value) if isinstance(value, bytes) else repr(value))


def _clean(text: str) -> str:
    """A text that any database and terminal takes: 200 characters, no control characters or lone surrogates."""
    if len(text) <= _SHOWN and text.isprintable():
        return text
    shown = "".join(c if c.isprintable() or c == "\xa0" else "\N{REPLACEMENT CHARACTER}" for c in text[:_SHOWN])
    return shown[:-1] + "…" if len(text) > _SHOWN else shown
