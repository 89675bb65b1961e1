"""Who of a list had the same content lately from another broadcast: on both databases."""

import datetime

import pytest
import sqlalchemy as sa
from ledgers import begin, people
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore, Outcome
from prefect_whatsapp.ledger.lately import LATELY
from prefect_whatsapp.ledger.schema import sends
from prefect_whatsapp.models import SendState


async def _send(store: LedgerStore, record: BroadcastRecord, count: int, state: SendState) -> None:
    async with store.join(record, messages_per_second=0) as lease:
        for row in await lease.take(count):
            await lease.claim(row, task_run_id="")
            await lease.settle(row, Outcome(state, message_id=str(row.id)))


async def test_those_who_had_it_are_counted_by_the_broadcast_that_they_had_it_from(store: LedgerStore) -> None:
    await _send(store, await begin(store, 3, "last-week"), 2, SendState.ACCEPTED)
    await _send(store, await begin(store, 1, "yesterday"), 1, SendState.ACCEPTED)
    this = await begin(store, 5, "today")
    assert await store.had_lately(this) == {"last-week": 2, "yesterday": 1}
    keys = [recipient.account_key for recipient in people(5)]
    assert await store.accounts_had_lately(this.content, "today", keys) == {"last-week": 2, "yesterday": 1}
    assert await store.accounts_had_lately(this.content, "today", keys[2:]) == {}


async def test_those_whom_this_broadcast_has_reached_are_not_among_them(store: LedgerStore) -> None:
    await _send(store, await begin(store, 3, "earlier"), 3, SendState.ACCEPTED)
    this = await begin(store, 3, "today")
    await _send(store, this, 2, SendState.ACCEPTED)
    assert await store.had_lately(this) == {"earlier": 1}


@pytest.mark.parametrize("state", [SendState.FAILED, SendState.SKIPPED, SendState.UNKNOWN])
async def test_who_did_not_surely_get_it_is_not_among_them(store: LedgerStore, state: SendState) -> None:
    await _send(store, await begin(store, 2, "earlier"), 2, state)
    assert await store.had_lately(await begin(store, 2, "today")) == {}


async def test_another_content_is_another_message(store: LedgerStore) -> None:
    await _send(store, await begin(store, 2, "earlier"), 2, SendState.ACCEPTED)
    keys = [recipient.account_key for recipient in people(2)]
    assert await store.accounts_had_lately("another", "today", keys) == {}


async def test_the_same_audio_in_another_form_is_the_same_to_who_hears_it(store: LedgerStore) -> None:
    await _send(store, await begin(store, 2, "earlier", content="n32k" * 16, source="5eed" * 16), 2, SendState.ACCEPTED)
    this = await begin(store, 2, "today", source="5eed" * 16)
    assert await store.had_lately(this) == {"earlier": 2}
    assert await store.had_lately(await begin(store, 2, "other", source="f00d" * 16)) == {}
    keys = [recipient.account_key for recipient in people(2)]
    assert await store.accounts_had_lately(this.content, "today", keys, source="5eed" * 16) == {"earlier": 2}
    assert await store.accounts_had_lately(this.content, "today", keys) == {}


async def test_a_broadcast_that_an_older_version_began_learns_its_source_once(store: LedgerStore) -> None:
    await begin(store, 1)
    assert (await begin(store, source="5eed" * 16)).source == "5eed" * 16
    assert (await begin(store, source="f00d" * 16)).source == "5eed" * 16
    assert (await begin(store)).source == "5eed" * 16


async def test_after_thirty_days_it_is_forgotten(store: LedgerStore) -> None:
    await _send(store, await begin(store, 2, "earlier"), 2, SendState.ACCEPTED)
    this = await begin(store, 2, "today")
    long_ago = datetime.datetime.now(datetime.UTC) - LATELY - datetime.timedelta(hours=1)
    aged = sa.update(sends).where(sends.c.state == "accepted").values(settled_at=long_ago)
    await store._database.transact("age", lambda connection: connection.execute(aged))
    assert await store.had_lately(this) == {}
