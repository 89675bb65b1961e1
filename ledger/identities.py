"""Which addresses are one person's, and what that person wants; each function runs within the caller's transaction.

One person has many addresses: the phone as the list has it, WhatsApp's own form of it, a business-scoped user id, an
`@lid`. Each address belongs to one person; whatever tells that two addresses are one person's joins the two.
"""

import datetime
from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.recipient import account_key
from ..models.spellings import spellings
from ..models.updates import SamePerson
from .records import storable
from .schema import addresses, conversations, people, replies, sends
from .vault import vault_of

LONGEST_ADDRESS = 200
_FORGOTTEN = "forgotten:"  # and a number: what stands in the place of an address
_PAGE = 1000
# One writer of people at a time on PostgreSQL: two that learn of one person at once would make two of them.
_PEOPLE_LOCK = sa.text("SELECT pg_advisory_xact_lock(7203, 1)")
_TIMES = ("said_stop_at", "said_start_at", "native_stop_at", "native_start_at")


async def note_same_person(connection: AsyncConnection, item: SamePerson) -> None:
    """Join what is known of these addresses; of people nobody knows, nothing is kept."""
    if len(item.addresses) > 1:
        await lock_people(connection)
        if await _known(connection, all_forms(item.addresses)):
            await ensure_person(connection, item.addresses)


async def link_aliases(connection: AsyncConnection, pairs: Sequence[tuple[str, str]]) -> None:
    """Join an address that a status told with its row's recipient, where one of them is of a person who is known."""
    pairs = [(alias, recipient) for alias, recipient in pairs if is_person(recipient)]
    if not pairs:
        return
    known = await _known(connection, [address for pair in pairs for address in pair])
    for alias, recipient in pairs:
        if alias in known or recipient in known:
            await lock_people(connection)
            await ensure_person(connection, (alias, recipient))


async def ensure_person(connection: AsyncConnection, told: Iterable[str]) -> int:
    """Give the one person of these addresses, joined of several or made anew; their addresses are kept."""
    await lock_people(connection)
    forms = all_forms(told)
    known = await _known(connection, forms)
    if len(known) < len(forms):
        # A status may have told whose id or lid this is.
        query = sa.select(sends.c.recipient).where(
            sends.c.alias.in_([form for form in forms if form not in known]), sa.text("whatsapp_sends.alias <> ''")
        )
        recipients = set((await connection.execute(query.limit(20))).scalars())
        if more := [form for form in all_forms(filter(is_person, recipients)) if form not in forms]:
            forms += more
            known |= await _known(connection, more)
    found = sorted(set(known.values()))
    if found:
        person = found[0]
        for other in found[1:]:
            await _merge(connection, person, other)
    else:
        person = int(
            (await connection.execute(sa.insert(people).returning(people.c.id).values(source=""))).scalar_one()
        )
    if missing := [form for form in forms if form not in known]:
        values = [{"address": form, "account_key": account_key(form), "person": person} for form in missing]
        await connection.execute(sa.insert(addresses), values)
    return person


async def _merge(connection: AsyncConnection, person: int, other: int) -> None:
    """Make two people one: every address, the latest word of each kind, the latest message to each account."""
    pair = {
        entry.id: entry for entry in await connection.execute(sa.select(people).where(people.c.id.in_((person, other))))
    }
    keep, gone = pair[person], pair[other]
    times = {name: _latest(getattr(keep, name), getattr(gone, name)) for name in _TIMES}
    source = gone.source if gone.opted_out and not keep.opted_out else keep.source or gone.source
    await connection.execute(
        sa.update(people).where(people.c.id == person).values(**times, opted_out=_wants_none(times), source=source)
    )
    wrote = sa.select(conversations).where(conversations.c.person == other)
    for entry in (await connection.execute(wrote)).all():
        await record_inbound_time(connection, person, entry.account, entry.last_inbound_at)
    await connection.execute(sa.delete(conversations).where(conversations.c.person == other))
    for table in (addresses, replies):
        await connection.execute(sa.update(table).where(table.c.person == other).values(person=person))
    await connection.execute(sa.delete(people).where(people.c.id == other))


async def _known(connection: AsyncConnection, told: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(told), _PAGE):
        keys = {address: account_key(address) for address in told[start : start + _PAGE]}
        query = sa.select(addresses.c.account_key, addresses.c.person).where(
            addresses.c.account_key.in_(set(keys.values()))
        )
        people_of = {entry.account_key: entry.person for entry in await connection.execute(query)}
        hashed = vault_of(connection.dialect).hash
        found |= {address: people_of[hash] for address, key in keys.items() if (hash := hashed(key)) in people_of}
    return found


async def lock_people(connection: AsyncConnection) -> None:
    """Be the only one who writes people, until the transaction ends."""
    if connection.dialect.name == "postgresql":
        await connection.execute(_PEOPLE_LOCK)


async def record_inbound_time(connection: AsyncConnection, person: int, account: str, at: datetime.datetime) -> None:
    """Keep when a person last wrote to an account; an earlier message changes nothing."""
    here = (conversations.c.person == person, conversations.c.account == account)
    last = (await connection.execute(sa.select(conversations.c.last_inbound_at).where(*here))).scalar_one_or_none()
    if last is None:
        values = {"person": person, "account": account, "last_inbound_at": at}
        await connection.execute(sa.insert(conversations).values(values))
    elif last < at:
        await connection.execute(sa.update(conversations).where(*here).values(last_inbound_at=at))


async def record_wish(
    connection: AsyncConnection,
    person: int,
    opted_out: bool,
    at: datetime.datetime,
    source: str,
    *,
    native: bool = False,
) -> int:
    """Take a person's word; 1 where it changed what they want."""
    entry = (await connection.execute(sa.select(people).where(people.c.id == person))).one()
    times = {name: getattr(entry, name) for name in _TIMES}
    name = f"{'native' if native else 'said'}_{'stop' if opted_out else 'start'}_at"
    times[name] = _latest(times[name], at)
    wants_none = _wants_none(times)
    changed = wants_none is not bool(entry.opted_out)
    values = {**times, "opted_out": wants_none, "source": source if changed else entry.source}
    await connection.execute(sa.update(people).where(people.c.id == person).values(**values))
    return int(changed)


def is_person(address: str) -> bool:
    """Whether an address is one person's, not a group's or a channel's."""
    return (
        bool(address)
        and not is_forgotten(address)
        and not address.endswith(("@g.us", "@newsletter"))
        and not address.startswith("Y2FwaV9ncm91c")
    )


def forgotten_as(number: int | str) -> str:
    """What stands in the place of an address that was forgotten; each is different, as addresses are."""
    return f"{_FORGOTTEN}{number}"


def is_forgotten(address: str) -> bool:
    """Whether an address was forgotten."""
    return address.startswith(_FORGOTTEN)


def all_forms(told: Iterable[str]) -> list[str]:
    """Give every form of these addresses, each once."""
    forms = (form for address in told for form in spellings(storable(address, LONGEST_ADDRESS)))
    return list(dict.fromkeys(filter(None, forms)))


def _latest(one: datetime.datetime | None, other: datetime.datetime | None) -> datetime.datetime | None:
    return max(one, other) if one and other else one or other


def _wants_none(times: dict[str, datetime.datetime | None]) -> bool:
    """Whether either kind of STOP is newer than its START; at the same second no is no."""
    return any(
        stop is not None and (start is None or stop >= start)
        for stop, start in ((times[f"{by}_stop_at"], times[f"{by}_start_at"]) for by in ("said", "native"))
    )
