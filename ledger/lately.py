"""Who of a list had the same content lately, by another broadcast: under another name nobody is protected from a repeat."""

import datetime
from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.states import ACCEPTED_STATES, SendState
from .database import Database
from .records import BroadcastRecord
from .schema import broadcasts, sends

LATELY = datetime.timedelta(days=30)
_KEYS_AT_ONCE = 500
_other = sends.alias("other")


async def of_plan(database: Database, record: BroadcastRecord) -> Counter[str]:
    """Count those whose message is queued, by the broadcast from which they had it; see `LedgerStore.had_lately`."""
    queued = (sends.c.broadcast == record.number, sends.c.state == SendState.QUEUED)
    same = _same(record.content, record.source, record.name)
    return await _count(database, same, sends.c.account_key == _other.c.account_key, *queued)


async def of_accounts(
    database: Database, content: str, name: str, keys: Sequence[str], *, source: str = ""
) -> Counter[str]:
    """Count those of some accounts; see `LedgerStore.accounts_had_lately`."""
    found: Counter[str] = Counter()
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        these = _other.c.account_key.in_(keys[start : start + _KEYS_AT_ONCE])
        found += await _count(database, _same(content, source, name), these)
    return found


def _same(content: str, source: str, name: str) -> sa.Select[tuple[int, str]]:
    """The other broadcasts of this content, or made of the same: a note of another bitrate is the same to who hears it."""
    alike = broadcasts.c.content == content
    if source:
        alike = sa.or_(alike, broadcasts.c.source == source)
    return sa.select(broadcasts.c.number, broadcasts.c.name).where(alike, broadcasts.c.name != name)


async def _count(
    database: Database, same: sa.Select[tuple[int, str]], *of_whom: sa.ColumnElement[bool]
) -> Counter[str]:
    had = (
        _other.c.state.in_([state.value for state in ACCEPTED_STATES]),
        _other.c.settled_at > datetime.datetime.now(datetime.UTC) - LATELY,
        *of_whom,
    )

    async def work(connection: AsyncConnection) -> Counter[str]:
        names = {entry.number: entry.name for entry in await connection.execute(same)}
        if not names:  # the usual case, which costs one look into a table of few rows
            return Counter()
        query = sa.select(_other.c.broadcast, sa.func.count()).where(_other.c.broadcast.in_(names), *had)
        entries = await connection.execute(query.group_by(_other.c.broadcast))
        return Counter({names[number]: count for number, count in entries})

    return await database.read("look for people who had the same content", work)
