"""Who wrote and who wants no more: opt-outs, 24-hour windows, and receivers that are alive."""

import datetime

import pytest
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore, Outcome
from prefect_whatsapp.models import SendState
from prefect_whatsapp.models.errors import OptedOutError
from prefect_whatsapp.models.updates import Preference, SamePerson
from told_rows import ACCOUNT, NOW, accepted, begin, numbers, only, record, reply, send, status

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
