"""`broadcast:NAME?state=skipped`: the rows of another broadcast, as a list of recipients."""

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qs

from ..models.errors import InputError
from ..models.states import ACCEPTED_STATES, OPEN_STATES, SendState

_SCHEME = "broadcast:"
# Words of the report that stand for several states of the ledger.
_GROUPS = {"accepted": ACCEPTED_STATES, "pending": OPEN_STATES}


class RowReference(NamedTuple):
    """Which rows.

    Attributes:
        broadcast: The other broadcast's name.
        states: Only rows in these; None for all.
    """

    broadcast: str
    states: frozenset[SendState] | None


def read_reference(text: str) -> RowReference | None:
    """Read a reference to another broadcast's rows.

    Args:
        text: What was given as the list.

    Returns:
        The reference; None where the text is none, such as a file's name.

    Raises:
        InputError: It names no broadcast, or a state that there isn't.

    Example:
        >>> read_reference("broadcast:weekly?state=skipped&state=failed").broadcast
        'weekly'
        >>> read_reference("s3://bucket/list.csv")
    """
    if not text.startswith(_SCHEME):
        return None
    name, _, query = text.removeprefix(_SCHEME).partition("?")
    asked = parse_qs(query, keep_blank_values=True)
    if not name.strip() or asked.keys() - {"state"}:
        raise InputError("give the rows of another broadcast as broadcast:NAME?state=skipped")
    return RowReference(name.strip(), states_named(asked.get("state", ())))


def states_named(names: Iterable[str]) -> frozenset[SendState] | None:
    """Give the states of some names; `accepted` and `pending` mean what they mean in a report.

    Returns:
        The states; None for no names.

    Raises:
        InputError: There is no such state.
    """
    states: set[SendState] = set()
    for name in names:
        if name not in {*SendState, *_GROUPS}:
            raise InputError(f"there is no state {name[:40]!r}; choose from {', '.join([*SendState, 'pending'])}")
        states |= _GROUPS.get(name) or {SendState(name)}
    return frozenset(states) or None
