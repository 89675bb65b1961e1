"""`on_unknown="resend"` is one flow run's consent: no other run acts on it, and each row goes once for all its tries."""

from ledgers import begin
from prefect_whatsapp.ledger import BroadcastRecord, Lease, LedgerStore, Outcome
from prefect_whatsapp.models import SendState

LOST = Outcome(SendState.UNKNOWN, error_kind="no answer")
LATER = Outcome(SendState.QUEUED, error_kind="throttle")


async def send(lease: Lease, outcome: Outcome) -> list[str]:
    """Send all that this run is given; who got it."""
    sent: list[str] = []
    while rows := await lease.take(10):
        for row in rows:
            await lease.claim(row)
            await lease.settle(row, outcome)
            if outcome.state is not SendState.QUEUED:
                sent.append(row.recipient)
        if outcome.state is SendState.QUEUED:
            break
    return sent


async def lost(store: LedgerStore, count: int = 3) -> BroadcastRecord:
    """A broadcast whose sends are all unknown."""
    record = await begin(store, count)
    async with store.join(record, messages_per_second=0, flow_run_id="first") as lease:
        assert len(await send(lease, LOST)) == count
    return record


async def test_only_the_run_that_was_told_so_sends_what_is_unknown(store: LedgerStore) -> None:
    record = await lost(store)
    async with store.join(record, messages_per_second=0, flow_run_id="told", resend=True) as told:
        async with store.join(record, messages_per_second=0, flow_run_id="another") as another:
            assert await another.take(10) == []
            assert (await another.outstanding()).queued == 0
        assert (await told.outstanding()).queued == 3
        assert len(await send(told, Outcome(SendState.ACCEPTED))) == 3
    assert (await store.counts(record))[SendState.ACCEPTED] == 3


async def test_a_run_that_was_told_so_and_sent_nothing_leaves_no_order_to_the_next(store: LedgerStore) -> None:
    record = await lost(store)
    async with store.join(record, messages_per_second=0, flow_run_id="told", resend=True) as told:
        assert len(await told.take(10)) == 3
    assert (await store.counts(record))[SendState.UNKNOWN] == 3
    async with store.join(record, messages_per_second=0, flow_run_id="next") as ordinary:
        assert await send(ordinary, Outcome(SendState.ACCEPTED)) == []


async def test_one_flow_run_sends_a_row_once_more_however_often_it_is_tried(store: LedgerStore) -> None:
    record = await lost(store)
    counts = []
    for _ in range(4):
        async with store.join(record, messages_per_second=0, flow_run_id="told", resend=True) as told:
            counts.append(len(await send(told, LOST)))
    assert counts == [3, 0, 0, 0]
    async with store.join(record, messages_per_second=0, flow_run_id="told later", resend=True) as later:
        assert len(await send(later, LOST)) == 3


async def test_what_this_very_run_made_unknown_is_not_sent_again_at_once(store: LedgerStore) -> None:
    record = await begin(store, 3)
    async with store.join(record, messages_per_second=0, flow_run_id="told", resend=True) as told:
        assert len(await send(told, LOST)) == 3
    assert (await store.counts(record))[SendState.UNKNOWN] == 3


async def test_a_row_that_surely_did_not_leave_is_unknown_again_and_may_go_once_more(store: LedgerStore) -> None:
    record = await lost(store)
    async with store.join(record, messages_per_second=0, flow_run_id="told", resend=True) as told:
        assert await send(told, LATER) == []
        assert (await store.counts(record))[SendState.UNKNOWN] == 3
    async with store.join(record, messages_per_second=0, flow_run_id="ordinary") as ordinary:
        assert await ordinary.take(10) == []
    async with store.join(record, messages_per_second=0, flow_run_id="told", resend=True) as told:
        assert len(await send(told, Outcome(SendState.ACCEPTED))) == 3


async def test_what_a_run_that_is_gone_was_sending_goes_too(store: LedgerStore) -> None:
    record = await begin(store, 3)
    async with store.join(record, messages_per_second=0, flow_run_id="crashed") as crashed:
        for row in await crashed.take(10):
            await crashed.claim(row)
    assert (await store.counts(record))[SendState.UNKNOWN] == 3
    async with store.join(record, messages_per_second=0, flow_run_id="told", resend=True) as told:
        assert len(await send(told, Outcome(SendState.ACCEPTED))) == 3


async def test_what_becomes_unknown_while_it_sends_because_another_run_is_gone_goes_too(store: LedgerStore) -> None:
    record = await begin(store, 3)
    async with store.join(record, messages_per_second=0, flow_run_id="told", resend=True) as told:
        async with store.join(record, messages_per_second=0, flow_run_id="crashed") as crashed:
            for row in await crashed.take(10):
                await crashed.claim(row)
            assert await told.take(10) == []
        assert len(await send(told, Outcome(SendState.ACCEPTED))) == 3
