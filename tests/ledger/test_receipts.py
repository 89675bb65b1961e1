"""Statuses, replies and opt-outs in the ledger: what is told in any order leaves what it says, and no more."""

import datetime
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prefect_whatsapp.ledger import BroadcastRecord, Lease, LedgerStore, Outcome, Row
from prefect_whatsapp.ledger.statuses import Standing, advance
from prefect_whatsapp.models import ARRIVED_STATES, Recipient, SendState
from prefect_whatsapp.models.errors import OptedOutError
from prefect_whatsapp.models.updates import Inbound, Item, Preference, SamePerson, StatusUpdate, Unread

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
ACCOUNT = "106540"
LATER = {state: NOW + datetime.timedelta(seconds=n) for n, state in enumerate(SendState)}


def status(state: SendState, message_id: str = "wamid.0", **more: object) -> StatusUpdate:
    return replace(StatusUpdate(ACCOUNT, message_id, state, LATER[state]), **more)  # type: ignore[arg-type]


def reply(
    address: str, *, word: str = "", out: bool | None = None, at: datetime.datetime = NOW, **more: object
) -> Inbound:
    item = Inbound(ACCOUNT, f"in-{address}-{word}-{at.timestamp()}", at, "text", (address,), word=word, opted_out=out)
    return replace(item, **more)  # type: ignore[arg-type]


async def begin(store: LedgerStore, recipients: Sequence[str], name: str = "weekly") -> BroadcastRecord:
    record = await store.start_broadcast(name, kind="audio", provider="graph", account=ACCOUNT, content="abc")
    await store.plan(record, [Recipient.model_construct(to=to, name="", reply_to="") for to in recipients])
    return record


def numbers(count: int) -> list[str]:
    return [f"+1650555{place:04d}" for place in range(count)]


async def send(lease: Lease, outcome: SendState = SendState.ACCEPTED, message_id: str = "wamid.{}") -> Row:
    (row,) = await lease.take(1)
    await lease.claim(row)
    await lease.settle(row, Outcome(outcome, message_id=message_id.format(row.id)))
    return replace(row, attempts=row.attempts + 1)  # as its message's callback has it


async def only(store: LedgerStore, record: BroadcastRecord) -> Row:
    (row,) = [row async for row in store.rows(record)]
    return row


async def record(store: LedgerStore, *items: Item) -> None:
    await store.receipts.record("graph", items, received_at=NOW)


async def accepted(store: LedgerStore, message_id: str = "wamid.0", recipient: str = "+16505550123") -> BroadcastRecord:
    broadcast = await begin(store, [recipient])
    async with store.join(broadcast, messages_per_second=0) as lease:
        await send(lease, message_id=message_id)
    return broadcast


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


# Opt-outs ------------------------------------------------------------------------------------------------------------


async def claimed(store: LedgerStore, broadcast: BroadcastRecord) -> bool:
    """Whether the one row of a broadcast can be claimed."""
    async with store.join(broadcast, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        try:
            await lease.claim(row)
        except OptedOutError:
            return False
        await lease.settle(row, Outcome(SendState.QUEUED))
        return True


async def test_an_opt_out_holds_the_claim_of_every_broadcast_and_skips_the_row(store: LedgerStore) -> None:
    first, second = await begin(store, numbers(1)), await begin(store, numbers(1), "other")
    async with store.join(first, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        await record(store, reply(row.recipient, word="STOP", out=True))
        with pytest.raises(OptedOutError):
            await lease.claim(row)
    after = await only(store, first)
    assert (after.state, after.error_kind) == (SendState.SKIPPED, "opted out")
    assert not await claimed(store, second)


@pytest.mark.parametrize(
    ("listed", "wrote"),
    [
        ("+5511955550123", "+5511" + "55550123"),
        ("+5511" + "55550123", "+5511955550123"),
        ("+54" + "1155550123", "+549" + "1155550123"),
        ("+52" + "5555550123", "+521" + "5555550123"),
        ("777@lid", "777@lid"),
        ("US.1349120865", "US.1349120865"),
    ],
)
async def test_opt_outs_compare_whatsapps_own_forms(store: LedgerStore, listed: str, wrote: str) -> None:
    broadcast = await begin(store, [listed])
    await record(store, reply(wrote, word="STOP", out=True))
    assert not await claimed(store, broadcast)


async def test_start_takes_stop_back_and_the_later_word_counts_whatever_comes_first(store: LedgerStore) -> None:
    (person,) = numbers(1)
    broadcast = await begin(store, [person])
    later = NOW + datetime.timedelta(minutes=5)
    await record(store, reply(person, word="START", out=False, at=later))
    await record(store, reply(person, word="STOP", out=True))
    assert await claimed(store, broadcast)
    await record(store, reply(person, word="STOP", out=True, at=later + datetime.timedelta(seconds=1)))
    assert not await claimed(store, broadcast)


async def test_resume_undoes_only_a_native_stop_and_start_only_a_word(store: LedgerStore) -> None:
    (person,) = numbers(1)
    broadcast = await begin(store, [person])
    later = NOW + datetime.timedelta(minutes=5)
    await record(store, reply(person, word="STOP", out=True))
    await record(store, Preference(ACCOUNT, (person,), False, later, "user_preferences"))
    assert not await claimed(store, broadcast)
    await record(store, Preference(ACCOUNT, (person,), True, later, "user_preferences"))
    other = await begin(store, [person], "other")
    await record(store, reply(person, word="START", out=False, at=later))
    assert not await claimed(store, other)
    assert await store.people.opt_in([person], source="command") == 1
    assert await claimed(store, await begin(store, [person], "third"))


async def test_an_unknown_lid_is_blocked_at_once_and_its_person_when_a_status_tells_who_it_is(
    store: LedgerStore,
) -> None:
    (person,) = numbers(1)
    await record(store, reply("777@lid", word="STOP", out=True))
    assert not await claimed(store, await begin(store, ["777@lid"], "by lid"))
    broadcast = await begin(store, [person])
    async with store.join(broadcast, messages_per_second=0) as lease:
        await send(lease, message_id="3EB0AA")
    assert await claimed(store, await begin(store, [person], "before"))
    await record(store, status(SendState.DELIVERED, "3EB0AA", aliases=("777@lid",)))
    assert not await claimed(store, await begin(store, [person], "after"))


async def test_a_lid_that_a_status_told_before_is_the_person_when_it_says_stop(store: LedgerStore) -> None:
    (person,) = numbers(1)
    broadcast = await begin(store, [person])
    async with store.join(broadcast, messages_per_second=0) as lease:
        await send(lease, message_id="3EB0AA")
    await record(store, status(SendState.DELIVERED, "3EB0AA", aliases=(person, "777@lid")))
    await record(store, reply("777@lid", word="STOP", out=True))
    assert not await claimed(store, await begin(store, [person], "after"))


async def test_a_lid_that_answers_our_message_is_the_person_it_went_to(store: LedgerStore) -> None:
    await accepted(store, "3EB0AA")
    await record(store, reply("777@lid", word="STOP", out=True, answers="3EB0AA"))
    assert not await claimed(store, await begin(store, ["+16505550123"], "after"))


async def test_a_changed_number_takes_the_opt_out_along(store: LedgerStore) -> None:
    await record(store, reply("+16505550123", word="STOP", out=True))
    await record(store, SamePerson(("+16505550123", "+16505550124")), SamePerson(("+16505550125", "+16505550126")))
    assert not await claimed(store, await begin(store, ["+16505550124"]))
    assert await claimed(store, await begin(store, ["+16505550126"], "others"))


async def test_people_are_joined_with_all_they_said(store: LedgerStore) -> None:
    one, other = "+16505550123", "777@lid"
    later = NOW + datetime.timedelta(hours=1)
    await record(store, reply(one, at=later), reply(other, word="STOP", out=True))
    await record(store, SamePerson((one, other)))
    assert await store.people.opted_out([one, other, "+16505550199"]) == {one, other}
    (listed,) = [each async for each in store.people.opt_outs()]
    assert (listed.address, listed.source, listed.since) == (one, "STOP", NOW)
    broadcast = await begin(store, [one, other])
    windows = await store.people.windows(broadcast, now=later + datetime.timedelta(hours=23))
    assert (windows.open, windows.closed) == (2, 0)


async def test_a_reply_counts_once_and_says_what_it_answers(store: LedgerStore) -> None:
    broadcast = await accepted(store)
    row = await only(store, broadcast)
    item = reply("+16505550123", answers="wamid.0")
    recorded = await store.receipts.record("graph", [item, item], received_at=NOW)
    (known,) = recorded.replies
    assert (known.broadcast, known.row, known.kind) == ("weekly", row.id, "text")
    assert (await store.receipts.record("graph", [item], received_at=NOW)).replies == []


async def test_rows_of_people_who_opted_out_are_skipped_before_the_first_send(store: LedgerStore) -> None:
    people = numbers(5)
    broadcast = await begin(store, people)
    assert await store.people.opt_out(people[:2], source="import") == 2
    assert await store.people.opt_out(people[:2], source="import") == 0
    assert await store.people.skip_opted_out(broadcast) == 2
    assert await store.people.opted_out_rows(broadcast) == 2
    assert (await store.counts(broadcast))[SendState.SKIPPED] == 2


async def test_whoever_blocked_the_account_has_opted_out(store: LedgerStore) -> None:
    broadcast = await begin(store, numbers(1))
    async with store.join(broadcast, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        await lease.claim(row)
        await lease.settle(row, Outcome(SendState.FAILED, error_code="130403", error_text="blocked"))
    assert await store.people.learn_refusals(broadcast, "130403") == 1
    assert await store.people.learn_refusals(broadcast, "130403") == 0
    assert not await claimed(store, await begin(store, numbers(1), "after"))


async def test_opt_outs_are_listed_page_by_page(store: LedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_whatsapp.ledger.people._PAGE", 100)
    people = numbers(150)
    await store.people.opt_out(people, source="import")
    assert [each.address async for each in store.people.opt_outs()] == people


# Windows and receivers -----------------------------------------------------------------------------------------------


async def test_the_window_of_24_hours_opens_with_a_message_to_this_account(store: LedgerStore) -> None:
    people = numbers(4)
    broadcast = await begin(store, people)
    ago = {hours: NOW - datetime.timedelta(hours=hours) for hours in (1, 25)}
    await record(store, reply(people[0], at=ago[1]), reply(people[1], at=ago[25]))
    await record(store, reply(people[2], at=ago[1], account="other"), reply(people[3], at=ago[1], kind="reaction"))
    windows = await store.people.windows(broadcast, now=NOW)
    assert (windows.open, windows.closed) == (1, 3)
    account = f"graph:{ACCOUNT}"
    assert await store.people.open_windows([*people, people[0], "+16505550199"], account, now=NOW) == 1
    assert await store.people.skip_closed_windows(broadcast, now=NOW) == 3
    assert (await store.counts(broadcast))[SendState.QUEUED] == 1


async def test_a_receiver_has_been_alive_since_it_was_last_away(store: LedgerStore) -> None:
    hour = datetime.timedelta(hours=1)
    book, account = store.receipts, f"graph:{ACCOUNT}"
    assert await book.received_for(account, now=NOW) is None
    await book.receiving([account], now=NOW - hour)
    for minute in range(0, 61, 5):
        await book.receiving([account], now=NOW - hour + datetime.timedelta(minutes=minute))
    assert await book.received_for(account, now=NOW) == hour
    assert await book.received_for(account, now=NOW + hour) is None
    await book.receiving([account], now=NOW + hour)
    assert await book.received_for(account, now=NOW + hour) == datetime.timedelta(0)
