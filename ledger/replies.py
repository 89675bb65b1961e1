"""What people write to an account: a reply to a message, a word that they want no more, a choice made in WhatsApp itself.

Each function runs within the caller's transaction.
"""

import datetime
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.updates import Inbound, Preference
from .identities import (
    LONGEST_ADDRESS,
    ensure_person,
    is_person,
    lock_people,
    record_inbound_time,
    record_wish,
)
from .records import storable
from .schema import broadcasts, replies, sends


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that was not known before.

    Attributes:
        provider: The service.
        account: The account it came to.
        message_id: Its bare id.
        kind: `text`, `button`, `reaction`, ….
        at: The service's time.
        broadcast: Name of the broadcast it answers; empty where it answers none of ours.
        row: The row it answers; 0 for none.
        opted_out: Whether it was a STOP.
        opted_in: Whether it was a START.
    """

    provider: str
    account: str
    message_id: str
    kind: str
    at: datetime.datetime
    broadcast: str = ""
    row: int = 0
    opted_out: bool = False
    opted_in: bool = False


async def note_inbound(
    connection: AsyncConnection, provider: str, item: Inbound, received_at: datetime.datetime
) -> Reply | None:
    """Keep an inbound message: who wrote, when, and what they want; None for one that is known already."""
    account = storable(f"{provider}:{item.account}", LONGEST_ADDRESS)
    await lock_people(connection)
    known = sa.select(replies.c.bare_id).where(replies.c.account == account, replies.c.bare_id == item.message_id)
    if (await connection.execute(known)).first() is not None:
        return None
    answered = await _answered(connection, provider, item)
    of_row = (answered.recipient,) if answered and is_person(answered.recipient) else ()
    person = await ensure_person(connection, (*item.addresses, *of_row))
    if item.opens_window:
        await record_inbound_time(connection, person, account, item.at)
    changed = False
    if item.opted_out is not None:
        changed = bool(await record_wish(connection, person, item.opted_out, item.at, storable(item.word, 40)))
    await connection.execute(
        sa.insert(replies).values(
            account=account,
            bare_id=item.message_id,
            person=person,
            kind=item.kind,
            word=storable(item.word, 40),
            send=answered.id if answered else None,
            at=item.at,
            received_at=received_at,
        )
    )
    return Reply(
        provider,
        item.account,
        item.message_id,
        item.kind,
        item.at,
        broadcast=answered.name if answered else "",
        row=answered.id if answered else 0,
        opted_out=changed and item.opted_out is True,
        opted_in=changed and item.opted_out is False,
    )


async def _answered(connection: AsyncConnection, provider: str, item: Inbound) -> sa.Row[tuple[int, str, str]] | None:
    if not item.answers:
        return None
    query = (
        sa.select(sends.c.id, sends.c.recipient, broadcasts.c.name)
        .join(broadcasts, broadcasts.c.number == sends.c.broadcast)
        .where(
            sends.c.bare_id == item.answers,
            sa.text("whatsapp_sends.bare_id <> ''"),
            broadcasts.c.provider == provider,
            broadcasts.c.account == item.account,
        )
        .limit(1)
    )
    return (await connection.execute(query)).one_or_none()


async def note_preference(connection: AsyncConnection, item: Preference) -> int:
    """Keep a choice that was made in WhatsApp itself; whether somebody opted out by it."""
    await lock_people(connection)
    person = await ensure_person(connection, item.addresses)
    # What blocked us will write before it wants more; a preference is taken back where it was set.
    native = item.source == "user_preferences"
    changed = await record_wish(connection, person, item.opted_out, item.at, storable(item.source, 40), native=native)
    return int(bool(changed) and item.opted_out)
