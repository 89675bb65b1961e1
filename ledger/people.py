"""People: by which addresses WhatsApp names them, when they last wrote, and whether they want no more messages.

One person has many addresses: the phone as the list has it, WhatsApp's own form of it, a business-scoped user id, an
`@lid`. Each address belongs to one person; whatever tells that two addresses are one person's joins the two. An opt-out
concerns the person, so it holds for every account and broadcast of the ledger, and the claim of a row looks at it.
"""

import datetime
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import ErrorKind
from ..models.masking import mask
from ..models.spellings import spellings
from ..models.states import SendState
from ..models.updates import Inbound, Preference, SamePerson
from .database import Database
from .records import BroadcastRecord, storable
from .schema import addresses, broadcasts, conversations, people, replies, sends

WINDOW = datetime.timedelta(hours=24)
OPTED_OUT_TEXT = "The recipient asked for no more messages."
CLOSED_WINDOW_TEXT = "The 24-hour window is closed: the recipient did not write within the last 24 hours."
_LONGEST_ADDRESS = 200
_PAGE = 1000
# One writer of people at a time on PostgreSQL: two that learn of one person at once would make two of them.
_PEOPLE_LOCK = sa.text("SELECT pg_advisory_xact_lock(7203, 1)")
_OPTED_OUT_ROW = (
    sa.select(sa.literal_column("1"))
    .select_from(addresses.join(people, people.c.id == addresses.c.person))
    .where(addresses.c.address == sends.c.recipient, people.c.opted_out.is_(True))
    .exists()
)


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


@dataclass(frozen=True, slots=True)
class OptOut:
    """A person who wants no more messages.

    Attributes:
        address: One of their addresses, the phone number where it is known.
        source: What said so: a word, `user_preferences`, `import`, `command`, ….
        since: When.
    """

    address: str
    source: str
    since: datetime.datetime | None

    def __repr__(self) -> str:
        return f"OptOut({mask(self.address)}, {self.source!r})"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Windows:
    """How many queued recipients of a broadcast may be written to freely now.

    Attributes:
        open: They wrote within the last 24 hours.
        closed: They did not.
    """

    open: int
    closed: int


class PeopleBook:
    """The ledger's people. Made by `LedgerStore.people`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def opt_out(self, who: Iterable[str], *, source: str, at: datetime.datetime | None = None) -> int:
        """Take these people's word that they want no more messages.

        Args:
            who: Canonical addresses.
            source: What said so, such as `import`.
            at: When; now by default.

        Returns:
            How many had not opted out before.
        """
        return await self._set(who, True, source, at)

    async def opt_in(self, who: Iterable[str], *, source: str, at: datetime.datetime | None = None) -> int:
        """Take an opt-out back, whatever it came from; arguments as for `opt_out`.

        Returns:
            How many had opted out.
        """
        return await self._set(who, False, source, at)

    async def _set(self, who: Iterable[str], opted_out: bool, source: str, at: datetime.datetime | None) -> int:
        wanted, moment, changed = list(who), at or datetime.datetime.now(datetime.UTC), 0
        for start in range(0, len(wanted), _PAGE):
            page = wanted[start : start + _PAGE]

            async def work(connection: AsyncConnection, page: list[str] = page) -> int:
                count = 0
                for address in page:
                    person = await _person(connection, (address,))
                    count += await _say(connection, person, opted_out, moment, source)
                    if not opted_out:
                        count += await _say(connection, person, opted_out, moment, source, native=True)
                return count

            changed += await self._database.transact("record opt-outs", work)
        return changed

    async def opt_outs(self) -> AsyncIterator[OptOut]:
        """Go through the people who opted out, a page in memory at a time."""
        query = (
            sa.select(addresses.c.person, addresses.c.address, people)
            .join(people, people.c.id == addresses.c.person)
            .where(people.c.opted_out.is_(True))
            .order_by(addresses.c.person, addresses.c.address)  # a + sorts before digits and letters
        )
        last: tuple[int, str] = (0, "")
        told = 0
        while True:
            after = sa.tuple_(addresses.c.person, addresses.c.address) > sa.tuple_(*map(sa.literal, last))

            async def work(
                connection: AsyncConnection, after: sa.ColumnElement[bool] = after
            ) -> Sequence[sa.Row[tuple[object, ...]]]:
                return (await connection.execute(query.where(after).limit(_PAGE))).all()

            page = await self._database.read("read opt-outs", work)
            for entry in page:
                if entry.person != told:
                    told = entry.person
                    times = [moment for moment in (entry.said_stop_at, entry.native_stop_at) if moment]
                    yield OptOut(entry.address, entry.source, max(times, default=None))
            if len(page) < _PAGE:
                return
            last = page[-1].person, page[-1].address

    async def opted_out(self, who: Sequence[str]) -> set[str]:
        """Which of these canonical addresses are people's who opted out."""
        found: set[str] = set()
        for start in range(0, len(who), _PAGE):
            query = (
                sa.select(addresses.c.address)
                .join(people, people.c.id == addresses.c.person)
                .where(addresses.c.address.in_(who[start : start + _PAGE]), people.c.opted_out.is_(True))
            )

            async def work(connection: AsyncConnection, query: sa.Select[tuple[str]] = query) -> set[str]:
                return set((await connection.execute(query)).scalars())

            found |= await self._database.read("read opt-outs", work)
        return found

    async def skip_opted_out(self, record: BroadcastRecord) -> int:
        """Skip the queued rows of people who opted out, without a request.

        Returns:
            How many.
        """
        return await self._skip(record, _OPTED_OUT_ROW, ErrorKind.OPTED_OUT, OPTED_OUT_TEXT)

    async def opted_out_rows(self, record: BroadcastRecord) -> int:
        """Count a broadcast's rows that were skipped because their recipients opted out."""
        query = sa.select(sa.func.count()).where(
            sends.c.broadcast == record.number,
            sends.c.state == SendState.SKIPPED,
            sends.c.error_kind == ErrorKind.OPTED_OUT.value,
        )

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(query)).scalar_one())

        return await self._database.read("count opt-outs", work)

    async def skip_closed_windows(self, record: BroadcastRecord, *, now: datetime.datetime | None = None) -> int:
        """Skip the queued rows of people who did not write to this account within 24 hours.

        Returns:
            How many.
        """
        closed = sa.not_(_open_window(record, now))
        return await self._skip(record, closed, ErrorKind.WINDOW, CLOSED_WINDOW_TEXT)

    async def windows(self, record: BroadcastRecord, *, now: datetime.datetime | None = None) -> Windows:
        """Count the open and the closed 24-hour windows of a broadcast's queued rows."""
        is_open = _open_window(record, now)
        opened = sa.func.coalesce(sa.func.sum(sa.case((is_open, 1), else_=0)), 0)
        query = sa.select(opened, sa.func.count()).where(
            sends.c.broadcast == record.number, sends.c.state == SendState.QUEUED
        )

        async def work(connection: AsyncConnection) -> Windows:
            count_open, total = (await connection.execute(query)).one()
            return Windows(count_open, total - count_open)

        return await self._database.read("count open windows", work)

    async def learn_refusals(self, record: BroadcastRecord, code: str) -> int:
        """Take a refusal of this code for an opt-out: the recipient has blocked the account.

        Returns:
            How many had not opted out before.
        """
        query = sa.select(sends.c.recipient).where(
            sends.c.broadcast == record.number,
            sends.c.state.in_([SendState.FAILED, SendState.SKIPPED]),
            sends.c.error_code == code,
        )

        async def work(connection: AsyncConnection) -> list[str]:
            return list((await connection.execute(query)).scalars())

        blocked = await self._database.read("look for people who blocked the account", work)
        known = await self.opted_out(blocked) if blocked else set()
        return await self.opt_out([each for each in blocked if each not in known], source=code)

    async def _skip(self, record: BroadcastRecord, where: sa.ColumnElement[bool], kind: ErrorKind, text: str) -> int:
        change = (
            sa.update(sends)
            .where(
                sends.c.broadcast == record.number, sends.c.state == SendState.QUEUED, sends.c.owner.is_(None), where
            )
            .values(state=SendState.SKIPPED, settled_at=sa.bindparam("at"), error_kind=kind.value, error_text=text)
        )

        async def work(connection: AsyncConnection) -> int:
            return (await connection.execute(change, {"at": datetime.datetime.now(datetime.UTC)})).rowcount

        return await self._database.transact("skip rows", work)


def skip_if_opted_out(row_id: int, lease_id: int, at: datetime.datetime) -> sa.Update:
    """Settle a row that its lease could not claim as skipped, where that is because its recipient opted out."""
    return (
        sa.update(sends)
        .where(sends.c.id == row_id, sends.c.owner == lease_id, sends.c.state == SendState.QUEUED, _OPTED_OUT_ROW)
        .values(
            state=SendState.SKIPPED,
            owner=None,
            settled_at=at,
            error_code="",
            error_kind=ErrorKind.OPTED_OUT.value,
            error_text=OPTED_OUT_TEXT,
        )
    )


def _open_window(record: BroadcastRecord, now: datetime.datetime | None) -> sa.Exists:
    since = (now or datetime.datetime.now(datetime.UTC)) - WINDOW
    return (
        sa.select(sa.literal_column("1"))
        .select_from(addresses.join(conversations, conversations.c.person == addresses.c.person))
        .where(
            addresses.c.address == sends.c.recipient,
            conversations.c.account == f"{record.provider}:{record.account}",
            conversations.c.last_inbound_at > since,
        )
        .exists()
    )


# Within one transaction ----------------------------------------------------------------------------------------------


async def note_inbound(
    connection: AsyncConnection, provider: str, item: Inbound, received_at: datetime.datetime
) -> Reply | None:
    """Keep an inbound message: who wrote, when, and what they want; None for one that is known already."""
    account = storable(f"{provider}:{item.account}", _LONGEST_ADDRESS)
    await _alone(connection)
    known = sa.select(replies.c.bare_id).where(replies.c.account == account, replies.c.bare_id == item.message_id)
    if (await connection.execute(known)).first() is not None:
        return None
    answered = await _answered(connection, provider, item)
    of_row = (answered.recipient,) if answered and _is_person(answered.recipient) else ()
    person = await _person(connection, (*item.addresses, *of_row))
    if item.opens_window:
        await _wrote(connection, person, account, item.at)
    changed = False
    if item.opted_out is not None:
        changed = bool(await _say(connection, person, item.opted_out, item.at, storable(item.word, 40)))
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
    await _alone(connection)
    person = await _person(connection, item.addresses)
    # What blocked us will write before it wants more; a preference is taken back where it was set.
    native = item.source == "user_preferences"
    changed = await _say(connection, person, item.opted_out, item.at, storable(item.source, 40), native=native)
    return int(bool(changed) and item.opted_out)


async def note_same_person(connection: AsyncConnection, item: SamePerson) -> None:
    """Join what is known of these addresses; of people nobody knows, nothing is kept."""
    if len(item.addresses) > 1:
        await _alone(connection)
        if await _known(connection, _all_forms(item.addresses)):
            await _person(connection, item.addresses)


async def link_aliases(connection: AsyncConnection, pairs: Sequence[tuple[str, str]]) -> None:
    """Join an address that a status told with its row's recipient, where one of them is of a person who is known."""
    pairs = [(alias, recipient) for alias, recipient in pairs if _is_person(recipient)]
    if not pairs:
        return
    known = await _known(connection, [address for pair in pairs for address in pair])
    for alias, recipient in pairs:
        if alias in known or recipient in known:
            await _alone(connection)
            await _person(connection, (alias, recipient))


def _is_person(address: str) -> bool:
    return bool(address) and not address.endswith(("@g.us", "@newsletter")) and not address.startswith("Y2FwaV9ncm91c")


def _all_forms(told: Iterable[str]) -> list[str]:
    forms = (form for address in told for form in spellings(storable(address, _LONGEST_ADDRESS)))
    return list(dict.fromkeys(filter(None, forms)))


async def _alone(connection: AsyncConnection) -> None:
    if connection.dialect.name == "postgresql":
        await connection.execute(_PEOPLE_LOCK)


async def _known(connection: AsyncConnection, told: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for start in range(0, len(told), _PAGE):
        query = sa.select(addresses.c.address, addresses.c.person).where(
            addresses.c.address.in_(told[start : start + _PAGE])
        )
        found |= {entry.address: entry.person for entry in await connection.execute(query)}
    return found


async def _person(connection: AsyncConnection, told: Iterable[str]) -> int:
    """The one person of these addresses, joined of several or made anew; their addresses are kept."""
    await _alone(connection)
    forms = _all_forms(told)
    known = await _known(connection, forms)
    if len(known) < len(forms):
        # A status may have told whose id or lid this is.
        query = sa.select(sends.c.recipient).where(
            sends.c.alias.in_([form for form in forms if form not in known]), sa.text("whatsapp_sends.alias <> ''")
        )
        recipients = set((await connection.execute(query.limit(20))).scalars())
        if more := [form for form in _all_forms(filter(_is_person, recipients)) if form not in forms]:
            forms += more
            known |= await _known(connection, more)
    found = sorted(set(known.values()))
    if found:
        person = found[0]
        for other in found[1:]:
            await _join(connection, person, other)
    else:
        person = int(
            (await connection.execute(sa.insert(people).returning(people.c.id).values(source=""))).scalar_one()
        )
    if missing := [form for form in forms if form not in known]:
        await connection.execute(sa.insert(addresses), [{"address": form, "person": person} for form in missing])
    return person


async def _join(connection: AsyncConnection, person: int, other: int) -> None:
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
        await _wrote(connection, person, entry.account, entry.last_inbound_at)
    await connection.execute(sa.delete(conversations).where(conversations.c.person == other))
    for table in (addresses, replies):
        await connection.execute(sa.update(table).where(table.c.person == other).values(person=person))
    await connection.execute(sa.delete(people).where(people.c.id == other))


async def _wrote(connection: AsyncConnection, person: int, account: str, at: datetime.datetime) -> None:
    here = (conversations.c.person == person, conversations.c.account == account)
    last = (await connection.execute(sa.select(conversations.c.last_inbound_at).where(*here))).scalar_one_or_none()
    if last is None:
        values = {"person": person, "account": account, "last_inbound_at": at}
        await connection.execute(sa.insert(conversations).values(values))
    elif last < at:
        await connection.execute(sa.update(conversations).where(*here).values(last_inbound_at=at))


_TIMES = ("said_stop_at", "said_start_at", "native_stop_at", "native_start_at")


async def _say(
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


def _latest(one: datetime.datetime | None, other: datetime.datetime | None) -> datetime.datetime | None:
    return max(one, other) if one and other else one or other


def _wants_none(times: dict[str, datetime.datetime | None]) -> bool:
    """Whether either kind of STOP is newer than its START; at the same second no is no."""
    return any(
        stop is not None and (start is None or stop >= start)
        for stop, start in ((times[f"{by}_stop_at"], times[f"{by}_start_at"]) for by in ("said", "native"))
    )
