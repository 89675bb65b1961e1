"""What webhooks told, taken into the ledger in one transaction: statuses, replies, preferences."""

import datetime
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.message_ids import MAX_MESSAGE_ID
from ..models.states import ACCEPTED_STATES, RECEIPT_STATES, SendState
from ..models.updates import Inbound, Item, Preference, SamePerson, StatusUpdate, Unread
from .database import Database
from .identities import LONGEST_ADDRESS, note_same_person
from .matching import IN_A_QUERY, Recorded, take_statuses
from .receivers import alive_for, note_alive
from .records import BroadcastRecord, storable
from .replies import note_inbound, note_preference
from .schema import broadcasts, receipts, replies, sends, unread

Period = tuple[datetime.datetime, datetime.datetime]
"""The first and the last moment."""

# Meta posts again for seven days; what matches nothing after that never will.
KEPT_DAYS = 8
_IN_A_DELETION = 5_000
_CONTENT_CHARACTERS = 65_536
# Of parked statuses, those of which a send is known now. CROSS JOIN keeps SQLite from beginning with the sends, of which
# there may be many more; PostgreSQL takes it for any other join.
_FOUND_SQL = sa.text(
    """SELECT r.account, r.bare_id, r.state, r.at, r.code, r.text, r.alias FROM whatsapp_receipts AS r
    CROSS JOIN whatsapp_sends AS s CROSS JOIN whatsapp_broadcasts AS b
    WHERE r.send IS NULL AND r.received_at >= :since AND s.bare_id = r.bare_id AND s.bare_id <> ''
    AND b.number = s.broadcast AND b.provider || ':' || b.account = r.account
    ORDER BY r.received_at LIMIT :most"""
).bindparams(sa.bindparam("since", type_=receipts.c.received_at.type))
_FOUND = _FOUND_SQL.columns(
    *(receipts.c[name] for name in ("account", "bare_id", "state", "at", "code", "text", "alias"))
)
_EVER = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class ReceiptBook:
    """The ledger's side of receipts. Made by `LedgerStore.receipts`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self, provider: str, items: Sequence[Item], *, received_at: datetime.datetime | None = None
    ) -> Recorded:
        """Make webhooks durable, each once, and move the rows they are about.

        Args:
            provider: The service's name, such as `graph`.
            items: As the provider's reader gave them, of any number of webhooks.
            received_at: When they came; now by default.

        Raises:
            LedgerError: The ledger stayed away for longer than its patience; nothing is recorded.
        """
        now = received_at or datetime.datetime.now(datetime.UTC)
        items = [_storable(item) for item in items]
        # Statuses first: they tell which addresses are one person's.
        statuses = [item for item in items if isinstance(item, StatusUpdate) and item.state in RECEIPT_STATES]
        unknown = [_unread_values(provider, item, now) for item in items if isinstance(item, Unread)]

        async def work(connection: AsyncConnection) -> Recorded:
            recorded = Recorded()
            await take_statuses(connection, self._database.engine, provider, statuses, now, recorded)
            for item in items:
                match item:
                    case Inbound():
                        reply = await note_inbound(connection, provider, item, now)
                        recorded.replies += [reply] if reply else []
                        recorded.opted_out += bool(reply and reply.opted_out)
                    case Preference():
                        recorded.opted_out += await note_preference(connection, item)
                    case SamePerson():
                        await note_same_person(connection, item)
            if unknown:
                await connection.execute(sa.insert(unread), unknown)
            return recorded

        return await self._database.transact("record receipts", work)

    async def match_parked(self, *, newer_than: datetime.datetime | None = None) -> Recorded:
        """Look again for the rows of statuses that came before their send was settled.

        Args:
            newer_than: Only those received since; all by default.
        """
        total, query = Recorded(), _FOUND.bindparams(since=newer_than or _EVER, most=IN_A_QUERY)

        async def look(connection: AsyncConnection) -> Sequence[sa.Row[Any]]:
            found: Sequence[sa.Row[Any]] = (await connection.execute(query)).all()
            return found

        while True:
            # Outside any writing, as mostly there are none.
            page = await self._database.read("read parked receipts", look)
            if not page:
                return total
            found = await self._database.transact("match receipts", partial(self._match, page))
            total.moved |= found.moved
            total.matched += found.matched
            if len(page) < IN_A_QUERY or not found.matched:
                return total

    async def _match(self, waiting: Sequence[sa.Row[Any]], connection: AsyncConnection) -> Recorded:
        recorded = Recorded()
        by_provider: defaultdict[str, list[StatusUpdate]] = defaultdict(list)
        for entry in waiting:
            provider, _, account = entry.account.partition(":")
            aliases = (entry.alias,) if entry.alias else ()
            state = SendState(entry.state)
            by_provider[provider].append(
                StatusUpdate(account, entry.bare_id, state, entry.at, code=entry.code, text=entry.text, aliases=aliases)
            )
        for provider, updates in by_provider.items():
            await take_statuses(connection, self._database.engine, provider, updates, None, recorded)
        return recorded

    async def resolve(
        self,
        record: BroadcastRecord,
        row_id: int,
        message_id: str,
        by: str,
        *,
        near: Period | None = None,
        guessed: bool = False,
    ) -> bool:
        """Hold a row that is unknown for accepted, by a message that was found in the service's history.

        Args:
            record: The row's broadcast.
            row_id: The row.
            message_id: The message's bare id.
            by: The name of the look-up.
            near: When a row of another broadcast to the same person would have to be claimed for the message to be its;
                None where the message's own id says whose it is.
            guessed: Whether an accepted row's id may be one that its message never got, unless a receipt named it.

        Returns:
            Whether it was unknown, and the message no other row's.
        """
        message_id = storable(message_id, MAX_MESSAGE_ID)
        other = sends.alias("other")
        taken = (
            sa.select(sa.literal_column("1"))
            .where(other.c.bare_id == message_id, sa.text("other.bare_id <> ''"), other.c.id != row_id)
            .exists()
        )
        # A row keeps the id of its last message only: one of which a receipt was matched is an earlier message, also of this
        # row, which would not be in doubt had the receipt been about the one that is looked for.
        told_of = (
            sa.select(sa.literal_column("1"))
            .where(
                receipts.c.account == storable(f"{record.provider}:{record.account}", LONGEST_ADDRESS),
                receipts.c.bare_id == message_id,
                receipts.c.send.is_not(None),
            )
            .exists()
        )
        change = (
            sa.update(sends)
            .where(
                sends.c.id == row_id,
                sends.c.broadcast == record.number,
                sends.c.state == SendState.UNKNOWN,
                sa.not_(taken),
                sa.not_(told_of),
                *([sa.not_(_rival(record, row_id, near, guessed))] if near else []),
            )
            .values(
                state=SendState.ACCEPTED,
                owner=None,
                message_id=message_id,
                bare_id=message_id,
                resolved_by=by,
                error_code="",
                error_text="",
                error_kind="",
            )
        )

        async def work(connection: AsyncConnection) -> bool:
            return (await connection.execute(change)).rowcount > 0

        return await self._database.transact("resolve an unknown send", work)

    async def forget_old(self, *, now: datetime.datetime | None = None) -> int:
        """Drop what is older than eight days and needed by nothing: parked statuses, known doubles, unread webhooks."""
        before = (now or datetime.datetime.now(datetime.UTC)) - datetime.timedelta(days=KEPT_DAYS)
        old = (
            (receipts, receipts.c.received_at < before),
            (replies, sa.and_(replies.c.received_at < before, replies.c.send.is_(None))),
            (unread, unread.c.received_at < before),
        )
        dropped = 0
        for table, where in old:
            key = sa.tuple_(*table.primary_key)
            some = sa.select(*table.primary_key).where(where).limit(_IN_A_DELETION)
            change = sa.delete(table).where(key.in_(some))

            async def work(connection: AsyncConnection, change: sa.Delete = change) -> int:
                return (await connection.execute(change)).rowcount

            while number := await self._database.transact("drop old receipts", work):
                dropped += number
                if number < _IN_A_DELETION:
                    break
        return dropped

    async def parked(self) -> int:
        """Count statuses of which no row is known."""
        query = sa.select(sa.func.count()).select_from(receipts).where(sa.text("send IS NULL"))

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(query)).scalar_one())

        return await self._database.read("count receipts", work)

    async def receiving(self, accounts: Iterable[str], *, now: datetime.datetime | None = None) -> None:
        """Say that a receiver of these accounts is alive.

        Args:
            accounts: `provider:account`.
            now: The moment.
        """
        await note_alive(self._database, accounts, now or datetime.datetime.now(datetime.UTC))

    async def received_for(self, account: str, *, now: datetime.datetime | None = None) -> datetime.timedelta | None:
        """For how long a receiver of this account has been alive without a gap; None where none is."""
        return await alive_for(self._database, account, now or datetime.datetime.now(datetime.UTC))


def _rival(record: BroadcastRecord, row_id: int, near: Period, guessed: bool) -> sa.Exists:
    """Whether another row reached for the same person then, by the same account and kind, and no message is known for it.

    One that was tried again since may have done so: when its earlier tries left, and what their messages were, is not kept.
    """
    row, rival, of = sends.alias("found"), sends.alias("rival"), broadcasts.alias("of_rival")
    may_have_one = sa.or_(
        rival.c.state.in_([SendState.SENDING, SendState.UNKNOWN, SendState.QUEUED]),  # queued again, if it was claimed
        sa.and_(rival.c.state.in_(ACCEPTED_STATES), sa.text("rival.bare_id = ''")),
        *([rival.c.state == SendState.ACCEPTED] if guessed else []),
    )
    then = sa.and_(rival.c.claimed_at.between(*near), may_have_one)
    perhaps_then = sa.and_(rival.c.attempts > 1, rival.c.claimed_at >= near[0])
    return (
        sa.select(sa.literal_column("1"))
        .select_from(
            row.join(rival, rival.c.account_key == row.c.account_key).join(of, of.c.number == rival.c.broadcast)
        )
        .where(row.c.id == row_id, rival.c.id != row_id, sa.or_(then, perhaps_then))
        .where(of.c.provider == record.provider, of.c.account == record.account, of.c.kind == record.kind)
        .exists()
    )


def _storable(item: Item) -> Item:
    """A foreign item as both databases can hold it: one that they refuse would fail all that is recorded with it."""
    match item:
        case StatusUpdate() if not _plain(item.message_id, item.account):
            return replace(item, message_id=storable(item.message_id, MAX_MESSAGE_ID), account=storable(item.account))
        case Inbound() if not _plain(item.message_id, item.answers, item.account):
            return replace(
                item,
                message_id=storable(item.message_id, MAX_MESSAGE_ID),
                answers=storable(item.answers, MAX_MESSAGE_ID),
                account=storable(item.account),
            )
        case _:
            return item


def _plain(*texts: str) -> bool:
    return all(text.isascii() and text.isprintable() for text in texts)


def _unread_values(provider: str, item: Unread, now: datetime.datetime) -> dict[str, Any]:
    try:
        content = json.dumps(item.raw, default=str)
    except (RecursionError, ValueError):  # nested so deeply that it was read, but can't be written
        content = ""
    return {
        "account": storable(f"{provider}:{item.account}", 200),
        "name": storable(item.name, 100),
        "content": storable(content, _CONTENT_CHARACTERS),
        "received_at": now,
    }
