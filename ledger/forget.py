"""Forgetting a person: what the ledger has of them is erased; that a message was sent stays, and that they want none.

Their rows stay, without whatever tells whose they are, so that the counts of a broadcast remain true, and so that a
broadcast that is run again with the same list finds by the keyed hash that it has them: they get nothing twice. A row that
was still to be sent is skipped. An opt-out stays, as the keyed hash of each of their addresses.
"""

import base64
import binascii
import dataclasses
import datetime
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import ErrorKind, LedgerError
from ..models.recipient import account_key
from ..models.states import SendState
from . import history
from .database import Database
from .identities import all_forms, ensure_person, forgotten_as, is_forgotten, is_person, lock_people
from .schema import addresses, broadcasts, conversations, people, receipts, removed, replies, sends, unread

FORGOTTEN_TEXT = "The recipient's data was erased; nothing is sent to them under this name."
# No request lasts as long: a row that is still `sending` after that has lost its run.
_IN_FLIGHT = datetime.timedelta(minutes=10)
_PAGE = 500
# Of a number as somebody may have written it, so many last digits are enough to take a line for theirs.
_FEWEST_DIGITS = 7


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was erased of one person.

    Attributes:
        rows: Their rows in broadcasts.
        not_sent: Of these, rows that were still to be sent, and now never are.
        addresses: By how many addresses they were known.
        receipts: What services told of their messages.
        replies: What they wrote, of which the ledger keeps the kind and the time.
        removed_lines: Lines of lists that were not planned and held their number.
        webhooks: Kept webhooks that nobody could read and that named them.
        opted_out: Whether their opt-out stays, as a keyed hash.
        broadcasts: Names of the broadcasts that had them, for the exports that somebody may have of these.
    """

    rows: int = 0
    not_sent: int = 0
    addresses: int = 0
    receipts: int = 0
    replies: int = 0
    removed_lines: int = 0
    webhooks: int = 0
    opted_out: bool = False
    broadcasts: tuple[str, ...] = ()


async def forget(database: Database, address: str, actor: history.Actor, *, dry_run: bool) -> Forgotten:
    """Erase a person; see `LedgerStore.forget`."""

    async def work(connection: AsyncConnection) -> Forgotten:
        found = await _forget(connection, address)
        await connection.execute(history.insertion(history.Action.FORGOT, actor, detail=_detail(found)))
        return found

    return await (database.rehearse if dry_run else database.transact)("erase a person", work)


def _detail(found: Forgotten) -> str:
    """What the history says: nothing by which the person could be told."""
    kept = "; the opt-out stays" if found.opted_out else ""
    return f"{found.rows:,} rows, {found.not_sent:,} of them unsent, {found.replies:,} replies{kept}"


async def _forget(connection: AsyncConnection, address: str) -> Forgotten:
    now = datetime.datetime.now(datetime.UTC)
    await lock_people(connection)
    known = await _every_address(connection, address)
    rows = await _rows(connection, known)
    in_flight = [row for row in rows if _is_in_flight(row, now)]
    if in_flight:
        raise LedgerError(
            "a message to them is being sent at this moment, so nothing was erased: try again in ten minutes"
        )
    erased = {
        "receipts": await _erase_receipts(connection, rows, known),
        "removed_lines": await _erase_removed(connection, known),
        "webhooks": await _erase_unread(connection, known),
    }
    await _erase_rows(connection, rows, now)
    # Of a group's row, only that they are in the group.
    await connection.execute(sa.update(sends).where(sends.c.alias.in_(known), sa.text("alias <> ''")).values(alias=""))
    opted_out, written = await _erase_person(connection, known)
    numbers = sorted({row.broadcast for row in rows})
    names = sa.select(broadcasts.c.name).where(broadcasts.c.number.in_(numbers)).order_by(broadcasts.c.number)
    return Forgotten(
        rows=len(rows),
        not_sent=sum(row.state == SendState.QUEUED for row in rows),
        addresses=len(known),
        replies=written,
        opted_out=opted_out,
        broadcasts=tuple((await connection.execute(names)).scalars()),
        **erased,
    )


def _is_in_flight(row: sa.Row[Any], now: datetime.datetime) -> bool:
    return row.state == SendState.SENDING and row.claimed_at is not None and row.claimed_at > now - _IN_FLIGHT


async def _every_address(connection: AsyncConnection, address: str) -> list[str]:
    """Every address by which the ledger knows the person: what tells one may tell the next."""
    known = all_forms([address])
    while True:
        keys = {account_key(each) for each in known}
        theirs = sa.select(addresses.c.person).where(addresses.c.account_key.in_(keys))
        listed = sa.select(addresses.c.address).where(addresses.c.person.in_(theirs))
        named = [each for each in (await connection.execute(listed)).scalars() if not is_forgotten(each)]
        by_alias = sends.c.alias.in_(known) & sa.text("alias <> ''")
        told = sa.select(sends.c.recipient, sends.c.alias).where(
            sa.or_(sends.c.account_key.in_(keys), by_alias), sends.c.forgotten_at.is_(None)
        )
        for recipient, alias in await connection.execute(told):
            if is_person(recipient):
                named += filter(None, (recipient, alias))
        more = all_forms([*known, *named])
        if len(more) == len(known):
            return known
        known = more


async def _rows(connection: AsyncConnection, known: Sequence[str]) -> list[sa.Row[Any]]:
    columns = (sends.c.id, sends.c.broadcast, sends.c.state, sends.c.claimed_at, sends.c.bare_id)
    query = (
        sa.select(*columns)
        .where(sends.c.account_key.in_({account_key(each) for each in known}), sends.c.forgotten_at.is_(None))
        .order_by(sends.c.id)
        .with_for_update()
    )
    return list(await connection.execute(query))


async def _erase_rows(connection: AsyncConnection, rows: Sequence[sa.Row[Any]], now: datetime.datetime) -> None:
    texts = ("name", "reply_to", "message_id", "bare_id", "alias", "status_text", "error_text", "task_run_id", "resend")
    for row in rows:
        values: dict[str, Any] = {
            "recipient": forgotten_as(row.id),
            "forgotten_at": now,
            "line": 0,
            "owner": None,
            "claim": "",  # a late outcome would bring the message's id, which may hold the number
            **dict.fromkeys(texts, ""),
        }
        if row.state == SendState.QUEUED:
            values |= {"state": SendState.SKIPPED, "error_kind": ErrorKind.FORGOTTEN.value, "settled_at": now}
            values["error_text"] = FORGOTTEN_TEXT
        elif row.state == SendState.SENDING:
            values |= {"state": SendState.UNKNOWN, "error_kind": ErrorKind.RUN_GONE.value, "settled_at": now}
        await connection.execute(sa.update(sends).where(sends.c.id == row.id).values(values))


async def _erase_receipts(connection: AsyncConnection, rows: Sequence[sa.Row[Any]], known: Sequence[str]) -> int:
    erased = 0
    for start in range(0, len(rows), _PAGE):
        page = rows[start : start + _PAGE]
        ids = [row.bare_id for row in page if row.bare_id]
        theirs = sa.or_(receipts.c.send.in_([row.id for row in page]), receipts.c.bare_id.in_(ids))
        erased += (await connection.execute(sa.delete(receipts).where(theirs))).rowcount
    by_alias = sa.delete(receipts).where(receipts.c.alias.in_(known))
    erased += (await connection.execute(by_alias)).rowcount
    # Those of which no row is known yet say by their id whose they are: Graph's holds the number.
    mentions = _mentions(known)
    key = (receipts.c.account, receipts.c.bare_id, receipts.c.state)
    for entry in (await connection.execute(sa.select(*key).where(sa.text("send IS NULL")))).all():
        if mentions(_plain_id(entry.bare_id)):
            this = [column == value for column, value in zip(key, entry, strict=True)]
            erased += (await connection.execute(sa.delete(receipts).where(*this))).rowcount
    return erased


async def _erase_removed(connection: AsyncConnection, known: Sequence[str]) -> int:
    erased, last = 0, (0, 0)
    digits = [re.sub(r"\D", "", each) for each in known]
    order = (removed.c.broadcast, removed.c.line)
    while True:
        after = sa.tuple_(*order) > sa.tuple_(*map(sa.literal, last))
        query = sa.select(removed).where(after).order_by(*order).limit(_PAGE)
        page = (await connection.execute(query)).all()
        for entry in page:
            written = re.sub(r"\D", "", entry.value).lstrip("0")
            told = len(written) >= _FEWEST_DIGITS and any(each.endswith(written) for each in digits)
            if told or any(each in entry.value for each in known):
                here = (removed.c.broadcast == entry.broadcast, removed.c.line == entry.line)
                await connection.execute(sa.update(removed).where(*here).values(value=""))
                erased += 1
        if len(page) < _PAGE:
            return erased
        last = page[-1].broadcast, page[-1].line


async def _erase_unread(connection: AsyncConnection, known: Sequence[str]) -> int:
    mentions, erased, last = _mentions(known), 0, 0
    while True:
        query = sa.select(unread.c.id, unread.c.content).where(unread.c.id > last).order_by(unread.c.id).limit(_PAGE)
        page = (await connection.execute(query)).all()
        if theirs := [entry.id for entry in page if mentions(entry.content)]:
            erased += (await connection.execute(sa.delete(unread).where(unread.c.id.in_(theirs)))).rowcount
        if len(page) < _PAGE:
            return erased
        last = page[-1].id


async def _erase_person(connection: AsyncConnection, known: Sequence[str]) -> tuple[bool, int]:
    """Whether an opt-out stays, and how many replies were erased."""
    keys = {account_key(each) for each in known}
    query = sa.select(addresses.c.person).where(addresses.c.account_key.in_(keys)).limit(1)
    if (await connection.execute(query)).first() is None:
        return False, 0
    person = await ensure_person(connection, known)
    written = (await connection.execute(sa.delete(replies).where(replies.c.person == person))).rowcount
    opted_out = bool(
        (await connection.execute(sa.select(people.c.opted_out).where(people.c.id == person))).scalar_one()
    )
    for table in (conversations, addresses):
        await connection.execute(sa.delete(table).where(table.c.person == person))
    if not opted_out:
        await connection.execute(sa.delete(people).where(people.c.id == person))
        return False, written
    for place, key in enumerate(sorted(keys)):
        kept = {"address": forgotten_as(f"{person}.{place}"), "account_key": key, "person": person}
        await connection.execute(sa.insert(addresses).values(kept))
    return True, written


def _mentions(known: Iterable[str]) -> Any:
    words = [each.removeprefix("+") for each in known]
    pattern = re.compile("|".join(rf"(?<!\d){re.escape(each)}(?!\d)" for each in words))
    return pattern.search


def _plain_id(message_id: str) -> str:
    """A message's id with what Graph's hides in base64."""
    try:
        inside = base64.b64decode(message_id.removeprefix("wamid.") + "==").decode("latin-1")
    except (binascii.Error, ValueError):
        inside = ""
    return f"{message_id} {inside}"


def together(parts: Sequence[Forgotten]) -> Forgotten:
    """Add up what was erased of several people."""
    counts = {
        field.name: sum(getattr(part, field.name) for part in parts)
        for field in dataclasses.fields(Forgotten)
        if field.name not in ("opted_out", "broadcasts")
    }
    names = dict.fromkeys(name for part in parts for name in part.broadcasts)
    return Forgotten(**counts, opted_out=any(part.opted_out for part in parts), broadcasts=tuple(names))
