"""The canary of a broadcast: its first rows, which go alone until what came back of them is judged.

Where it stands is kept here, not in a run: whichever run goes on after a kill is given the canary's rows and no others
before it has passed.
"""

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.states import SendState
from .database import Database
from .records import BroadcastRecord
from .schema import canaries, sends

# The service has the message, or may have it, and nothing tells yet what the phone did.
_SILENT = (SendState.SENDING, SendState.UNKNOWN, SendState.ACCEPTED, SendState.SENT)


@dataclass(frozen=True, slots=True)
class CanaryTally:
    """What came back of a canary.

    Attributes:
        queued: Its rows that are not sent yet.
        sent: Those that were, whatever became of them.
        failed: Of the sent, those that failed, at once or late.
        silent: Of the sent, those of which nothing has come back.
        last_sent_at: When the last one was sent; None where none was.
        reasons: Why they failed: code and text, the most frequent first, with how often.
        beyond: Whether rows wait that are not the canary's.
    """

    queued: int
    sent: int
    failed: int
    silent: int
    last_sent_at: datetime.datetime | None
    reasons: Sequence[tuple[str, str, int]]
    beyond: bool


def may_pass_canary(broadcast: int) -> sa.ColumnElement[bool]:
    """The condition on a row of `sends`: no canary holds this broadcast, or the row is the canary's or before it."""
    last_row = sa.case((canaries.c.passed_at.is_(None), canaries.c.last_row), else_=sa.null())
    bound = sa.select(last_row).where(canaries.c.broadcast == broadcast).scalar_subquery()
    return sends.c.id <= sa.func.coalesce(bound, sa.literal(2**63 - 1, sa.BigInteger))


async def begin(database: Database, record: BroadcastRecord, size: int) -> bool:
    """Let the first so many queued rows be the canary; one that was begun, or has passed, stays as it is.

    Returns:
        Whether a canary holds the broadcast now: False where it has passed, or nothing is queued.
    """
    queued = (
        sa.select(sends.c.id)
        .where(sends.c.broadcast == record.number, sends.c.state == SendState.QUEUED)
        .order_by(sends.c.id)
        .limit(size)
    )
    found = sa.select(canaries.c.passed_at).where(canaries.c.broadcast == record.number)

    async def work(connection: AsyncConnection) -> bool:
        entry = (await connection.execute(found)).one_or_none()
        if entry is not None:
            return entry.passed_at is None
        rows = list((await connection.execute(queued)).scalars())
        if not rows:
            return False
        values = {
            "broadcast": record.number,
            "first_row": rows[0],
            "last_row": rows[-1],
            "begun_at": datetime.datetime.now(datetime.UTC),
        }
        # Of two runs that begin at once the first one's stays.
        insert = database.engine.insert(canaries).values(values).on_conflict_do_nothing(index_elements=["broadcast"])
        await connection.execute(insert)
        return True

    return await database.transact("begin a canary", work)


async def passed(database: Database, record: BroadcastRecord) -> None:
    """Let the rest go, for good."""
    change = (
        sa.update(canaries)
        .where(canaries.c.broadcast == record.number, canaries.c.passed_at.is_(None))
        .values(passed_at=datetime.datetime.now(datetime.UTC))
    )
    await database.transact("pass a canary", lambda connection: connection.execute(change))


async def lift(database: Database, record: BroadcastRecord) -> bool:
    """Drop a canary that hasn't passed: somebody wants the rest sent without it.

    Returns:
        Whether there was one.
    """
    change = sa.delete(canaries).where(canaries.c.broadcast == record.number, canaries.c.passed_at.is_(None))

    async def work(connection: AsyncConnection) -> bool:
        return (await connection.execute(change)).rowcount > 0

    return await database.transact("drop a canary", work)


async def tally(database: Database, record: BroadcastRecord) -> CanaryTally | None:
    """Say what came back of the canary; None where the broadcast has none."""
    bounds = sa.select(canaries.c.first_row, canaries.c.last_row).where(canaries.c.broadcast == record.number)

    async def work(connection: AsyncConnection) -> CanaryTally | None:
        found = (await connection.execute(bounds)).one_or_none()
        if found is None:
            return None
        here = sends.c.broadcast == record.number
        within = sends.c.id.between(found.first_row, found.last_row)
        by_state = sa.select(sends.c.state, sa.func.count(), sa.func.max(sends.c.claimed_at)).where(here, within)
        states, last = Counter[str](), []
        for state, count, claimed_at in await connection.execute(by_state.group_by(sends.c.state)):
            states[state] = count
            last += [claimed_at] if claimed_at is not None and state != SendState.QUEUED else []
        why = (
            sa.select(sends.c.error_code, sends.c.error_text)
            .where(here, within, sends.c.state == SendState.FAILED)
            .order_by(sends.c.id)
        )
        reasons = Counter((code, text) for code, text in await connection.execute(why))
        beyond = sa.select(sends.c.id).where(here, sends.c.state == SendState.QUEUED, sends.c.id > found.last_row)
        queued, skipped = states[SendState.QUEUED], states[SendState.SKIPPED]
        return CanaryTally(
            queued=queued,
            sent=states.total() - queued - skipped,
            failed=states[SendState.FAILED],
            silent=sum(states[state] for state in _SILENT),
            last_sent_at=max(last, default=None),
            reasons=[(code, text, count) for (code, text), count in reasons.most_common()],
            beyond=(await connection.execute(beyond.limit(1))).first() is not None,
        )

    return await database.read("look at a canary", work)
