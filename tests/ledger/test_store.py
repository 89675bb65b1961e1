"""Broadcasts, their plan, their counts and rows, delivery statuses, media ids: on both databases."""

import asyncio
import datetime
from collections.abc import AsyncIterator
from typing import TypeVar

import pytest
from ledgers import begin, people
from prefect_whatsapp.ledger import BroadcastRecord, Lease, LedgerStore, Outcome, RemovedRow, Row
from prefect_whatsapp.models import Recipient, SendState
from prefect_whatsapp.models.errors import BroadcastMismatchError, LedgerError

T = TypeVar("T")
PROMISE = {
    "kind": "audio",
    "provider": "graph",
    "account": "100200",
    "content": "d1f0aa",
    "content_label": "weekly.mp3",
}


async def gathered(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


async def sent(lease: Lease, state: SendState = SendState.ACCEPTED, message_id: str = "wamid.1") -> Row:
    """Take the next row and settle it."""
    (row,) = await lease.take(1)
    await lease.claim(row)
    await lease.settle(row, Outcome(state, message_id=message_id))
    return row


async def state_of(store: LedgerStore, record: BroadcastRecord, row: Row) -> SendState:
    return {entry.id: entry.state async for entry in store.rows(record)}[row.id]


async def test_the_same_name_with_the_same_content_resumes(store: LedgerStore) -> None:
    first = await store.start_broadcast("weekly", **PROMISE)
    assert await store.start_broadcast("weekly", **{**PROMISE, "content_label": "moved/weekly.mp3"}) == first
    assert await store.find_broadcast("weekly") == first
    assert await store.find_broadcast("other") is None
    assert first.created_at.tzinfo is not None
    assert abs(datetime.datetime.now(datetime.UTC) - first.created_at) < datetime.timedelta(minutes=1)


@pytest.mark.parametrize(
    ("field", "other"), [("kind", "contacts"), ("provider", "waha"), ("account", "999"), ("content", "eeee11")]
)
async def test_the_same_name_for_something_else_is_refused_with_both_shown(
    store: LedgerStore, field: str, other: str
) -> None:
    await store.start_broadcast("weekly", **PROMISE)
    with pytest.raises(BroadcastMismatchError) as raised:
        await store.start_broadcast("weekly", **{**PROMISE, field: other})
    assert PROMISE[field] in str(raised.value)
    assert other in str(raised.value)


async def test_many_that_begin_one_name_at_once_have_one_broadcast(store: LedgerStore) -> None:
    records = await asyncio.gather(*(store.start_broadcast("weekly", **PROMISE) for _ in range(8)))
    assert len({record.id for record in records}) == 1


async def test_a_plan_counts_what_is_new_and_a_longer_list_goes_on(store: LedgerStore) -> None:
    record = await begin(store)
    assert await store.plan(record, people(30)) == 30
    assert await store.plan(record, people(30)) == 0
    assert await store.plan(record, people(40)) == 10
    assert await store.plan(record, [*people(2, start=50), *people(2, start=50)]) == 2
    assert await store.plan(record, []) == 0
    rows = await gathered(store.rows(record, batch=7))
    assert [row.recipient for row in rows] == [person.to for person in [*people(40), *people(2, start=50)]]


async def test_two_broadcasts_may_reach_the_same_people(store: LedgerStore) -> None:
    first, second = await begin(store, 5, "first"), await begin(store, 5, "second")
    assert (await store.counts(first))[SendState.QUEUED] == (await store.counts(second))[SendState.QUEUED] == 5
    summaries = await store.broadcasts()
    assert [(entry.record.name, entry.planned) for entry in summaries] == [("second", 5), ("first", 5)]


async def test_a_row_keeps_what_the_list_says_and_its_id_travels_opaque(store: LedgerStore) -> None:
    record = await begin(store)
    await store.plan(record, [Recipient(to="+16505550100", name="Ada\0 \udc80", reply_to="wamid.Q")])
    (row,) = await gathered(store.rows(record))
    assert (row.recipient, row.reply_to, row.provider, row.account) == (
        "+16505550100",
        "wamid.Q",
        record.provider,
        record.account,
    )
    assert row.name.startswith("Ada")
    assert "\0" not in row.name
    assert row.callback == f"{record.id}:{row.id}:0"  # 0: not claimed yet
    assert "6505550100" not in f"{row}{row!r}{row.callback}"


async def test_removed_lines_are_kept_with_their_reasons(store: LedgerStore) -> None:
    record = await begin(store)
    await store.remove(record, [RemovedRow(line, f"bad\0{line}", "no country code") for line in range(1, 26)])
    await store.remove(record, [RemovedRow(3, "x" * 10_000, "a repeat"), RemovedRow(3, "y", "the last word")])
    kept = await gathered(store.removed_rows(record, batch=10))
    assert [row.line for row in kept] == list(range(1, 26))
    assert (kept[2].value, kept[2].reason) == ("y", "the last word")
    planned = await store.mark_planned(record, removed=25)
    assert planned.removed == 25
    assert planned.planned_at is not None
    assert await store.find_broadcast(record.name) == planned


async def test_rows_by_state_come_in_the_order_of_the_list_across_pages(store: LedgerStore) -> None:
    record = await begin(store, 30)
    async with store.join(record, messages_per_second=0) as lease:
        for _ in range(10):
            await sent(lease)
            await sent(lease, SendState.FAILED)
    failed = await gathered(store.rows(record, [SendState.FAILED], batch=3))
    assert [row.state for row in failed] == [SendState.FAILED] * 10
    both = await gathered(store.rows(record, {SendState.FAILED, SendState.ACCEPTED}, batch=3))
    assert [row.id for row in both] == sorted(row.id for row in both)
    assert len(both) == 20
    counts = await store.counts(record)
    assert set(counts) == set(SendState)
    assert (counts[SendState.ACCEPTED], counts[SendState.FAILED], counts[SendState.QUEUED]) == (10, 10, 10)


async def test_requeue_takes_one_state_of_one_broadcast(store: LedgerStore) -> None:
    record, other = await begin(store, 3), await begin(store, 3, "other")
    for each in (record, other):
        async with store.join(each, messages_per_second=0) as lease:
            await sent(lease, SendState.FAILED)
            await sent(lease, SendState.UNKNOWN)
            await sent(lease)
    assert await store.requeue(record, SendState.FAILED) == 1
    assert await store.requeue(record, SendState.FAILED) == 0
    assert await store.requeue(record, SendState.UNKNOWN) == 1
    assert (await store.counts(record))[SendState.QUEUED] == 2
    assert (await store.counts(other))[SendState.QUEUED] == 0
    with pytest.raises(LedgerError, match="accepted"):
        await store.requeue(record, SendState.ACCEPTED)


async def test_a_media_id_is_found_until_its_margin_and_per_sender(store: LedgerStore) -> None:
    await store.remember_media("aa", "graph:1", "media-1", 100)
    assert await store.media_id("aa", "graph:1", margin_seconds=50) == "media-1"
    assert await store.media_id("aa", "graph:1", margin_seconds=150) == ""
    assert await store.media_id("aa", "graph:2", margin_seconds=0) == ""
    assert await store.media_id("bb", "graph:1", margin_seconds=0) == ""


async def test_a_disowned_media_id_is_forgotten_but_never_the_newer_one(store: LedgerStore) -> None:
    await store.remember_media("aa", "graph:1", "media-1", 100)
    await store.remember_media("aa", "graph:1", "media-2", 100)
    await store.forget_media("aa", "graph:1", "media-1")
    assert await store.media_id("aa", "graph:1", margin_seconds=0) == "media-2"
    await store.forget_media("aa", "graph:1", "media-2")
    assert await store.media_id("aa", "graph:1", margin_seconds=0) == ""


async def test_everything_is_there_again_after_closing(url: str) -> None:
    async with LedgerStore.open(url) as store:
        record = await begin(store, 3)
        async with store.join(record, messages_per_second=0) as lease:
            await sent(lease)
    async with LedgerStore.open(url) as store:
        assert await store.find_broadcast(record.name) == record
        counts = await store.counts(record)
    assert (counts[SendState.ACCEPTED], counts[SendState.QUEUED]) == (1, 2)


async def test_a_list_that_was_begun_and_not_finished_is_no_plan(store: LedgerStore) -> None:
    """Whatever was planned before: half of a longer list must not be taken for the whole."""
    record = await store.begin_plan(await begin(store))
    assert record.planned_at is None
    await store.plan(record, people(5))
    assert (await store.mark_planned(record, removed=0)).planned_at is not None
    longer = await store.begin_plan(record)
    await store.plan(longer, people(8))
    found = await store.find_broadcast(record.name)
    assert found is not None
    assert (found.planned_at, found.plan) == (None, 2)
    assert (await store.mark_planned(longer, removed=0)).planned_at is not None


async def test_the_end_of_an_earlier_list_does_not_finish_a_later_one(store: LedgerStore) -> None:
    first = await store.begin_plan(await begin(store))
    second = await store.begin_plan(first)
    assert (await store.mark_planned(first, removed=3)).planned_at is None
    assert (await store.mark_planned(second, removed=4)).removed == 4


async def test_removed_lines_of_two_lists_never_mix(store: LedgerStore) -> None:
    first = await store.begin_plan(await begin(store))
    await store.remove(first, [RemovedRow(line, "of the first", "no country code") for line in (2, 7, 900)])
    await store.mark_planned(first, removed=3)
    second = await store.begin_plan(first)
    await store.remove(second, [RemovedRow(7, "of the second", "no country code")])
    await store.remove(first, [RemovedRow(7, "late, of the first", "no country code")])
    kept = await gathered(store.removed_rows(second))
    assert [(row.line, row.value) for row in kept] == [(7, "of the second")]


async def test_one_account_in_two_spellings_is_one_row_and_keeps_the_first_spelling(store: LedgerStore) -> None:
    """Brazil's ninth digit, Argentina's 9, Mexico's 1; also when the second spelling comes with a later list."""
    record = await begin(store)
    pairs = [
        ("+55" + "11" + "9" + "90000001", "+55" + "11" + "90000001"),
        ("+54" + "11" + "50000001", "+54" + "9" + "11" + "50000001"),
        ("+52" + "1" + "55" + "50000001", "+52" + "55" + "50000001"),
    ]
    assert await store.plan(record, [Recipient(to=number) for pair in pairs for number in pair]) == 3
    assert (
        await store.plan(record, [Recipient(to=number) for pair in reversed(pairs) for number in reversed(pair)]) == 0
    )
    assert [row.recipient async for row in store.rows(record)] == [first for first, _ in pairs]


async def test_the_first_scheduled_start_stays_and_a_run_by_hand_has_none(store: LedgerStore) -> None:
    one, other = (datetime.datetime(2026, 3, day, 0, 30, tzinfo=datetime.UTC) for day in (8, 9))
    assert (await store.start_broadcast("daily", **PROMISE)).scheduled_at is None
    assert (await store.start_broadcast("daily", **PROMISE, scheduled_at=one)).scheduled_at == one
    assert (await store.start_broadcast("daily", **PROMISE, scheduled_at=other)).scheduled_at == one
    assert (await store.start_broadcast("daily", **PROMISE)).scheduled_at == one


async def test_an_account_of_the_same_name_on_another_server_is_another_sender(store: LedgerStore) -> None:
    """Each WAHA has a session `default`: another phone must not go on with a broadcast."""
    waha = {**PROMISE, "provider": "waha", "account": "default"}
    first = await store.start_broadcast("weekly", **waha, sender="waha:default@one:3000")
    assert await store.start_broadcast("weekly", **waha, sender="waha:default@one:3000") == first
    with pytest.raises(BroadcastMismatchError, match=r"default@one:3000.*default@two:3000"):
        await store.start_broadcast("weekly", **waha, sender="waha:default@two:3000")
    before = await store.start_broadcast("of before", **waha)
    assert before.sender == ""
    assert (await store.start_broadcast("of before", **waha, sender="waha:default@one:3000")).sender != ""


async def test_another_number_that_is_logged_in_under_the_same_account_is_another_sender(store: LedgerStore) -> None:
    """A session is logged out and another phone logged in: it must not go on with a broadcast."""
    waha = {**PROMISE, "provider": "waha", "account": "default", "sender": "waha:default@one:3000"}
    first = await store.start_broadcast("weekly", **waha, phone="16505550100")
    assert await store.start_broadcast("weekly", **waha, phone="16505550100") == first
    assert await store.start_broadcast("weekly", **waha) == first  # a service that doesn't tell
    with pytest.raises(BroadcastMismatchError) as refused:
        await store.start_broadcast("weekly", **waha, phone="16505550123")
    assert "…0100" in str(refused.value)
    assert "…0123" in str(refused.value)
    assert "1650555" not in f"{refused.value} {first}"
    await store.start_broadcast("of before", **waha)
    with pytest.raises(BroadcastMismatchError):  # and what is refused teaches nothing
        await store.start_broadcast("of before", **{**waha, "sender": "waha:default@two:3000"}, phone="16505550123")
    assert (await store.start_broadcast("of before", **waha, phone="16505550100")).phone == "16505550100"
