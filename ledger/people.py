"""Opt-outs and 24-hour windows: who wants no more messages, and who may be written to freely now.

An opt-out concerns the person, so it holds for every account and broadcast of the ledger, and the claim of a row looks at
it. Which addresses are one person's is told in `identities`.
"""

import datetime
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.errors import ErrorKind
from ..models.masking import FORGOTTEN, mask
from ..models.recipient import account_key
from ..models.states import SendState
from .database import Database
from .identities import ensure_person, is_forgotten, record_wish
from .records import BroadcastRecord
from .schema import addresses, conversations, people, sends

WINDOW = datetime.timedelta(hours=24)
OPTED_OUT_TEXT = "The recipient asked for no more messages."
CLOSED_WINDOW_TEXT = "The 24-hour window is closed: the recipient did not write within the last 24 hours."
_PAGE = 1000
_OPTED_OUT_ROW = (
    sa.select(sa.literal_column("1"))
    .select_from(addresses.join(people, people.c.id == addresses.c.person))
    .where(addresses.c.account_key == sends.c.account_key, people.c.opted_out.is_(True))
    .exists()
)


@dataclass(frozen=True, slots=True)
class OptOut:
    """A person who wants no more messages.

    Attributes:
        address: One of their addresses, the phone number where it is known; `forgotten` of who was forgotten.
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
                    person = await ensure_person(connection, (address,))
                    count += await record_wish(connection, person, opted_out, moment, source)
                    if not opted_out:
                        count += await record_wish(connection, person, opted_out, moment, source, native=True)
                return count

            changed += await self._database.transact("record opt-outs", work)
        return changed

    async def opt_outs(self) -> AsyncIterator[OptOut]:
        """Go through the people who opted out, a page in memory at a time."""
        query = sa.select(people).where(people.c.opted_out.is_(True)).order_by(people.c.id).limit(_PAGE)
        last = 0
        while True:

            async def work(connection: AsyncConnection, last: int = last) -> tuple[list[Any], dict[int, str]]:
                page = list(await connection.execute(query.where(people.c.id > last)))
                theirs = sa.select(addresses.c.person, addresses.c.address).where(
                    addresses.c.person.in_([entry.id for entry in page])
                )
                known = [pair for pair in await connection.execute(theirs) if not is_forgotten(pair.address)]
                # A + sorts before digits and letters.
                return page, {
                    entry.person: entry.address for entry in sorted(known, key=lambda e: e.address, reverse=True)
                }

            page, named = await self._database.read("read opt-outs", work)
            for entry in page:
                times = [moment for moment in (entry.said_stop_at, entry.native_stop_at) if moment]
                yield OptOut(named.get(entry.id, FORGOTTEN), entry.source, max(times, default=None))
            if len(page) < _PAGE:
                return
            last = page[-1].id

    async def opted_out(self, who: Sequence[str]) -> set[str]:
        """Which of these canonical addresses are people's who opted out."""
        found: set[str] = set()
        for start in range(0, len(who), _PAGE):
            asked = {address: account_key(address) for address in who[start : start + _PAGE]}
            query = (
                sa.select(addresses.c.account_key)
                .join(people, people.c.id == addresses.c.person)
                .where(addresses.c.account_key.in_(set(asked.values())), people.c.opted_out.is_(True))
            )

            async def work(connection: AsyncConnection, query: sa.Select[tuple[str]] = query) -> set[str]:
                return set((await connection.execute(query)).scalars())

            hashes = await self._database.read("read opt-outs", work)
            found |= {address for address, key in asked.items() if self._database.vault.hash(key) in hashes}
        return found

    async def open_windows(self, who: Sequence[str], account: str, *, now: datetime.datetime | None = None) -> int:
        """Count these canonical addresses whose people wrote to an account, `provider:account`, within 24 hours."""
        since = (now or datetime.datetime.now(datetime.UTC)) - WINDOW
        count = 0
        for start in range(0, len(who), _PAGE):
            keys = {account_key(address) for address in who[start : start + _PAGE]}
            query = (
                sa.select(sa.func.count(addresses.c.account_key.distinct()))
                .join(conversations, conversations.c.person == addresses.c.person)
                .where(
                    addresses.c.account_key.in_(keys),
                    conversations.c.account == account,
                    conversations.c.last_inbound_at > since,
                )
            )

            async def work(connection: AsyncConnection, query: sa.Select[tuple[int]] = query) -> int:
                return (await connection.execute(query)).scalar_one()

            count += await self._database.read("count open windows", work)
        return count

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
            sends.c.forgotten_at.is_(None),
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
            addresses.c.account_key == sends.c.account_key,
            conversations.c.account == f"{record.provider}:{record.account}",
            conversations.c.last_inbound_at > since,
        )
        .exists()
    )
