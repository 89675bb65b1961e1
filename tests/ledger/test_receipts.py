"""Statuses in the ledger: what is told in any order leaves what it says, and no more."""

import datetime
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect_whatsapp.ledger import LedgerStore, Outcome
from prefect_whatsapp.ledger.statuses import Standing, advance
from prefect_whatsapp.models import ARRIVED_STATES, SendState
from prefect_whatsapp.models.updates import Unread
from told_rows import ACCOUNT, LATER, NOW, accepted, begin, numbers, only, record, send, status

STATUS_STATES = [
    SendState.ACCEPTED,
    SendState.SENT,
    SendState.FAILED,
    SendState.DELIVERED,
    SendState.READ,
    SendState.PLAYED,
]


@given(told=st.lists(st.sampled_from(STATUS_STATES), min_size=1, max_size=12), seed=st.integers())
@settings(max_examples=300)
def test_statuses_in_any_order_and_number_leave_the_same_row(told: list[SendState], seed: int) -> None:
    """A property of the one function that moves rows: whatever the order of the events, no row ever moves back."""

    def after(states: Sequence[SendState]) -> Standing:
        row = Standing(SendState.ACCEPTED, attempts=1, message_id="wamid.0", bare_id="wamid.0", settled_at=NOW)
        for state in states:
            moved = advance(row, status(state, code="131026"))
            assert STATUS_STATES.index(moved.state) >= STATUS_STATES.index(row.state)
            row = moved
        return row

    shuffled = told * 2
    random.Random(seed).shuffle(shuffled)
    assert after(shuffled) == after(sorted(set(told), key=STATUS_STATES.index))


@pytest.mark.parametrize("state", STATUS_STATES)
async def test_a_status_moves_its_row_and_keeps_the_services_time(store: LedgerStore, state: SendState) -> None:
    broadcast = await accepted(store)
    await record(store, status(state, code="131026", text="undeliverable"))
    row = await only(store, broadcast)
    assert row.state is state
    if state in ARRIVED_STATES or state is SendState.SENT:
        assert getattr(row, f"{state.value}_at") == LATER[state]
    assert row.failed_late is (state is SendState.FAILED)
    assert (row.error_code, row.error_text) == (("131026", "undeliverable") if row.failed_late else ("", ""))


async def test_a_row_only_moves_forward_and_delivered_beats_failed(store: LedgerStore) -> None:
    broadcast = await accepted(store)
    for told, then in (
        (SendState.FAILED, SendState.FAILED),
        (SendState.SENT, SendState.FAILED),
        (SendState.DELIVERED, SendState.DELIVERED),
        (SendState.FAILED, SendState.DELIVERED),
        (SendState.PLAYED, SendState.PLAYED),
        (SendState.READ, SendState.PLAYED),
    ):
        await record(store, status(told))
        assert (await only(store, broadcast)).state is then
    assert (await only(store, broadcast)).error_text == ""


async def test_the_same_status_twice_is_kept_once(store: LedgerStore) -> None:
    await accepted(store)
    for _ in range(3):
        await record(store, status(SendState.SENT), status(SendState.SENT))
    assert await store.receipts.parked() == 0


async def test_a_message_is_found_by_its_bare_id(store: LedgerStore) -> None:
    broadcast = await accepted(store, "true_16505550123@c.us_3EB0AA")
    await record(store, status(SendState.DELIVERED, "3EB0AA", aliases=("777@lid",)))
    row = await only(store, broadcast)
    assert (row.state, row.message_id) == (SendState.DELIVERED, "true_16505550123@c.us_3EB0AA")


async def test_a_status_of_another_account_moves_nothing(store: LedgerStore) -> None:
    broadcast = await accepted(store)
    await record(store, status(SendState.DELIVERED, account="999"))
    await store.receipts.record("waha", [status(SendState.DELIVERED)], received_at=NOW)
    assert (await only(store, broadcast)).state is SendState.ACCEPTED
    assert await store.receipts.parked() == 2


async def test_an_early_status_is_parked_and_matched_when_the_send_is_settled(store: LedgerStore) -> None:
    broadcast = await begin(store, numbers(1))
    async with store.join(broadcast, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        await lease.claim(row)
        await record(store, status(SendState.SENT, "3EB0AA"), status(SendState.READ, "3EB0AA"))
        assert (await store.receipts.match_parked()).matched == 0
        await lease.settle(row, Outcome(SendState.ACCEPTED, message_id="true_1@c.us_3EB0AA"))
    assert (await store.receipts.match_parked()).matched == 2
    assert (await only(store, broadcast)).state is SendState.READ
    assert (await store.receipts.match_parked()).matched == 0


async def test_many_parked_statuses_are_matched_in_pieces(store: LedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_whatsapp.ledger.receipts.IN_A_QUERY", 50)
    count = 120
    broadcast = await begin(store, numbers(count))
    await record(store, *(status(SendState.DELIVERED, f"wamid.{place}") for place in range(1, count + 30)))
    async with store.join(broadcast, messages_per_second=0) as lease:
        for _ in range(count):
            await send(lease)
    found = await store.receipts.match_parked()
    counts = await store.counts(broadcast)
    assert counts[SendState.DELIVERED] == count == found.matched
    assert found.moved == {broadcast.number}


async def test_by_the_callback_a_row_that_is_still_sending_has_its_status_at_once(store: LedgerStore) -> None:
    broadcast = await begin(store, numbers(1))
    async with store.join(broadcast, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        await lease.claim(row)
        await record(store, status(SendState.DELIVERED, "wamid.7", callback=row.callback))
        await lease.settle(row, Outcome(SendState.ACCEPTED, message_id="wamid.7"))
    after = await only(store, broadcast)
    assert (after.state, after.message_id) == (SendState.DELIVERED, "wamid.7")


async def test_by_a_reserved_id_a_row_is_found_while_it_is_sent_and_after_its_run_is_gone(store: LedgerStore) -> None:
    broadcast = await begin(store, numbers(2))
    async with store.join(broadcast, messages_per_second=0) as lease:
        first, second = await lease.take(2)
        await lease.claim(first, message_id="3EB0AA")
        await record(store, status(SendState.SENT, "3EB0AA"))
        assert [row.state async for row in store.rows(broadcast)] == [SendState.SENT, SendState.QUEUED]
        await lease.settle(first, Outcome(SendState.ACCEPTED, message_id="true_1@c.us_3EB0AA"))
        await lease.claim(second, message_id="3EB0BB")
    assert [row.state async for row in store.rows(broadcast)] == [SendState.SENT, SendState.UNKNOWN]
    await record(store, status(SendState.DELIVERED, "3EB0BB"))
    _, after = [row async for row in store.rows(broadcast)]
    assert (after.state, after.message_id, after.resolved_by) == (SendState.DELIVERED, "3EB0BB", "message id")


async def test_a_server_that_gave_the_message_another_id_than_the_reserved_one_has_the_last_word(
    store: LedgerStore,
) -> None:
    broadcast = await begin(store, numbers(1))
    async with store.join(broadcast, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        await lease.claim(row, message_id="3EB0AA")
        await lease.settle(row, Outcome(SendState.ACCEPTED, message_id="true_1@c.us_3EB0CC"))
    await record(store, status(SendState.READ, "3EB0AA"), status(SendState.DELIVERED, "3EB0CC"))
    assert (await only(store, broadcast)).state is SendState.DELIVERED


@pytest.mark.parametrize("state", STATUS_STATES[1:])
async def test_any_status_with_our_callback_resolves_an_unknown(store: LedgerStore, state: SendState) -> None:
    broadcast = await begin(store, numbers(1))
    async with store.join(broadcast, messages_per_second=0) as lease:
        row = await send(lease, SendState.UNKNOWN, "")
    await record(store, status(state, "wamid.7", callback=row.callback))
    after = await only(store, broadcast)
    assert (after.state, after.message_id, after.resolved_by) == (state, "wamid.7", "callback")
    await record(store, status(SendState.PLAYED, "wamid.7"))
    assert (await only(store, broadcast)).state is SendState.PLAYED


async def test_a_status_of_an_earlier_message_says_nothing_of_a_later_one_whose_answer_was_lost(
    store: LedgerStore,
) -> None:
    broadcast = await begin(store, numbers(1))
    async with store.join(broadcast, messages_per_second=0) as lease:
        row = await send(lease, message_id="wamid.first")
    failed = status(SendState.FAILED, "wamid.first", callback=row.callback)
    await record(store, failed)
    assert await store.requeue(broadcast, SendState.FAILED) == 1
    async with store.join(broadcast, messages_per_second=0) as lease:
        later = await send(lease, SendState.UNKNOWN, "")
    assert later.callback != row.callback
    await record(store, failed)  # services repeat their webhooks
    await record(store, status(SendState.SENT, "wamid.first", callback=row.callback))
    assert (await only(store, broadcast)).state is SendState.UNKNOWN
    await record(store, status(SendState.SENT, "wamid.second", callback=later.callback))
    assert (await only(store, broadcast)).message_id == "wamid.second"


async def test_a_first_message_that_fails_late_leaves_the_second_one_unknown(store: LedgerStore) -> None:
    broadcast = await begin(store, numbers(1))
    async with store.join(broadcast, messages_per_second=0) as lease:
        row = await send(lease, SendState.UNKNOWN, "")
    assert await store.requeue(broadcast, SendState.UNKNOWN) == 1
    async with store.join(broadcast, messages_per_second=0) as lease:
        later = await send(lease, SendState.UNKNOWN, "")
    await record(store, status(SendState.FAILED, "wamid.first", callback=row.callback))
    assert (await only(store, broadcast)).state is SendState.UNKNOWN
    await record(store, status(SendState.FAILED, "wamid.second", callback=later.callback))
    assert (await only(store, broadcast)).state is SendState.FAILED


async def test_a_status_comes_in_time_to_save_a_second_message(store: LedgerStore) -> None:
    broadcast = await begin(store, numbers(1))
    async with store.join(broadcast, messages_per_second=0) as lease:
        row = await send(lease, SendState.UNKNOWN, "")
    assert await store.requeue(broadcast, SendState.UNKNOWN) == 1
    await record(store, status(SendState.FAILED, "wamid.1", callback=row.callback))
    assert (await only(store, broadcast)).state is SendState.QUEUED
    await record(store, status(SendState.SENT, "wamid.1", callback=row.callback))
    assert (await only(store, broadcast)).state is SendState.QUEUED  # that one is known to have failed
    await record(store, status(SendState.SENT, "wamid.2", callback=row.callback))
    assert (await only(store, broadcast)).state is SendState.SENT


async def test_what_failed_late_is_sent_again_and_old_statuses_leave_the_new_message_alone(store: LedgerStore) -> None:
    broadcast = await begin(store, numbers(1))
    async with store.join(broadcast, messages_per_second=0) as lease:
        row = await send(lease, message_id="wamid.first")
    failed = status(SendState.FAILED, "wamid.first", callback=row.callback)
    await record(store, failed)
    assert await store.requeue(broadcast, SendState.FAILED) == 1
    await record(store, status(SendState.SENT, "wamid.first", callback=row.callback))
    assert (await only(store, broadcast)).state is SendState.QUEUED
    async with store.join(broadcast, messages_per_second=0) as lease:
        await send(lease, message_id="wamid.second")
    await record(store, failed, status(SendState.SENT, "wamid.first", callback=row.callback))
    assert (await only(store, broadcast)).state is SendState.ACCEPTED
    await record(store, status(SendState.DELIVERED, "wamid.first", callback=row.callback))
    assert (await only(store, broadcast)).state is SendState.DELIVERED


async def test_a_failure_of_an_earlier_message_does_not_fail_the_one_that_is_accepted(store: LedgerStore) -> None:
    broadcast = await begin(store, numbers(1))
    async with store.join(broadcast, messages_per_second=0) as lease:
        row = await send(lease, SendState.UNKNOWN, "")
    await store.requeue(broadcast, SendState.UNKNOWN)
    async with store.join(broadcast, messages_per_second=0) as lease:
        (again,) = await lease.take(1)
        await lease.claim(again)
        await record(store, status(SendState.FAILED, "wamid.1", callback=row.callback))
        await lease.settle(again, Outcome(SendState.ACCEPTED, message_id="wamid.2"))
    after = await only(store, broadcast)
    assert (after.state, after.message_id, after.error_code) == (SendState.ACCEPTED, "wamid.2", "")


async def test_a_status_does_not_touch_what_was_never_claimed(store: LedgerStore) -> None:
    broadcast = await begin(store, numbers(1))
    row = await only(store, broadcast)
    await record(store, status(SendState.DELIVERED, callback=row.callback))
    assert (await only(store, broadcast)).state is SendState.QUEUED


@pytest.mark.parametrize("callback", ["", "x", "0" * 32 + ":1", "0" * 32 + ":" + "9" * 40, "\0"])
async def test_a_callback_that_is_not_ours_moves_nothing(store: LedgerStore, callback: str) -> None:
    broadcast = await accepted(store)
    await record(store, status(SendState.READ, "wamid.other\0\ud800", callback=callback))
    assert (await only(store, broadcast)).state is SendState.ACCEPTED


async def test_what_is_parked_is_forgotten_after_eight_days(store: LedgerStore) -> None:
    await record(store, status(SendState.READ), Unread(ACCOUNT, "account_update", {"event": "X"}))
    assert await store.receipts.forget_old(now=NOW + datetime.timedelta(days=7)) == 0
    assert await store.receipts.forget_old(now=NOW + datetime.timedelta(days=9)) == 2
    assert await store.receipts.parked() == 0


async def test_what_is_parked_is_forgotten_in_pieces(store: LedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_whatsapp.ledger.receipts._IN_A_DELETION", 7)
    await record(store, *(status(SendState.READ, f"wamid.{n}") for n in range(30)))
    assert await store.receipts.forget_old(now=NOW + datetime.timedelta(days=9)) == 30
    assert await store.receipts.parked() == 0


async def test_statuses_of_an_account_that_is_not_ours_do_not_hold_up_those_that_are(store: LedgerStore) -> None:
    """Another app's, on the same account: they stay parked, and each look goes past them."""
    await record(store, *(status(SendState.READ, f"wamid.theirs{n}") for n in range(700)))
    await record(store, status(SendState.READ, account="999"), status(SendState.DELIVERED))
    broadcast = await accepted(store)
    found = await store.receipts.match_parked()
    assert (found.matched, found.moved) == (1, {broadcast.number})
    assert (await only(store, broadcast)).state is SendState.DELIVERED
    assert await store.receipts.parked() == 701
