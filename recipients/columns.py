"""Which column of a recipient list is which, and what is taken of a row."""

from collections.abc import Sequence
from typing import NamedTuple, Self

from ..models.errors import RecipientListError
from .headings import column_of

_ADDRESS_ORDER = ("to", "chat_id", "phone")
NO_ADDRESS = "no address: the cell is empty"


class RawRow(NamedTuple):
    """One row as it stood: its first filled address cell, or what stood there instead and why it is no row."""

    line: int
    address: object
    name: object = None
    reply_to: object = None
    damage: str = ""
    country: object = None


class Columns(NamedTuple):
    """Places of the columns that are used: addresses in the order in which they are preferred."""

    address: tuple[int, ...]
    name: int | None = None
    reply_to: int | None = None
    country: int | None = None

    @classmethod
    def find(cls, names: Sequence[str]) -> Self:
        """Find them among headings; case, accents, spaces, underscores and dashes don't matter."""
        places: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            places.setdefault(column_of(name), []).append(place)
        address = tuple(place for column in _ADDRESS_ORDER for place in places.get(column, ()))

        def first(column: str) -> int | None:
            return next(iter(places.get(column, ())), None)

        return cls(address, first("name"), first("reply_to"), first("country"))

    @property
    def used(self) -> tuple[int, ...]:
        """The places of all of them."""
        return (*self.address, *(place for place in (self.name, self.reply_to, self.country) if place is not None))

    def pick(self, line: int, cells: Sequence[object]) -> RawRow:
        """Take what is used from a row's cells, which may be fewer than the headings."""

        def cell(place: int | None) -> object:
            return cells[place] if place is not None and place < len(cells) else None

        for place in self.address:
            if _filled(address := cell(place)):
                return RawRow(line, address, cell(self.name), cell(self.reply_to), country=cell(self.country))
        return RawRow(line, " ".join(str(value)[:100] for value in cells[:10] if _filled(value)), damage=NO_ADDRESS)


def no_column(filename: str, number: int, more: str = "") -> RecipientListError:
    """Say that a list has no column of addresses. Its headings aren't told: any file may have been named as a list.

    Args:
        filename: Empty for a list in memory.
        number: How many columns there are.
        more: What else may help.
    """
    which = f"the list {cut(filename)}" if filename else "the list"
    columns = "1 column, and it is not" if number == 1 else f"{number:,} columns, and none is"
    return RecipientListError(f"{which} has no usable column: it has {columns} called to, phone or chat_id{more}")


def cut(text: str, limit: int = 60) -> str:
    """Quote a file's name for a message: shortened, without control characters."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:limit].strip())
    return repr(shown + ("…" if len(text) > limit else ""))


def _filled(value: object) -> bool:
    """Whether a cell holds something; data frames write a missing value as NaN, which alone is not itself."""
    return bool(value.strip()) if isinstance(value, str) else value is not None and value == value  # noqa: PLR0124 - NaN alone isn't
