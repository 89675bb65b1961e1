"""A person is erased by every address; nobody is sent to twice by it, and no opt-out is lost."""

import pytest
import sqlalchemy as sa
from named_people import ACCOUNT, ADA, LID, NOW, NUMBER, OTHER, begin, rows, send_all, wamid
from prefect_whatsapp.ledger import LedgerStore, Outcome, RemovedRow
from prefect_whatsapp.ledger.history import Action
from prefect_whatsapp.ledger.schema import metadata, sends
from prefect_whatsapp.models import Recipient, SendState
from prefect_whatsapp.models.errors import ClaimLostError, LedgerError, OptedOutError
from prefect_whatsapp.models.updates import Inbound, Item, StatusUpdate, Unread


async def tell(store: LedgerStore, *items: Item) -> None:
    await store.receipts.record("graph", items, received_at=NOW)


def wrote(address: str, *, opted_out: bool | None = None, word: str = "") -> Inbound:
    return Inbound(ACCOUNT, f"in-{address}-{word}", NOW, "text", (address,), word=word, opted_out=opted_out)


async def everything(store: LedgerStore) -> str:
    """Every cell of every table."""
    async with store._database.reading() as connection:
        cells = [await connection.execute(sa.select(table)) for table in metadata.sorted_tables]
        return "\n".join(repr(tuple(row)) for found in cells for row in found)


async def test_nothing_in_the_ledger_names_them_any_more(store: LedgerStore) -> None:
    record = await begin(store, [NUMBER, OTHER])
    await store.remove(
        record, [RemovedRow(3, "+1 (650) 555-0123", "repeats an earlier row"), RemovedRow(4, "0650 555-0123", "x")]
    )
    await send_all(store, record)
    mine, _ = await rows(store, record)
    await tell(
        store,
        StatusUpdate(ACCOUNT, mine.message_id, SendState.DELIVERED, NOW, aliases=(LID,)),
        StatusUpdate(ACCOUNT, wamid(NUMBER, 99), SendState.READ, NOW),
        wrote(LID),
        Unread(ACCOUNT, "calls", {"from": NUMBER[1:]}),
    )
    found = await store.forget(NUMBER, ADA)
    assert (found.rows, found.removed_lines, found.replies, found.webhooks, found.broadcasts) == (
        1,
        2,
        1,
        1,
        ("weekly",),
    )
    assert found.receipts == 2
    left = await everything(store)
    for trace in (NUMBER[1:], "650) 555-0123", "0650 555-0123", LID, f"name of {NUMBER}", wamid(NUMBER, 1)[:25]):
        assert trace not in left, trace
    assert f"name of {OTHER}" in left


async def test_a_row_keeps_the_line_of_its_list_and_a_forgotten_one_does_not(store: LedgerStore) -> None:
    record = await begin(store, [])
    await store.plan(record, [Recipient.stored(NUMBER), Recipient.stored(OTHER)], [2, 7])
    assert [row.line for row in await rows(store, record)] == [2, 7]
    await store.forget(NUMBER, ADA)
    assert [row.line for row in await rows(store, record)] == [0, 7]


async def test_the_counts_of_their_broadcasts_stay(store: LedgerStore) -> None:
    record = await begin(store, [NUMBER, OTHER])
    await send_all(store, record)
    before = await store.counts(record)
    await store.forget(NUMBER, ADA)
    assert await store.counts(record) == before
    assert sorted(row.recipient for row in await rows(store, record)) == [OTHER, "forgotten"]


async def test_who_got_it_gets_it_no_second_time_by_the_same_list(store: LedgerStore) -> None:
    record = await begin(store, [NUMBER, OTHER])
    assert await send_all(store, record) == [NUMBER, OTHER]
    await store.forget(NUMBER, ADA)
    assert await store.plan(record, [Recipient.stored(NUMBER), Recipient.stored(OTHER)]) == 0
    assert await send_all(store, record) == []


async def test_who_was_still_to_get_it_gets_nothing_under_that_name(store: LedgerStore) -> None:
    record = await begin(store, [NUMBER, OTHER])
    found = await store.forget(NUMBER, ADA)
    assert found.not_sent == 1
    assert await store.plan(record, [Recipient.stored(NUMBER)]) == 0
    assert await send_all(store, record) == [OTHER]
    for state in (SendState.SKIPPED, SendState.FAILED, SendState.UNKNOWN):
        assert await store.requeue(record, state) == 0
    skipped = next(row for row in await rows(store, record) if row.forgotten)
    assert (skipped.state, skipped.error_kind) == (SendState.SKIPPED, "forgotten")


async def test_a_run_that_had_taken_their_row_does_not_send_it(store: LedgerStore) -> None:
    record = await begin(store, [NUMBER])
    async with store.join(record, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        await store.forget(NUMBER, ADA)
        with pytest.raises(ClaimLostError):
            await lease.claim(row)


@pytest.mark.parametrize("state", [SendState.QUEUED, SendState.UNKNOWN])
async def test_a_forgotten_row_is_never_claimed_whatever_else_is_said_of_it(
    store: LedgerStore, state: SendState
) -> None:
    """The claim has the last word: not even a row that something queued again, reserved and consented to is sent."""
    record = await begin(store, [NUMBER])
    async with store.join(record, flow_run_id="run", messages_per_second=0, resend=True) as lease:
        (row,) = await lease.take(1)
        await store.forget(NUMBER, ADA)
        again = {"state": state, "owner": lease._heartbeat.lease_id, "resend": "run"}
        again["claim"] = f"{lease._heartbeat.key}.1"  # as if the first claim's answer had been lost
        async with store._database.writing() as connection:
            await connection.execute(sa.update(sends).values(again))
        with pytest.raises(ClaimLostError):
            await lease.claim(row)


async def test_what_is_being_sent_at_this_moment_is_not_forgotten_halfway(store: LedgerStore) -> None:
    record = await begin(store, [NUMBER])
    async with store.join(record, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        await lease.claim(row)
        with pytest.raises(LedgerError, match="being sent at this moment"):
            await store.forget(NUMBER, ADA)
        await lease.settle(row, Outcome(SendState.ACCEPTED, message_id="wamid.1"))
    assert (await store.forget(NUMBER, ADA)).rows == 1


async def test_what_was_unknown_stays_unknown_and_is_not_sent_again(store: LedgerStore) -> None:
    record = await begin(store, [NUMBER])
    async with store.join(record, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        await lease.claim(row)
        await lease.settle(row, Outcome(SendState.UNKNOWN, error_text=f"no answer about {NUMBER}"))
    await store.forget(NUMBER, ADA)
    async with store.join(record, messages_per_second=0, resend=True) as lease:
        assert await lease.consent() == 0
        assert await lease.take(1) == []
    assert (await store.counts(record))[SendState.UNKNOWN] == 1


async def test_a_late_status_is_counted_and_brings_no_number_back(store: LedgerStore) -> None:
    record = await begin(store, [NUMBER])
    await send_all(store, record)
    (row,) = await rows(store, record)
    await store.forget(NUMBER, ADA)
    late = StatusUpdate(ACCOUNT, row.message_id, SendState.DELIVERED, NOW, callback=row.callback, aliases=(NUMBER,))
    await tell(store, late)
    assert (await store.counts(record))[SendState.DELIVERED] == 1
    left = await everything(store)
    assert NUMBER[1:] not in left
    assert row.message_id not in left


async def test_an_opt_out_stays_as_a_hash_and_is_obeyed_by_the_next_broadcast(store: LedgerStore) -> None:
    await tell(store, wrote(NUMBER, opted_out=True, word="stop"))
    found = await store.forget(NUMBER, ADA)
    assert (found.opted_out, found.replies) == (True, 1)
    assert NUMBER[1:] not in await everything(store)
    assert await store.people.opted_out([NUMBER, OTHER]) == {NUMBER}
    assert [each.address async for each in store.people.opt_outs()] == ["forgotten"]
    record = await begin(store, [NUMBER, OTHER], "next")
    async with store.join(record, messages_per_second=0) as lease:
        row, _ = await lease.take(2)
        with pytest.raises(OptedOutError):
            await lease.claim(row)
    assert await store.people.opted_out_rows(record) == 1


SHORT, LONG = "+52" + "5550001234", "+52" + "1" + "5550001234"  # one account of Mexico


@pytest.mark.parametrize("written", [SHORT, LONG])
async def test_an_opt_out_that_was_forgotten_holds_in_every_spelling(store: LedgerStore, written: str) -> None:
    await store.people.opt_out([LONG], source="import")
    await store.forget(SHORT, ADA)
    assert await store.people.opted_out([written]) == {written}
    record = await begin(store, [written])
    assert await store.people.skip_opted_out(record) == 1


async def test_who_was_forgotten_may_want_messages_again(store: LedgerStore) -> None:
    await store.people.opt_out([NUMBER], source="import")
    await store.forget(NUMBER, ADA)
    assert await store.people.opt_in([NUMBER], source="command") == 1
    assert await store.people.opted_out([NUMBER]) == set()
    assert await send_all(store, await begin(store, [NUMBER])) == [NUMBER]


async def test_of_who_has_not_opted_out_nothing_is_left_and_a_new_list_may_have_them(store: LedgerStore) -> None:
    await tell(store, wrote(NUMBER))
    assert not (await store.forget(NUMBER, ADA)).opted_out
    assert await send_all(store, await begin(store, [NUMBER], "next")) == [NUMBER]


async def test_a_dry_run_tells_the_same_and_changes_nothing(store: LedgerStore) -> None:
    record = await begin(store, [NUMBER, OTHER])
    await send_all(store, record)
    await tell(store, wrote(NUMBER, opted_out=True, word="stop"))
    before = await everything(store)
    told = await store.forget(NUMBER, ADA, dry_run=True)
    assert await everything(store) == before
    assert await store.forget(NUMBER, ADA) == told


async def test_the_history_says_that_it_was_done_and_not_of_whom(store: LedgerStore) -> None:
    await begin(store, [NUMBER])
    await store.forget(NUMBER, ADA)
    (entry,) = await store.history()
    assert (entry.action, entry.user, entry.detail) == (Action.FORGOT, "ada", "1 rows, 1 of them unsent, 0 replies")


async def test_a_member_of_a_group_leaves_the_groups_row(store: LedgerStore) -> None:
    record = await begin(store, ["120363000000001234@g.us"])
    await send_all(store, record)
    await tell(
        store, StatusUpdate(ACCOUNT, (await rows(store, record))[0].message_id, SendState.READ, NOW, aliases=(LID,))
    )
    found = await store.forget(LID, ADA)
    assert found.rows == 0
    assert (await rows(store, record))[0].recipient == "120363000000001234@g.us"
    assert LID not in await everything(store)
