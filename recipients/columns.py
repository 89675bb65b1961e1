"""Which column of a recipient list is which, whatever its author called it."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, Self

from ..models.errors import RecipientListError

_ALIASES = {
    **dict.fromkeys(("to", "recipient"), "to"),
    **dict.fromkeys(("chatid", "jid"), "chat_id"),
    **dict.fromkeys(("phone", "phonenumber", "number", "mobile", "mobilenumber", "mobilephone"), "phone"),
    **dict.fromkeys(("cell", "cellphone", "tel", "telephone", "telephonenumber", "msisdn"), "phone"),
    **dict.fromkeys(("whatsapp", "whatsappnumber"), "phone"),
    **dict.fromkeys(("name", "fullname", "displayname"), "name"),
    **dict.fromkeys(("replyto", "quotedmsgid"), "reply_to"),
}
_ADDRESS_ORDER = ("to", "chat_id", "phone")
NO_ADDRESS = "no address: its cell is empty"


class RawRow(NamedTuple):
    """One row as it stood: its first filled address cell, or what stood there instead and why it is no row."""

    line: int
    address: object
    name: object = None
    reply_to: object = None
    damage: str = ""


class Columns(NamedTuple):
    """Places of the columns that are used: addresses in the order in which they are preferred."""

    address: tuple[int, ...]
    name: int | None = None
    reply_to: int | None = None

    @classmethod
    def find(cls, names: Sequence[str]) -> Self:
        """Find them among headings; case, spaces, underscores and dashes don't matter."""
        places: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            places.setdefault(column_of(name), []).append(place)
        address = tuple(place for column in _ADDRESS_ORDER for place in places.get(column, ()))
        return cls(address, places.get("name", [None])[0], places.get("reply_to", [None])[0])

    def pick(self, line: int, cells: Sequence[object]) -> RawRow:
        """Take what is used from a row's cells, which may be fewer than the headings."""

        def cell(place: int | None) -> object:
            return cells[place] if place is not None and place < len(cells) else None

        for place in self.address:
            if _filled(address := cell(place)):
                return RawRow(line, address, cell(self.name), cell(self.reply_to))
        return RawRow(line, " ".join(str(value)[:100] for value in cells[:10] if _filled(value)), damage=NO_ADDRESS)


@lru_cache(maxsize=1024)
def column_of(name: str) -> str:
    """Give `to`, `chat_id`, `phone`, `name` or `reply_to` for a heading that means it; empty for any other."""
    return _ALIASES.get(re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", name[:100])).casefold(), "")


def no_column(filename: str, names: Sequence[str], more: str = "") -> RecipientListError:
    """Say which columns a list has and which one it needs."""
    found = ", ".join(map(cut, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    which = f"the list {cut(filename)}" if filename else "the list"
    return RecipientListError(
        f"{which} has no usable column: it has {found or 'none'}; call the one of addresses to, phone or chat_id{more}"
    )


def cut(text: str, limit: int = 60) -> str:
    """Quote a text of unknown make for a message: shortened, without control characters."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:limit].strip())
    return repr(shown + ("…" if len(text) > limit else ""))


def _filled(value: object) -> bool:
    """Whether a cell holds something; data frames write a missing value as NaN, which alone is not itself."""
    return bool(value.strip()) if isinstance(value, str) else value is not None and value == value  # noqa: PLR0124
