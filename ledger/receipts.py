"""What webhooks told, taken into the ledger in one transaction: statuses, replies, preferences."""

import datetime
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from ..models.message_ids import MAX_MESSAGE_ID
from ..models.states import RECEIPT_STATES, SendState
from ..models.updates import Inbound, Item, Preference, SamePerson, StatusUpdate, Unread
from .database import Database
from .identities import link_aliases, note_same_person
from .records import BroadcastRecord, storable
from .replies import Reply, note_inbound, note_preference
from .schema import broadcasts, receipts, receivers, replies, sends, unread
from .statuses import Standing, advance, best_alias, callback_parts

# Meta posts again for seven days; what matches nothing after that never will.
KEPT_DAYS = 8
_IN_A_QUERY = 500
_CONTENT_CHARACTERS = 65_536
# A receiver that is restarted, or waits for its ledger, misses nothing: the services post again.
_GAP_SECONDS = 600.0
_STANDING = tuple(each.name for each in fields(Standing))
_HAS_BARE_ID = sa.text("whatsapp_sends.bare_id <> ''")


@dataclass(slots=True)
class Recorded:
    """What one transaction changed.

    Attributes:
        moved: Numbers of the broadcasts whose rows changed.
        matched: Statuses whose row is known.
        parked: Statuses of which no row is known yet.
        replies: Replies that were not known before.
        opted_out: People who opted out.
    """

    moved: set[int] = field(default_factory=set)
    matched: int = 0
    parked: int = 0
    replies: list[Reply] = field(default_factory=list)
    opted_out: int = 0


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

        async def work(connection: AsyncConnection) -> Recorded:
            recorded = Recorded()
            # Statuses first: they tell which addresses are one person's.
            statuses = [item for item in items if isinstance(item, StatusUpdate) and item.state in RECEIPT_STATES]
            await self._take_statuses(connection, provider, statuses, now, recorded)
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
            await self._keep_unread(connection, provider, items, now)
            return recorded

        return await self._database.transact("record receipts", work)

    async def match_parked(self, *, newer_than: datetime.datetime | None = None) -> Recorded:
        """Look again for the rows of statuses that came before their send was settled.

        Args:
            newer_than: Only those received since; all by default.
        """
        total, place = Recorded(), None
        while True:
            page = await self._parked_page(newer_than, place)
            if matched := await self._with_rows(page):
                found = await self._database.transact("match receipts", partial(self._match, matched))
                total.moved |= found.moved
                total.matched += found.matched
            if len(page) < _IN_A_QUERY:
                return total
            place = page[-1]

    async def _parked_page(
        self, newer_than: datetime.datetime | None, after: sa.Row[Any] | None
    ) -> Sequence[sa.Row[Any]]:
        order = (receipts.c.received_at, receipts.c.account, receipts.c.bare_id, receipts.c.state)
        query = sa.select(receipts).where(sa.text("send IS NULL")).order_by(*order).limit(_IN_A_QUERY)
        if newer_than is not None:
            query = query.where(receipts.c.received_at >= newer_than)
        if after is not None:
            last = (sa.literal(getattr(after, column.name), column.type) for column in order)
            query = query.where(sa.tuple_(*order) > sa.tuple_(*last), receipts.c.received_at >= after.received_at)

        async def work(connection: AsyncConnection) -> Sequence[sa.Row[Any]]:
            found: Sequence[sa.Row[Any]] = (await connection.execute(query)).all()
            return found

        return await self._database.read("read parked receipts", work)

    async def _with_rows(self, page: Sequence[sa.Row[Any]]) -> list[sa.Row[Any]]:
        """Those of which a send is known now; looked up outside any writing, as mostly there are none."""
        query = sa.select(sends.c.bare_id).where(sends.c.bare_id.in_({entry.bare_id for entry in page}), _HAS_BARE_ID)

        async def work(connection: AsyncConnection) -> list[sa.Row[Any]]:
            known = set((await connection.execute(query)).scalars())
            return [entry for entry in page if entry.bare_id in known]

        return await self._database.read("match receipts", work) if page else []

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
            await self._take_statuses(connection, provider, updates, None, recorded)
        return recorded

    async def resolve(self, record: BroadcastRecord, row_id: int, message_id: str, by: str) -> bool:
        """Hold a row that is unknown for accepted, by a message that was found in the service's history.

        Args:
            record: The row's broadcast.
            row_id: The row.
            message_id: The message's bare id.
            by: The name of the look-up.

        Returns:
            Whether it was unknown, and the message no other row's.
        """
        other = sends.alias("other")
        taken = (
            sa.select(sa.literal_column("1"))
            .where(other.c.bare_id == message_id, sa.text("other.bare_id <> ''"), other.c.id != row_id)
            .exists()
        )
        change = (
            sa.update(sends)
            .where(
                sends.c.id == row_id,
                sends.c.broadcast == record.number,
                sends.c.state == SendState.UNKNOWN,
                sa.not_(taken),
            )
            .values(
                state=SendState.ACCEPTED,
                owner=None,
                message_id=storable(message_id, MAX_MESSAGE_ID),
                bare_id=storable(message_id, MAX_MESSAGE_ID),
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
        changes = [
            sa.delete(receipts).where(receipts.c.received_at < before),
            sa.delete(replies).where(replies.c.received_at < before, replies.c.send.is_(None)),
            sa.delete(unread).where(unread.c.received_at < before),
        ]

        async def work(connection: AsyncConnection) -> int:
            return sum([(await connection.execute(change)).rowcount for change in changes])

        return await self._database.transact("drop old receipts", work)

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
        at = now or datetime.datetime.now(datetime.UTC)
        values = [{"account": account, "alive_since": at, "seen_at": at} for account in sorted(set(accounts))]
        insert = self._database.engine.insert(receivers)
        gap = at - datetime.timedelta(seconds=_GAP_SECONDS)
        upsert = insert.on_conflict_do_update(
            index_elements=["account"],
            set_={
                "seen_at": insert.excluded.seen_at,
                "alive_since": sa.case((receivers.c.seen_at < gap, at), else_=receivers.c.alive_since),
            },
        )

        await self._database.transact("note a receiver", lambda connection: connection.execute(upsert, values))

    async def received_for(self, account: str, *, now: datetime.datetime | None = None) -> datetime.timedelta | None:
        """For how long a receiver of this account has been alive without a gap; None where none is."""
        at = now or datetime.datetime.now(datetime.UTC)
        query = sa.select(receivers.c.alive_since, receivers.c.seen_at).where(receivers.c.account == account)

        async def work(connection: AsyncConnection) -> datetime.timedelta | None:
            found = (await connection.execute(query)).one_or_none()
            if found is None or (at - found.seen_at).total_seconds() > _GAP_SECONDS:
                return None
            return at - found.alive_since  # type: ignore[no-any-return]  # a row is untyped

        return await self._database.read("look for a receiver", work)

    # One transaction ------------------------------------------------------------------------------------------------

    async def _take_statuses(
        self,
        connection: AsyncConnection,
        provider: str,
        updates: Sequence[StatusUpdate],
        received_at: datetime.datetime | None,
        recorded: Recorded,
    ) -> None:
        """Keep statuses and move their rows; without `received_at` they are kept already."""
        for start in range(0, len(updates), _IN_A_QUERY):
            chunk = updates[start : start + _IN_A_QUERY]
            rows, by_message = await self._rows_of(connection, provider, chunk)
            told: defaultdict[int, list[StatusUpdate]] = defaultdict(list)
            kept = []
            for update in chunk:
                row = by_message.get((update.account, update.message_id)) or _row_of_callback(update, rows)
                if row is None:
                    recorded.parked += 1
                else:
                    recorded.matched += 1
                    told[row].append(update)
                kept.append((update, row))
            await self._move(connection, provider, rows, told, recorded)
            if received_at is not None:
                await self._keep(connection, provider, kept, received_at)
            elif matched := [{"a": f"{provider}:{u.account}", "b": u.message_id, "c": u.state.value, "row": row}
                             for u, row in kept if row is not None]:  # fmt: skip
                await connection.execute(_MARK_MATCHED, matched)

    async def _rows_of(
        self, connection: AsyncConnection, provider: str, updates: Sequence[StatusUpdate]
    ) -> tuple[dict[int, tuple[Standing, int, str, str]], dict[tuple[str, str], int]]:
        """The rows that may be meant, locked in the order of their numbers, and which message is whose."""
        bare = sorted({update.message_id for update in updates})
        called = {update.callback: parts for update in updates if (parts := callback_parts(update.callback))}
        known = sends.c.bare_id.in_(bare) & _HAS_BARE_ID
        query = (
            sa.select(
                *(sends.c[name] for name in _STANDING),
                sends.c.id,
                sends.c.broadcast,
                sends.c.recipient,
                broadcasts.c.id.label("broadcast_id"),
                broadcasts.c.account.label("account"),
            )
            .join(broadcasts, broadcasts.c.number == sends.c.broadcast)
            .where(broadcasts.c.provider == provider)
            .order_by(sends.c.id)
            .with_for_update(of=sends)
        )
        rows: dict[int, tuple[Standing, int, str, str]] = {}
        by_message: dict[tuple[str, str], int] = {}
        for where in (known, sends.c.id.in_(sorted({row for _, row in called.values()})) if called else None):
            if where is None:
                continue
            for entry in await connection.execute(query.where(where)):
                standing = Standing(**{name: getattr(entry, name) for name in _STANDING})
                standing = _typed(standing)
                rows[entry.id] = (standing, entry.broadcast, entry.recipient, entry.broadcast_id)
                if standing.bare_id:
                    by_message[entry.account, standing.bare_id] = entry.id
        return rows, by_message

    async def _move(
        self,
        connection: AsyncConnection,
        provider: str,
        rows: dict[int, tuple[Standing, int, str, str]],
        told: dict[int, list[StatusUpdate]],
        recorded: Recorded,
    ) -> None:
        changes, learned = [], []
        for row_id in sorted(told):
            before, broadcast, recipient, _ = rows[row_id]
            after = before
            for update in told[row_id]:
                again = after.state is SendState.QUEUED and await _failed(connection, provider, update)
                after = advance(after, _without_own(update, recipient), failed_before=again)
            if after is not before:
                recorded.moved.add(broadcast)
                changes.append({"row": row_id, **{f"new_{name}": getattr(after, name) for name in _MOVED}})
                if after.alias != before.alias:
                    learned.append((after.alias, recipient))
        if changes:
            await connection.execute(_MOVE, changes)
        if learned:
            await link_aliases(connection, learned)

    async def _keep(
        self,
        connection: AsyncConnection,
        provider: str,
        kept: Sequence[tuple[StatusUpdate, int | None]],
        received_at: datetime.datetime,
    ) -> None:
        values = [
            {
                "account": storable(f"{provider}:{update.account}", 200),
                "bare_id": storable(update.message_id, MAX_MESSAGE_ID),
                "state": update.state.value,
                "send": row,
                "at": update.at,
                "received_at": received_at,
                "code": storable(update.code, 40),
                "text": storable(update.text, 1000),
                "alias": best_alias(update.aliases),
            }
            for update, row in sorted(kept, key=lambda pair: (pair[0].message_id, pair[0].state.value))
        ]
        insert = self._database.engine.insert(receipts).on_conflict_do_nothing()
        await connection.execute(insert, values)

    async def _keep_unread(
        self, connection: AsyncConnection, provider: str, items: Sequence[Item], now: datetime.datetime
    ) -> None:
        values = [
            {
                "account": storable(f"{provider}:{item.account}", 200),
                "name": storable(item.name, 100),
                "content": storable(json.dumps(item.raw, default=str), _CONTENT_CHARACTERS),
                "received_at": now,
            }
            for item in items
            if isinstance(item, Unread)
        ]
        if values:
            await connection.execute(sa.insert(unread), values)


_MOVED = tuple(name for name in _STANDING if name != "attempts")
_MOVE = (
    sa.update(sends)
    .where(sends.c.id == sa.bindparam("row"))
    .values({name: sa.bindparam(f"new_{name}") for name in _MOVED})
)
_MARK_MATCHED = (
    sa.update(receipts)
    .where(
        receipts.c.account == sa.bindparam("a"),
        receipts.c.bare_id == sa.bindparam("b"),
        receipts.c.state == sa.bindparam("c"),
    )
    .values(send=sa.bindparam("row"))
)


def _storable(item: Item) -> Item:
    """An id of the world's making, as both databases can hold it."""
    if isinstance(item, StatusUpdate | Inbound) and not (item.message_id.isascii() and item.message_id.isprintable()):
        return replace(item, message_id=storable(item.message_id, MAX_MESSAGE_ID))
    return item


def _typed(standing: Standing) -> Standing:
    object.__setattr__(standing, "state", SendState(standing.state))
    return standing


def _row_of_callback(update: StatusUpdate, rows: dict[int, tuple[Standing, int, str, str]]) -> int | None:
    parts = callback_parts(update.callback)
    if parts is None or parts[1] not in rows or rows[parts[1]][3] != parts[0]:
        return None
    return parts[1]


def _without_own(update: StatusUpdate, recipient: str) -> StatusUpdate:
    """The status with only those addresses that the row doesn't have as its recipient."""
    others = tuple(alias for alias in update.aliases if alias != recipient)
    if len(others) == len(update.aliases):
        return update
    return replace(update, aliases=others)


async def _failed(connection: AsyncConnection, provider: str, update: StatusUpdate) -> bool:
    """Whether this message was told to have failed before its row was queued again."""
    query = sa.select(receipts.c.state).where(
        receipts.c.account == f"{provider}:{update.account}",
        receipts.c.bare_id == update.message_id,
        receipts.c.state == SendState.FAILED,
    )
    return (await connection.execute(query)).first() is not None
