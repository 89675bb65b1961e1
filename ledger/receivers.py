"""Which accounts have a receiver of webhooks that is alive, and for how long without a gap."""

import datetime
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from .database import Database
from .schema import receivers

# A receiver that is restarted, or waits for its ledger, misses nothing: the services post again.
_GAP_SECONDS = 600.0


async def note_alive(database: Database, accounts: Iterable[str], at: datetime.datetime) -> None:
    """Say that a receiver of these accounts is alive.

    Args:
        database: The ledger's.
        accounts: `provider:account`.
        at: The moment.
    """
    values = [{"account": account, "alive_since": at, "seen_at": at} for account in sorted(set(accounts))]
    if not values:
        return
    insert = database.engine.insert(receivers)
    gap = at - datetime.timedelta(seconds=_GAP_SECONDS)
    upsert = insert.on_conflict_do_update(
        index_elements=["account"],
        set_={
            "seen_at": insert.excluded.seen_at,
            "alive_since": sa.case((receivers.c.seen_at < gap, at), else_=receivers.c.alive_since),
        },
    )
    await database.transact("note a receiver", lambda connection: connection.execute(upsert, values))


async def alive_for(database: Database, account: str, at: datetime.datetime) -> datetime.timedelta | None:
    """For how long a receiver of this account has been alive without a gap; None where none is."""
    query = sa.select(receivers.c.alive_since, receivers.c.seen_at).where(receivers.c.account == account)

    async def work(connection: AsyncConnection) -> datetime.timedelta | None:
        found = (await connection.execute(query)).one_or_none()
        if found is None or (at - found.seen_at).total_seconds() > _GAP_SECONDS:
            return None
        return at - found.alive_since  # type: ignore[no-any-return]  # a row is untyped

    return await database.read("look for a receiver", work)
