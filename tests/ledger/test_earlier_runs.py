"""What runs before this one left behind: on both databases."""

import uuid

import pytest
import sqlalchemy as sa
from ledgers import begin, people
from prefect_whatsapp.ledger import LedgerStore, Outcome
from prefect_whatsapp.ledger.schema import leases
from prefect_whatsapp.models import SendState


async def test_the_sends_of_a_run_that_ended_are_given_with_their_own_task_runs(store: LedgerStore) -> None:
    record = await begin(store)
    await store.plan(record, people(5))
    alone, batch = str(uuid.uuid4()), str(uuid.uuid4())
    async with store.join(record, messages_per_second=0) as lease:
        rows = await lease.take(4)
        for row, run_id in zip(rows, (alone, batch, batch, ""), strict=True):
            await lease.claim(row, task_run_id=run_id)
            await lease.settle(row, Outcome(SendState.ACCEPTED, message_id=str(row.id)))
        assert await store.rows_of_ended_runs(record) == []  # it still sends, and tells of them itself
    left = await store.rows_of_ended_runs(record)
    assert [(row.id, row.task_run_id, row.state) for row in left] == [(rows[0].id, alone, SendState.ACCEPTED)]


async def test_each_run_is_listed_with_what_it_left_unknown(store: LedgerStore) -> None:
    record = await begin(store)
    await store.plan(record, people(4))
    for number in range(2):
        async with store.join(record, messages_per_second=0) as lease:
            for row in await lease.take(number + 1):
                await lease.claim(row, task_run_id="")  # and it ends before it hears the answer
    async with store.join(record, messages_per_second=0):
        runs = await store.runs(record)
    assert [(run.unknown, run.left_at is None) for run in runs] == [(1, False), (2, False), (0, True)]
    assert runs[0].joined_at <= runs[1].joined_at <= runs[2].joined_at


async def test_a_broadcast_is_being_sent_while_a_run_takes_part_also_between_two_sends(store: LedgerStore) -> None:
    record = await begin(store, 2)
    assert not await store.is_being_sent(record)
    async with store.join(record, messages_per_second=0):
        assert await store.is_being_sent(record)
    assert not await store.is_being_sent(record)


async def test_a_run_whose_process_is_gone_sends_no_more(store: LedgerStore) -> None:
    record = await begin(store, 2)
    async with store.join(record, messages_per_second=0, beat_seconds=60):
        gone = sa.update(leases).values(process="1:1")  # the first process of the host, as it was at another time
        await store._database.transact("kill", lambda connection: connection.execute(gone))
        assert not await store.is_being_sent(record)


async def test_a_run_on_another_host_sends_while_its_heart_beats(
    store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_whatsapp.ledger.earlier_runs._LOOK_AGAIN_SECONDS", 0.5)
    record = await begin(store, 2)
    async with store.join(record, messages_per_second=0, beat_seconds=0.1):
        elsewhere = sa.update(leases).values(host="another")
        await store._database.transact("move", lambda connection: connection.execute(elsewhere))
        assert await store.is_being_sent(record)
    async with store.join(record, messages_per_second=0, beat_seconds=60):
        await store._database.transact("move", lambda connection: connection.execute(elsewhere))
        assert not await store.is_being_sent(record)
