"""A plan that waits for approval is sent by nobody, whoever asks the ledger for rows."""

from ledgers import begin, people
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.ledger.history import Actor

ASKER, OTHER = Actor("ada", "host-a", "run-1"), Actor("eve", "host-b")


async def taken(store: LedgerStore, name: str = "weekly", n: int = 10) -> int:
    """How many rows a run of that broadcast would get now."""
    record = await store.find_broadcast(name)
    assert record
    async with store.join(record, messages_per_second=0) as lease:
        rows = await lease.take(n)
        assert (await lease.outstanding()).queued + len(rows) >= len(rows)
        await lease.give_back(rows)
    return len(rows)


async def test_a_broadcast_whose_plan_nobody_asked_about_is_sent(store: LedgerStore) -> None:
    record = await begin(store, 3)
    assert await store.find_approval(record) is None
    assert await taken(store) == 3


async def test_no_run_is_given_a_row_while_the_plan_waits(store: LedgerStore) -> None:
    record = await begin(store, 3)
    await store.request_approval(record, ASKER)
    assert await taken(store) == 0
    async with store.join(record) as lease:
        assert (await lease.outstanding()).queued == 0  # nothing that a run could wait for
    assert (await begin(store, 2, "other")).id
    assert await taken(store, "other") == 2


async def test_a_held_plan_is_closed_before_its_rows_are_written(store: LedgerStore) -> None:
    record = await begin(store)
    await store.hold(record, ASKER)
    await store.plan(record, people(3))
    assert await taken(store) == 0


async def test_an_approved_plan_is_sent_and_says_who_asked_and_who_approved(store: LedgerStore) -> None:
    record = await begin(store, 3)
    digest = await store.request_approval(record, ASKER)
    assert await store.approve(record, digest, OTHER)
    approval = await store.find_approval(record)
    assert approval
    assert approval.approved_at
    assert approval.approved_at >= approval.requested_at
    assert (approval.digest, approval.requested_by, approval.approved_by) == (digest, "ada@host-a", "eve@host-b")
    assert await taken(store) == 3


async def test_recipients_added_after_the_approval_wait_for_one_of_their_own(store: LedgerStore) -> None:
    record = await begin(store, 3)
    await store.approve(record, await store.request_approval(record, ASKER), ASKER)
    await store.plan(record, people(2, start=3))
    assert await taken(store) == 3
    await store.approve(record, await store.request_approval(record, ASKER), ASKER)
    assert await taken(store) == 5


async def test_a_word_for_another_plan_approves_nothing(store: LedgerStore) -> None:
    record = await begin(store, 3)
    digest = await store.request_approval(record, ASKER)
    await store.plan(record, people(1, start=3))
    assert not await store.approve(record, digest, ASKER)
    assert await taken(store) == 0


async def test_asking_again_about_the_same_plan_keeps_the_first_moment(store: LedgerStore) -> None:
    record = await begin(store, 3)
    await store.request_approval(record, ASKER)
    first = await store.find_approval(record)
    await store.request_approval(record, OTHER)
    assert first is not None
    assert await store.find_approval(record) == first
