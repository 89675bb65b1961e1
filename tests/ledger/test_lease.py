"""Reserving, claiming and settling rows: on both databases."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from ledgers import begin, people
from prefect_whatsapp.ledger import BroadcastRecord, Lease, LedgerStore, Outcome, Row
from prefect_whatsapp.ledger import heartbeat as heartbeat_module
from prefect_whatsapp.ledger.schema import leases, sends
from prefect_whatsapp.models import SendState
from prefect_whatsapp.models.errors import ClaimLostError, LedgerError

ACCEPTED = Outcome(SendState.ACCEPTED, message_id="wamid.1")
AGAIN = Outcome(SendState.QUEUED, error_code="130429", error_text="throttled", error_kind="throttle")


@pytest.fixture
async def record(store: LedgerStore) -> BroadcastRecord:
    """A broadcast to ten people."""
    return await begin(store, 10)


@pytest.fixture
async def lease(store: LedgerStore, record: BroadcastRecord) -> AsyncIterator[Lease]:
    """One that takes part in it."""
    async with store.join(record, messages_per_second=0) as joined:
        yield joined


async def rows_of(store: LedgerStore, record: BroadcastRecord) -> dict[int, Row]:
    return {row.id: row async for row in store.rows(record)}


async def be_declared_gone(store: LedgerStore, lease: Lease) -> None:
    """What another host's run does with one that it has not heard of for too long."""
    async with store._database.writing() as connection:
        await heartbeat_module.retire(
            connection, lease._heartbeat.lease_id, lease.record.number, "its run was lost before", {"share": 0.0}
        )


async def test_rows_are_taken_in_order_and_by_one_lease_only(store: LedgerStore, record: BroadcastRecord) -> None:
    async with store.join(record, messages_per_second=0) as first, store.join(record, messages_per_second=0) as second:
        one, two = await first.take(4), await second.take(100)
        assert [row.id for row in one + two] == sorted(await rows_of(store, record))
        assert len(one) == 4
        assert await first.take(5) == await second.take(5) == []
        left = await first.outstanding()
        assert (left.queued, left.held_by_others) == (0, 6)


async def test_concurrent_takes_never_give_a_row_twice(store: LedgerStore, record: BroadcastRecord) -> None:
    await store.plan(record, people(300))
    async with store.join(record, messages_per_second=0) as first, store.join(record, messages_per_second=0) as second:
        taken = await asyncio.gather(*(lease.take(11) for _ in range(20) for lease in (first, second)))
    ids = [row.id for rows in taken for row in rows]
    assert len(ids) == len(set(ids)) == 300


async def test_a_claim_is_durable_before_it_returns(store: LedgerStore, record: BroadcastRecord, lease: Lease) -> None:
    (row,) = await lease.take(1)
    await lease.claim(row, task_run_id="run-1")
    seen = (await rows_of(store, record))[row.id]
    assert (seen.state, seen.attempts, seen.task_run_id) == (SendState.SENDING, 1, "run-1")
    assert seen.claimed_at is not None


@pytest.mark.parametrize("state", [SendState.ACCEPTED, SendState.FAILED, SendState.SKIPPED, SendState.UNKNOWN])
async def test_a_settled_row_keeps_its_outcome(
    store: LedgerStore, record: BroadcastRecord, lease: Lease, state: SendState
) -> None:
    (row,) = await lease.take(1)
    await lease.claim(row)
    await lease.settle(row, Outcome(state, "wamid.5", "fine\0", "100", "words", "media"))
    seen = (await rows_of(store, record))[row.id]
    assert (seen.state, seen.message_id, seen.error_code, seen.error_text, seen.error_kind) == (
        state,
        "wamid.5",
        "100",
        "words",
        "media",
    )
    assert seen.status_text.startswith("fine")
    assert seen.settled_at is not None
    assert await _held(store) == 0
    with pytest.raises(ClaimLostError):
        await lease.claim(row)


async def test_what_was_surely_not_accepted_stays_reserved_for_another_try(
    store: LedgerStore, record: BroadcastRecord, lease: Lease
) -> None:
    (row,) = await lease.take(1)
    await lease.claim(row)
    await lease.settle(row, AGAIN)
    seen = (await rows_of(store, record))[row.id]
    assert (seen.state, seen.attempts, seen.error_code) == (SendState.QUEUED, 1, "130429")
    async with store.join(record, messages_per_second=0) as other:
        assert row.id not in {taken.id for taken in await other.take(100)}
    await lease.claim(row)
    await lease.settle(row, ACCEPTED)
    seen = (await rows_of(store, record))[row.id]
    assert (seen.state, seen.attempts, seen.error_code) == (SendState.ACCEPTED, 2, "")


async def test_what_is_given_back_can_be_taken_by_another(
    store: LedgerStore, record: BroadcastRecord, lease: Lease
) -> None:
    rows = await lease.take(10)
    await lease.claim(rows[0])
    await lease.give_back(rows)
    with pytest.raises(ClaimLostError):
        await lease.claim(rows[1])
    async with store.join(record, messages_per_second=0) as other:
        assert len(await other.take(100)) == 9


async def test_leaving_gives_back_what_is_reserved(store: LedgerStore, record: BroadcastRecord) -> None:
    async with store.join(record, messages_per_second=0) as first:
        await first.take(7)
    async with store.join(record, messages_per_second=0) as second:
        assert len(await second.take(100)) == 10
        assert await first.take(1) == []


async def test_leaving_with_a_claim_open_holds_the_row_as_unknown_and_says_why(
    store: LedgerStore, record: BroadcastRecord
) -> None:
    async with store.join(record, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        await lease.claim(row)
    seen = (await rows_of(store, record))[row.id]
    assert seen.state is SendState.UNKNOWN
    assert "its run ended before an answer was recorded" in seen.error_text
    assert "claimed at " in seen.error_text


async def test_a_settlement_corrects_a_row_that_was_held_as_unknown(
    store: LedgerStore, record: BroadcastRecord, lease: Lease
) -> None:
    accepted, again, failed = await lease.take(3)
    for row in (accepted, again, failed):
        await lease.claim(row)
    await be_declared_gone(store, lease)
    assert {(await rows_of(store, record))[row.id].state for row in (accepted, again, failed)} == {SendState.UNKNOWN}
    await lease.settle(accepted, ACCEPTED)
    await lease.settle(again, AGAIN)
    await lease.settle(failed, Outcome(SendState.FAILED, error_code="131026"))
    seen = await rows_of(store, record)
    assert [seen[row.id].state for row in (accepted, again, failed)] == ["accepted", "queued", "failed"]
    async with store.join(record, messages_per_second=0) as other:
        assert again.id in {row.id for row in await other.take(100)}


async def test_a_late_acceptance_saves_a_row_that_was_queued_again(
    store: LedgerStore, record: BroadcastRecord, lease: Lease
) -> None:
    (row,) = await lease.take(1)
    await lease.claim(row)
    await be_declared_gone(store, lease)
    assert await store.requeue(record, SendState.UNKNOWN) == 1
    await lease.settle(row, ACCEPTED)
    assert (await rows_of(store, record))[row.id].state is SendState.ACCEPTED


async def test_an_outcome_that_comes_after_another_claim_is_refused(
    store: LedgerStore, record: BroadcastRecord, lease: Lease
) -> None:
    (row,) = await lease.take(1)
    await lease.claim(row)
    await be_declared_gone(store, lease)
    await store.requeue(record, SendState.UNKNOWN)
    async with store.join(record, messages_per_second=0) as other:
        (same,) = (entry for entry in await other.take(100) if entry.id == row.id)
        await other.claim(same)
        with pytest.raises(ClaimLostError, match="too late"):
            await lease.settle(row, ACCEPTED)
        await other.settle(same, Outcome(SendState.FAILED))
    assert (await rows_of(store, record))[row.id].state is SendState.FAILED


async def test_an_owner_declared_gone_loses_its_rows_and_joins_anew(
    store: LedgerStore, record: BroadcastRecord, lease: Lease
) -> None:
    rows = await lease.take(3)
    await be_declared_gone(store, lease)
    with pytest.raises(ClaimLostError):
        await lease.claim(rows[0])
    assert await lease.take(3) == []  # it learns of it, and joins anew
    again = await lease.take(3)
    assert [row.id for row in again] == [row.id for row in rows]
    await lease.claim(again[0])
    await lease.settle(again[0], ACCEPTED)


async def test_settling_without_a_claim_is_refused(lease: Lease) -> None:
    (row,) = await lease.take(1)
    with pytest.raises(LedgerError, match="no open claim"):
        await lease.settle(row, ACCEPTED)
    await lease.claim(row)
    with pytest.raises(LedgerError, match="sending"):
        await lease.settle(row, Outcome(SendState.SENDING))


async def test_a_cancelled_claim_queues_its_row_again(store: LedgerStore, record: BroadcastRecord) -> None:
    async with store.join(record, messages_per_second=0) as lease:
        rows = await lease.take(5)
        claims = [asyncio.create_task(lease.claim(row)) for row in rows]
        await asyncio.sleep(0)
        for claim in claims:
            claim.cancel()
        results = await asyncio.gather(*claims, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        await store._writer.flush()
        assert {row.state for row in (await rows_of(store, record)).values()} == {SendState.QUEUED}
        await lease.claim(rows[0])  # and it may be claimed again
        await lease.settle(rows[0], ACCEPTED)
    counts = await store.counts(record)
    assert (counts[SendState.QUEUED], counts[SendState.ACCEPTED]) == (9, 1)


async def test_a_settlement_is_carried_out_though_its_caller_is_cancelled(
    store: LedgerStore, record: BroadcastRecord
) -> None:
    async with store.join(record, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        await lease.claim(row)
        settling = asyncio.create_task(lease.settle(row, ACCEPTED))
        await asyncio.sleep(0)
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
    assert (await rows_of(store, record))[row.id].state is SendState.ACCEPTED


async def test_cancelling_the_run_leaves_nothing_reserved(store: LedgerStore, record: BroadcastRecord) -> None:
    taken = asyncio.Event()

    async def work() -> None:
        async with store.join(record, messages_per_second=0) as lease:
            await lease.take(5)
            taken.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await taken.wait()
    assert await _held(store) == 5
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()  # an impatient second one does not keep the goodbye from being said
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await _held(store) == 0


async def _held(store: LedgerStore) -> int:
    async with store._database.reading() as connection:
        rows = await connection.execute(sends.select().where(sends.c.owner.is_not(None)))
        return len(rows.all())


async def test_rows_reserved_by_a_commit_whose_answer_was_lost_are_found_again(
    store: LedgerStore, record: BroadcastRecord, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    reservation = lease._reservation
    reserve, calls = reservation._reserve, 0

    async def committed_but_unheard(connection: object, *of: object) -> object:
        nonlocal calls
        calls += 1
        taken = await reserve(connection, *of)  # type: ignore[arg-type]
        if calls == 1:
            await connection.commit()  # type: ignore[attr-defined]
            raise ConnectionResetError("the answer was lost")
        return taken

    monkeypatch.setattr(reservation, "_reserve", committed_but_unheard)
    taken = await lease.take(4)
    assert [row.id for row in taken] == sorted(await rows_of(store, record))[:4]
    assert await _held(store) == 4


async def test_what_is_left_is_counted_by_who_holds_it(store: LedgerStore, record: BroadcastRecord) -> None:
    async with store.join(record, messages_per_second=0) as first, store.join(record, messages_per_second=0) as second:
        row, *_ = await first.take(3)
        await first.claim(row)
        await second.take(2)
        left = await second.outstanding()
        assert (left.queued, left.held_by_others) == (5, 3)


async def test_an_unhealthy_owner_does_not_claim_until_the_ledger_hears_of_it(
    store: LedgerStore, record: BroadcastRecord
) -> None:
    async with store.join(record, messages_per_second=0, lapse_seconds=0.6, beat_seconds=0.05) as lease:
        (row,) = await lease.take(1)
        async with lease._heartbeat.beating:  # no heartbeat gets through
            await asyncio.sleep(0.35)
            assert not lease.healthy
            claim = asyncio.create_task(lease.claim(row))
            await asyncio.sleep(0.1)
            assert not claim.done()
        await claim
        assert lease.healthy
        await lease.settle(row, ACCEPTED)


async def test_a_claim_whose_commit_outlasted_its_owner_is_not_sent(
    store: LedgerStore, record: BroadcastRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store.join(record, messages_per_second=0, lapse_seconds=0.4, beat_seconds=0.05) as lease:
        (row,) = await lease.take(1)
        commit = store._writer._commits.commit

        async def slow_commit(group: object) -> set[str]:
            matched = await commit(group)  # type: ignore[arg-type]
            async with lease._heartbeat.beating:
                await asyncio.sleep(0.3)
                await be_declared_gone(store, lease)
            return matched

        with monkeypatch.context() as slowly:
            slowly.setattr(store._writer._commits, "commit", slow_commit)
            with pytest.raises(ClaimLostError, match="nothing was sent"):
                await lease.claim(row)
        await store._writer.flush()
    assert (await rows_of(store, record))[row.id].state is SendState.QUEUED


async def test_each_owner_is_written_down_with_its_run(store: LedgerStore, record: BroadcastRecord) -> None:
    async with store.join(record, flow_run_id="run-7", messages_per_second=0), store._database.reading() as connection:
        (entry,) = (await connection.execute(leases.select())).all()
        assert (entry.flow_run_id, entry.sender, entry.left_at) == ("run-7", "graph:100200300", None)
    async with store._database.reading() as connection:
        (entry,) = (await connection.execute(leases.select())).all()
        assert entry.left_at is not None


async def test_owners_of_other_senders_are_left_alone(store: LedgerStore, record: BroadcastRecord) -> None:
    other = await begin(store, 5, "other")
    async with (
        store.join(record, sender="graph:1", messages_per_second=0) as one,
        store.join(other, sender="graph:2", messages_per_second=0) as two,
    ):
        await one.recover()
        await two.recover()
        assert (one.active_runs, two.active_runs) == (1, 1)
        async with store.join(other, sender="graph:1", messages_per_second=0):
            await one.recover()
            await two.recover()
            assert (one.active_runs, two.active_runs) == (2, 2)  # one for its pace, the other for its rows


async def test_a_claim_of_a_restored_ledger_never_has_the_token_of_one_before_it(
    store: LedgerStore, record: BroadcastRecord
) -> None:
    """A restored database gives its numbers again; a late outcome must not settle another run's claim."""
    tokens = []
    for _ in range(2):
        async with store.join(record, messages_per_second=0) as lease:
            (row,) = await lease.take(1)
            await lease.claim(row)
            tokens.append(lease._tokens[row.id])
            await lease.settle(row, AGAIN)
        async with store._database.writing() as connection:  # as the sequence is after a restore
            await connection.execute(leases.delete())
    assert tokens[0] != tokens[1]


async def test_a_row_whose_claim_is_being_committed_is_not_given_back_where_others_have_the_whole_rate(
    store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stayed reserved by a run that no longer knew of it, and nobody sent it."""
    record = await begin(store, 1)
    async with store.join(record, messages_per_second=0) as lease:
        [row] = await lease.take(1)
        claiming = asyncio.ensure_future(lease.claim(row))
        await asyncio.sleep(0)
        with monkeypatch.context() as others_have_it:
            others_have_it.setattr(Lease, "share", 0.0)
            await lease._yield_rows()
        await claiming
        await lease.settle(row, Outcome(SendState.QUEUED))
        await lease.claim(row)
        await lease.settle(row, Outcome(SendState.ACCEPTED))
