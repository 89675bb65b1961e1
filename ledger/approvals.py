"""The approval of a plan: who asked, who said yes, and which rows may be sent before that.

A broadcast whose plan was once to be approved stays so: a plan that has changed needs a new approval, whichever run asks,
with or without `approve`.
"""

import datetime
import hashlib
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from .database import Database
from .records import BroadcastRecord, storable
from .schema import approvals, sends

_ACTOR_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Approval:
    """Where the approval of a broadcast's plan stands.

    Attributes:
        digest: Of the plan that was asked about: what is sent, from which account, up to which row.
        last_row: The last row of that plan.
        requested_at: When a run first asked.
        requested_by: Who ran it: `user@host`.
        approved_at: When it was approved; None while it waits.
        approved_by: By whom, as far as Prefect tells.
    """

    digest: str
    last_row: int
    requested_at: datetime.datetime
    requested_by: str
    approved_at: datetime.datetime | None = None
    approved_by: str = ""


def may_be_sent(broadcast: int) -> sa.ColumnElement[bool]:
    """The condition on a row of `sends`: no approval is asked of this broadcast, or it was given for a plan with the row."""
    last_row = sa.case((approvals.c.approved_at.is_(None), -1), else_=approvals.c.last_row)
    bound = sa.select(last_row).where(approvals.c.broadcast == broadcast).scalar_subquery()
    return sends.c.id <= sa.func.coalesce(bound, sa.literal(2**63 - 1, sa.BigInteger))


async def find(database: Database, record: BroadcastRecord) -> Approval | None:
    """Give the approval that was last asked for; None where none ever was."""
    query = sa.select(approvals).where(approvals.c.broadcast == record.number)

    async def work(connection: AsyncConnection) -> Approval | None:
        entry = (await connection.execute(query)).one_or_none()
        return None if entry is None else Approval(*entry[1:])

    return await database.read("look up an approval", work)


async def read_plan(database: Database, record: BroadcastRecord) -> tuple[str, int]:
    """Give the digest of the plan as the ledger has it now, and its last row."""
    query = sa.select(sa.func.coalesce(sa.func.max(sends.c.id), 0)).where(sends.c.broadcast == record.number)

    async def work(connection: AsyncConnection) -> int:
        return int((await connection.execute(query)).scalar_one())

    # Rows of a plan are added to and never change their recipient, so that the last one stands for all of them.
    last_row = await database.read("read a plan", work)
    plan = "\0".join((record.id, record.kind, record.provider, record.account, record.content, str(last_row)))
    return hashlib.sha256(plan.encode()).hexdigest(), last_row


async def hold(database: Database, record: BroadcastRecord, by: str) -> None:
    """Give no row of a broadcast to anybody until a plan is approved; an approval that was asked for stays as it is."""
    values = {
        "broadcast": record.number,
        "digest": "",
        "last_row": 0,
        "requested_at": datetime.datetime.now(datetime.UTC),
        "requested_by": storable(by, _ACTOR_CHARACTERS),
    }
    insert = database.engine.insert(approvals).values(values).on_conflict_do_nothing(index_elements=["broadcast"])
    await database.transact("hold a plan", lambda connection: connection.execute(insert))


async def request(database: Database, record: BroadcastRecord, digest: str, last_row: int, by: str) -> bool:
    """Ask for the approval of a plan; from here on no run of this broadcast is given a row before it is approved.

    Returns:
        Whether this very plan was not waiting already: a run that is resumed comes by here once more.
    """
    values = {
        "broadcast": record.number,
        "digest": digest,
        "last_row": last_row,
        "requested_at": datetime.datetime.now(datetime.UTC),
        "requested_by": storable(by, _ACTOR_CHARACTERS),
        "approved_at": None,
        "approved_by": "",
    }
    insert = database.engine.insert(approvals).values(values)
    changed = {name: insert.excluded[name] for name in values if name != "broadcast"}
    # The same plan that still waits keeps the moment at which it was first asked about.
    new = sa.or_(approvals.c.digest != digest, approvals.c.approved_at.is_not(None))
    upsert = insert.on_conflict_do_update(index_elements=["broadcast"], set_=changed, where=new)

    async def work(connection: AsyncConnection) -> bool:
        return bool((await connection.execute(upsert)).rowcount)

    return await database.transact("ask for an approval", work)


async def approve(database: Database, record: BroadcastRecord, digest: str, by: str) -> bool:
    """Approve a plan that waits.

    Returns:
        Whether it is approved now; False where another plan has taken its place.
    """
    here = (approvals.c.broadcast == record.number, approvals.c.digest == digest)
    change = (
        sa.update(approvals)
        .where(*here, approvals.c.approved_at.is_(None))
        .values(approved_at=datetime.datetime.now(datetime.UTC), approved_by=storable(by, _ACTOR_CHARACTERS))
    )
    approved = sa.select(sa.func.count()).select_from(approvals).where(*here, approvals.c.approved_at.is_not(None))

    async def work(connection: AsyncConnection) -> bool:
        await connection.execute(change)
        return bool((await connection.execute(approved)).scalar_one())

    return await database.transact("keep an approval", work)
