"""Which way a row moves when a service tells of its message: forward only, whatever the order of what is told.

The states stand in one order (`RECEIPT_STATES`), and a row has the highest that it was told. So the same statuses leave
the same state in any order, doubled or not: `failed` is beaten by delivered, read and played, as with a recipient of
several phones one of which could not take the message.
"""

import datetime
import re
from dataclasses import dataclass, replace
from typing import Any

from ..models.errors import ErrorKind
from ..models.states import ARRIVED_STATES, IN_DOUBT_STATES, RECEIPT_STATES, SendState
from ..models.updates import StatusUpdate
from .records import storable

_CALLBACK = re.compile(r"(?P<broadcast>[0-9a-f]{32}):(?P<row>[0-9]{1,18})(?::(?P<attempt>[0-9]{1,9}))?", re.ASCII)
_RANKS = {state: rank for rank, state in enumerate(RECEIPT_STATES)}


@dataclass(frozen=True, slots=True)
class Standing:
    """What of a row a status can change.

    Attributes:
        resolved_by: What ended `unknown`: `callback`, `message id`, or the name of a look-up.
    """

    state: SendState
    attempts: int = 0
    owner: int | None = None
    message_id: str = ""
    bare_id: str = ""
    alias: str = ""
    resolved_by: str = ""
    error_code: str = ""
    error_text: str = ""
    error_kind: str = ""
    settled_at: datetime.datetime | None = None
    sent_at: datetime.datetime | None = None
    failed_at: datetime.datetime | None = None
    delivered_at: datetime.datetime | None = None
    read_at: datetime.datetime | None = None
    played_at: datetime.datetime | None = None


def callback_parts(callback: str) -> tuple[str, int] | None:
    """The broadcast's id and the row's number of a callback of ours; None where it is none."""
    found = _CALLBACK.fullmatch(callback)
    return (found["broadcast"], int(found["row"])) if found else None


def attempt_of(callback: str) -> int | None:
    """Which attempt of its row a message was; None where the callback does not say so."""
    found = _CALLBACK.fullmatch(callback)
    return int(found["attempt"]) if found and found["attempt"] else None


def best_alias(aliases: tuple[str, ...]) -> str:
    """The address by which a reply may name the same person: an id, rather than another form of the number."""
    best = next((alias for alias in aliases if not alias.startswith("+")), aliases[0] if aliases else "")
    return storable(best, 200)


def advance(row: Standing, update: StatusUpdate, *, failed_before: bool = False) -> Standing:
    """Tell a row of one status.

    Args:
        row: As it stands.
        update: About its message, or, found by the callback, about an earlier message of the same row.
        failed_before: Whether that message is known to have failed.

    Returns:
        The row as it then stands; the same object where nothing changes.
    """
    state = update.state
    if state not in _RANKS or not _concerns(row, update, failed_before):
        return row
    changed: dict[str, Any] = {}
    if not row.bare_id:
        changed |= {"message_id": update.message_id, "bare_id": update.message_id}
    if not row.alias and update.aliases:
        changed["alias"] = best_alias(update.aliases)
    if (name := f"{state.value}_at") in _TIMES and row.bare_id in ("", update.message_id):
        told = getattr(row, name)
        if told is None or update.at < told:
            changed[name] = update.at
    if _RANKS[state] > _RANKS.get(row.state, -1):
        failed = state is SendState.FAILED
        changed |= {
            "state": state,
            "owner": None,
            "error_code": storable(update.code) if failed else "",
            "error_text": storable(update.text) or "The service gave no reason." if failed else "",
            "error_kind": ErrorKind.FAILED_LATER.value if failed else "",
            "settled_at": update.at if row.settled_at is None or row.state in IN_DOUBT_STATES else row.settled_at,
            "resolved_by": _means(update) if row.state is SendState.UNKNOWN else row.resolved_by,
        }
    return replace(row, **changed) if changed else row


_TIMES = frozenset(f"{state.value}_at" for state in RECEIPT_STATES if state is not SendState.ACCEPTED)


def _concerns(row: Standing, update: StatusUpdate, failed_before: bool) -> bool:
    if row.bare_id not in ("", update.message_id) and update.state not in ARRIVED_STATES:
        return False  # the row stands for a later message, of which this says nothing
    attempt = attempt_of(update.callback)
    if not row.bare_id and attempt is not None and attempt < row.attempts and update.state not in ARRIVED_STATES:
        return False  # so it does where the later message's id is not known: its answer was lost, or is still to come
    match row.state:
        case SendState.QUEUED:
            # Queued again after it was held as unknown: the status comes in time to save a second message. Of one that
            # failed it says only what made somebody queue it again.
            alive = update.state in ARRIVED_STATES or (update.state is not SendState.FAILED and not failed_before)
            return row.attempts > 0 and alive
        case SendState.UNKNOWN:
            return update.state in ARRIVED_STATES or not failed_before
        case SendState.SKIPPED:
            return update.state in ARRIVED_STATES
        case _:
            return True


def _means(update: StatusUpdate) -> str:
    return "callback" if callback_parts(update.callback) else "message id"
