"""A hundred thousand recipients: planned in chunks, read in pages, and no send dearer for it."""

import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledgers import people
from memory import async_traced_peak
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore, Outcome
from prefect_whatsapp.models import SendState
from prefect_whatsapp.models.updates import StatusUpdate

MANY = 100_000
CHUNK = 2000
MEGABYTE = 1 << 20


async def plan(store: LedgerStore, count: int, name: str) -> BroadcastRecord:
    record = await store.start_broadcast(name, kind="audio", provider="graph", account="1", content="aa")
    for start in range(0, count, CHUNK):
        assert await store.plan(record, people(CHUNK, start)) == CHUNK
    return record


@pytest.mark.ci
@pytest.mark.slow
async def test_memory_does_not_grow_with_the_list(store: LedgerStore) -> None:
    await plan(store, CHUNK, "a first one, for what is loaded once")
    names = iter(("many", "many more"))

    async def work() -> None:
        record = await plan(store, MANY, next(names))
        read = 0
        async for _ in store.rows(record):
            read += 1
        assert read == MANY

    peak = await async_traced_peak(work)
    assert peak < 12 * MEGABYTE


async def test_sqlite_finds_each_row_by_an_index(tmp_path: Path) -> None:
    """What a broadcast does all the time never reads a whole table."""
    async with LedgerStore.open(f"{tmp_path}/ledger.db") as store:
        record = await plan(store, CHUNK, "indexed")
        statements: list[tuple[str, object]] = []

        def listen(_c: object, _cursor: object, statement: str, values: object, _x: object, many: bool) -> None:
            if not many and statement.startswith(("SELECT", "UPDATE")):
                statements.append((statement, values))

        sa.event.listen(store._database.engine.pool.sync_engine, "before_cursor_execute", listen)
        async with store.join(record, messages_per_second=80) as lease:
            rows = await lease.take(5)
            await lease.claim(rows[0])
            await lease.settle(rows[0], Outcome(SendState.ACCEPTED, message_id="wamid.1"))
            await lease.give_back(rows[1:])
            await lease.outstanding()
            await lease.recover()
            await store.counts(record)
            now = datetime.datetime.now(datetime.UTC)
            read = StatusUpdate(record.account, "wamid.1", SendState.READ, now, callback=rows[0].callback)
            await store.receipts.record(record.provider, [read])
            await store.receipts.match_parked(newer_than=now)
            await store.people.skip_opted_out(record)
        sa.event.remove(store._database.engine.pool.sync_engine, "before_cursor_execute", listen)
        assert len(statements) > 10
        async with store._database.reading() as connection:
            for statement, values in statements:
                plan_of = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)  # type: ignore[arg-type]
                steps = [step[3] for step in plan_of]
                assert not [step for step in steps if step.startswith("SCAN whatsapp_")], (statement, steps)
