"""Statuses and the rows they are about: found, moved forward, and kept so that none counts twice.

Each function runs within the caller's transaction. Several receivers may do so at once on one PostgreSQL: all of them lock
rows in the order of their numbers and write receipts in the order of their keys, so that none waits for another in a circle.
"""

import datetime
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.message_ids import MAX_MESSAGE_ID
from ..models.states import SendState
from ..models.updates import StatusUpdate
from .engines.base import Engine
from .identities import LONGEST_ADDRESS, is_forgotten, link_aliases
from .records import storable
from .replies import Reply
from .schema import broadcasts, receipts, sends
from .statuses import Standing, advance, best_alias, callback_parts

T = TypeVar("T")

IN_A_QUERY = 500
# States in which a row may stand for a later message than the one that a status is about.
_PERHAPS_LATER = (SendState.QUEUED, SendState.UNKNOWN)
_STANDING = tuple(each.name for each in fields(Standing))
_HAS_BARE_ID = sa.text("whatsapp_sends.bare_id <> ''")


@dataclass(slots=True)
class Recorded:
    """What one transaction changed.

    Attributes:
        moved: Numbers of the broadcasts whose rows changed.
        matched: Statuses whose row is known.
        parked: Statuses of which no row is known yet.
        replies: Replies that were not known before.
        opted_out: People who opted out.
    """

    moved: set[int] = field(default_factory=set)
    matched: int = 0
    parked: int = 0
    replies: list[Reply] = field(default_factory=list)
    opted_out: int = 0


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that a status may be about."""

    standing: Standing
    broadcast: int
    recipient: str
    broadcast_id: str


async def take_statuses(
    connection: AsyncConnection,
    engine: Engine,
    provider: str,
    updates: Sequence[StatusUpdate],
    received_at: datetime.datetime | None,
    recorded: Recorded,
) -> None:
    """Keep statuses and move their rows.

    Args:
        connection: Of a transaction that writes.
        engine: The ledger's.
        provider: Whose statuses.
        updates: In any order.
        received_at: When they came; None where they are kept already and only their rows were missing.
        recorded: What is changed is added here.
    """
    if not updates:
        return
    rows, by_message = await _rows_of(connection, provider, updates)
    told: defaultdict[int, list[StatusUpdate]] = defaultdict(list)
    kept: list[tuple[StatusUpdate, int | None]] = []
    for update in updates:
        row = by_message.get((update.account, update.message_id)) or _row_of_callback(update, rows)
        if row is None:
            recorded.parked += 1
        else:
            recorded.matched += 1
            told[row].append(update)
        if row is None or not is_forgotten(rows[row].recipient):
            kept.append((update, row))
    learned = await _move(connection, provider, rows, told, recorded)
    if received_at is not None and kept:
        await _keep(connection, engine, provider, kept, received_at)
    elif received_at is None:
        matched = [
            {"a": f"{provider}:{update.account}", "b": update.message_id, "c": update.state.value, "row": row}
            for update, row in kept
            if row is not None
        ]
        if matched:
            await connection.execute(_MARK_MATCHED, matched)
    if learned:  # people are locked last, by everyone
        await link_aliases(connection, learned)


async def _rows_of(
    connection: AsyncConnection, provider: str, updates: Sequence[StatusUpdate]
) -> tuple[dict[int, _Row], dict[tuple[str, str], int]]:
    """The rows that may be meant, locked in the order of their numbers, and which message is whose."""
    numbers = {parts[1] for update in updates if (parts := callback_parts(update.callback))}
    for page in _pages(sorted({update.message_id for update in updates})):
        query = sa.select(sends.c.id).where(sends.c.bare_id.in_(page), _HAS_BARE_ID)
        numbers.update((await connection.execute(query)).scalars())
    rows: dict[int, _Row] = {}
    by_message: dict[tuple[str, str], int] = {}
    for some in _pages(sorted(numbers)):
        for entry in await connection.execute(_ROWS.where(broadcasts.c.provider == provider, sends.c.id.in_(some))):
            given: dict[str, Any] = dict(zip(_STANDING, entry, strict=False))
            given["state"] = SendState(given["state"])
            standing = Standing(**given)
            rows[entry.id] = _Row(standing, entry.broadcast, entry.recipient, entry.broadcast_id)
            if standing.bare_id:
                by_message[entry.account, standing.bare_id] = entry.id
    return rows, by_message


async def _move(
    connection: AsyncConnection,
    provider: str,
    rows: dict[int, _Row],
    told: dict[int, list[StatusUpdate]],
    recorded: Recorded,
) -> list[tuple[str, str]]:
    """Move rows forward; the addresses that were learned, each with its row's recipient."""
    changes, learned = [], []
    for row_id in sorted(told):
        row = rows[row_id]
        before = after = row.standing
        for update in told[row_id]:
            again = after.state in _PERHAPS_LATER and await _failed(connection, provider, update)
            after = advance(after, _without_own(update, row.recipient), failed_before=again)
        if after is not before:
            recorded.moved.add(row.broadcast)
            if is_forgotten(row.recipient):  # its state goes on being counted; an id of a message holds the number
                after = replace(after, message_id="", bare_id="", alias="", error_text="")
            changes.append({"row": row_id, **{f"new_{name}": getattr(after, name) for name in _MOVED}})
            if after.alias != before.alias:
                learned.append((after.alias, row.recipient))
    if changes:
        await connection.execute(_MOVE, changes)
    return learned


async def _keep(
    connection: AsyncConnection,
    engine: Engine,
    provider: str,
    kept: Sequence[tuple[StatusUpdate, int | None]],
    received_at: datetime.datetime,
) -> None:
    values = [
        {
            "account": storable(f"{provider}:{update.account}", LONGEST_ADDRESS),
            "bare_id": storable(update.message_id, MAX_MESSAGE_ID),
            "state": update.state.value,
            "send": row,
            "at": update.at,
            "received_at": received_at,
            "code": storable(update.code, 40),
            "text": storable(update.text, 1000),
            "alias": best_alias(update.aliases),
        }
        for update, row in kept
    ]
    values.sort(key=lambda value: (value["account"], value["bare_id"], value["state"]))
    await connection.execute(engine.insert(receipts).on_conflict_do_nothing(), values)


async def _failed(connection: AsyncConnection, provider: str, update: StatusUpdate) -> bool:
    """Whether this message was told to have failed before its row was queued again."""
    query = sa.select(receipts.c.state).where(
        receipts.c.account == storable(f"{provider}:{update.account}", LONGEST_ADDRESS),
        receipts.c.bare_id == update.message_id,
        receipts.c.state == SendState.FAILED,
    )
    return (await connection.execute(query)).first() is not None


def _row_of_callback(update: StatusUpdate, rows: dict[int, _Row]) -> int | None:
    parts = callback_parts(update.callback)
    if parts is None or parts[1] not in rows or rows[parts[1]].broadcast_id != parts[0]:
        return None
    return parts[1]


def _without_own(update: StatusUpdate, recipient: str) -> StatusUpdate:
    """The status with only those addresses that the row doesn't have as its recipient."""
    others = tuple(alias for alias in update.aliases if alias != recipient)
    if len(others) == len(update.aliases):
        return update
    return replace(update, aliases=others)


def _pages(values: list[T]) -> Iterable[list[T]]:
    return (values[start : start + IN_A_QUERY] for start in range(0, len(values), IN_A_QUERY))


_ROWS = (
    sa.select(
        *(sends.c[name] for name in _STANDING),
        sends.c.id,
        sends.c.broadcast,
        sends.c.recipient,
        broadcasts.c.id.label("broadcast_id"),
        broadcasts.c.account.label("account"),
    )
    .join(broadcasts, broadcasts.c.number == sends.c.broadcast)
    .order_by(sends.c.id)
    .with_for_update(of=sends)
)
_MOVED = tuple(name for name in _STANDING if name != "attempts")
_MOVE = (
    sa.update(sends)
    .where(sends.c.id == sa.bindparam("row"))
    .values({name: sa.bindparam(f"new_{name}") for name in _MOVED})
)
_MARK_MATCHED = (
    sa.update(receipts)
    .where(
        receipts.c.account == sa.bindparam("a"),
        receipts.c.bare_id == sa.bindparam("b"),
        receipts.c.state == sa.bindparam("c"),
    )
    .values(send=sa.bindparam("row"))
)
