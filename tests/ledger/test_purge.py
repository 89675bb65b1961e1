"""Old broadcasts become counts, and are never sent a second time for it."""

import datetime

import pytest
import sqlalchemy as sa
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore, Outcome, RemovedRow
from prefect_whatsapp.ledger.history import Action, Actor
from prefect_whatsapp.ledger.schema import broadcasts, conversations, leases, people, receipts, replies, sends
from prefect_whatsapp.models import Recipient, SendState
from prefect_whatsapp.models.errors import BroadcastMismatchError, LedgerError
from prefect_whatsapp.models.updates import Inbound, StatusUpdate

ADA = Actor("ada", "host-a")
LONG, LATELY = datetime.timedelta(days=180), datetime.timedelta(days=30)
NOW = datetime.datetime.now(datetime.UTC)
NUMBERS = ["+16505550101", "+16505550102", "+16505550103"]
PROMISE = {"kind": "audio", "provider": "graph", "account": "106540", "content": "abc"}


async def a_broadcast(store: LedgerStore, name: str, days_ago: int) -> BroadcastRecord:
    """One of three rows, two of them sent, as it was so long ago."""
    record = await store.start_broadcast(name, **PROMISE)
    await store.plan(record, [Recipient.stored(number, name="Ana") for number in NUMBERS])
    await store.remove(record, [RemovedRow(4, "+1 650", "too short")])
    async with store.join(record, messages_per_second=0) as lease:
        for row in await lease.take(2):
            await lease.claim(row)
            await lease.settle(row, Outcome(SendState.ACCEPTED, message_id=f"wamid.{name}.{row.id}"))
            status = StatusUpdate("106540", f"wamid.{name}.{row.id}", SendState.SENT, NOW)
            await store.receipts.record("graph", [status])
    then = NOW - datetime.timedelta(days=days_ago)

    async def age(connection: sa.ext.asyncio.AsyncConnection) -> None:
        here = sends.c.broadcast == record.number
        for change in (
            sa.update(broadcasts).where(broadcasts.c.number == record.number).values(created_at=then),
            sa.update(sends)
            .where(here, sends.c.claimed_at.is_not(None))
            .values(claimed_at=then, settled_at=then, sent_at=then),
            sa.update(leases).where(leases.c.broadcast == record.number).values(joined_at=then, left_at=then),
            sa.update(receipts)
            .where(receipts.c.bare_id.in_([f"wamid.{name}.{number}" for number in range(1, 99)]))
            .values(received_at=then),
        ):
            await connection.execute(change)

    await store._database.transact("age it", age)
    return record


async def count(store: LedgerStore, table: sa.Table) -> int:
    query = sa.select(sa.func.count()).select_from(table)
    async with store._database.reading() as connection:
        return int((await connection.execute(query)).scalar_one())


async def test_rows_become_counts_and_the_report_says_the_same(store: LedgerStore) -> None:
    record = await a_broadcast(store, "old", 200)
    before = await store.counts(record)
    assert (before[SendState.SENT], before[SendState.QUEUED]) == (2, 1)
    done = await store.purge(LONG, ADA)
    assert (done.broadcasts, done.rows, done.removed_lines, done.receipts) == (1, 3, 1, 2)
    assert await store.counts(record) == before
    (summary,) = await store.broadcasts()
    assert summary.planned == 3
    assert [row async for row in store.rows(record)] == []
    assert [row async for row in store.removed_rows(record)] == []
    assert (await store.history())[0].action == Action.PURGED


async def test_a_purged_broadcast_is_refused_and_sends_nobody_a_second_message(store: LedgerStore) -> None:
    record = await a_broadcast(store, "old", 200)
    await store.purge(LONG, ADA)
    with pytest.raises(BroadcastMismatchError, match="was purged"):
        await store.start_broadcast("old", **PROMISE)
    with pytest.raises(BroadcastMismatchError, match="was purged"):  # a run that had begun before
        await store.plan(record, [Recipient.stored(number) for number in NUMBERS])
    async with store.join(record, messages_per_second=0) as lease:
        assert await lease.take(10) == []


async def test_what_happened_lately_stays_whole(store: LedgerStore) -> None:
    await a_broadcast(store, "recent", 100)
    moved = await a_broadcast(store, "old, moved lately", 200)
    read = sa.update(sends).where(sends.c.broadcast == moved.number, sends.c.state == "sent").values(read_at=NOW)
    await store._database.transact("move it", lambda connection: connection.execute(read))
    assert (await store.purge(LONG, ADA)).broadcasts == 0
    assert await count(store, sends) == 6
    assert (await store.purge(LATELY, ADA)).broadcasts == 1


async def test_a_run_that_takes_part_keeps_its_broadcast(store: LedgerStore) -> None:
    record = await a_broadcast(store, "old", 200)
    async with store.join(record, messages_per_second=0) as lease:
        assert (await store.purge(LONG, ADA)).broadcasts == 0
        assert len(await lease.take(10)) == 1


async def test_people_who_only_wrote_long_ago_are_dropped_and_opt_outs_stay(store: LedgerStore) -> None:
    then = NOW - LONG - LATELY
    for number, opted_out in zip(NUMBERS, (None, True, None), strict=True):
        at = NOW if number == NUMBERS[2] else then
        wrote = Inbound(
            "106540", f"in-{number}", at, "text", (number,), word="stop" if opted_out else "", opted_out=opted_out
        )
        await store.receipts.record("graph", [wrote], received_at=at)
    done = await store.purge(LONG, ADA)
    assert (done.people, done.replies) == (1, 2)
    assert (await count(store, people), await count(store, conversations), await count(store, replies)) == (2, 1, 1)
    assert await store.people.opted_out(NUMBERS) == {NUMBERS[1]}


async def test_a_dry_run_tells_the_same_and_changes_nothing(store: LedgerStore) -> None:
    for name in ("old", "older"):
        await a_broadcast(store, name, 200)
    told = await store.purge(LONG, ADA, dry_run=True)
    assert await count(store, sends) == 6
    assert await store.history() == []
    assert await store.purge(LONG, ADA) == told


async def test_what_may_still_be_needed_is_not_purged(store: LedgerStore) -> None:
    with pytest.raises(LedgerError, match="8 days"):
        await store.purge(datetime.timedelta(days=7), ADA)
