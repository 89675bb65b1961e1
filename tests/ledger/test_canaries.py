"""A canary goes first: whichever run asks the ledger for rows gets no other before it has passed."""

from ledgers import begin, people
from prefect_whatsapp.ledger import BroadcastRecord, Lease, LedgerStore, Outcome, Row
from prefect_whatsapp.models import SendState

FAILED = Outcome(SendState.FAILED, error_code="131026", error_text="Message undeliverable.")


async def take(store: LedgerStore, record: BroadcastRecord, n: int = 100) -> list[Row]:
    """The rows that another run would get now."""
    async with store.join(record, messages_per_second=0) as lease:
        rows = await lease.take(n)
        await lease.give_back(rows)
    return rows


async def send(lease: Lease, row: Row, outcome: Outcome) -> None:
    await lease.claim(row)
    await lease.settle(row, outcome)


async def test_only_the_canarys_rows_are_given_until_it_has_passed(store: LedgerStore) -> None:
    record = await begin(store, 10)
    assert await store.begin_canary(record, 3)
    first = await take(store, record)
    assert len(first) == 3
    async with store.join(record, messages_per_second=0) as lease:
        for row in await lease.take(100):
            await send(lease, row, Outcome(SendState.ACCEPTED, message_id=f"wamid.{row.id}"))
        assert await lease.take(100) == []
        assert (await lease.outstanding()).queued == 0  # nothing that a run could wait for
    await store.pass_canary(record)
    assert len(await take(store, record)) == 7


async def test_a_run_that_begins_it_again_gets_the_rest_of_the_same_canary(store: LedgerStore) -> None:
    """A killed run's promise is the next one's."""
    record = await begin(store, 10)
    await store.begin_canary(record, 4)
    async with store.join(record, messages_per_second=0) as lease:
        rows = await lease.take(2)
        await lease.claim(rows[0])  # and it is gone
    assert await store.begin_canary(record, 4)
    assert await store.begin_canary(record, 9)
    assert len(await take(store, record)) == 3
    tally = await store.canary(record)
    assert tally
    assert (tally.queued, tally.sent, tally.silent, tally.beyond) == (3, 1, 1, True)


async def test_what_has_passed_holds_nobody_again_and_other_broadcasts_never(store: LedgerStore) -> None:
    record = await begin(store, 4)
    await store.begin_canary(record, 1)
    other = await begin(store, 4, "other")
    assert len(await take(store, other)) == 4
    await store.pass_canary(record)
    await store.plan(record, people(3, start=100))
    assert not await store.begin_canary(record, 2)
    assert len(await take(store, record)) == 7
    assert not await store.lift_canary(record)


async def test_a_canary_that_is_lifted_holds_nobody(store: LedgerStore) -> None:
    record = await begin(store, 4)
    await store.begin_canary(record, 1)
    assert await store.lift_canary(record)
    assert len(await take(store, record)) == 4
    assert await store.canary(record) is None


async def test_where_nothing_is_queued_there_is_no_canary(store: LedgerStore) -> None:
    record = await begin(store)
    assert not await store.begin_canary(record, 5)
    assert await store.canary(record) is None


async def test_what_came_back_is_counted_with_the_reasons(store: LedgerStore) -> None:
    record = await begin(store, 9)
    await store.begin_canary(record, 6)
    outcomes = [
        Outcome(SendState.ACCEPTED, message_id="wamid.1"),
        FAILED,
        FAILED,
        Outcome(SendState.SKIPPED, error_text="closed"),
        Outcome(SendState.UNKNOWN),
    ]
    async with store.join(record, messages_per_second=0) as lease:
        for row, outcome in zip(await lease.take(5), outcomes, strict=True):
            await send(lease, row, outcome)
    tally = await store.canary(record)
    assert tally
    assert (tally.queued, tally.sent, tally.failed, tally.silent) == (1, 4, 2, 2)
    assert tally.reasons == [("131026", "Message undeliverable.", 2)]
    assert tally.last_sent_at is not None
    await store.requeue(record, SendState.FAILED)
    assert len(await take(store, record)) == 3  # they are the canary's still
