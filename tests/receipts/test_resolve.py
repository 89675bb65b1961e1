"""Looking up what is unknown: accepted only where the history can mean nothing else."""

import asyncio
import datetime
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import sqlalchemy as sa
from prefect_whatsapp.blocks import ChatApiCredentials, GraphCredentials, Ledger, WahaCredentials, WawpCredentials
from prefect_whatsapp.blocks.sender import Sender
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore, Outcome, Row
from prefect_whatsapp.ledger.schema import sends
from prefect_whatsapp.models import Recipient, SendState
from prefect_whatsapp.models.errors import InputError
from prefect_whatsapp.models.updates import StatusUpdate
from prefect_whatsapp.providers.transport import AsyncClient
from prefect_whatsapp.receipts.resolve import BY_HISTORY, BY_ID, Resolved, resolve_unknown
from prefect_whatsapp.tasks import aresolve_unknown
from prefect_whatsapp.tasks import resolve_unknown as resolve_unknown_task
from pydantic import SecretStr

PEOPLE = ["+16505550101", "+16505550102"]
asked: list[httpx.Request] = []


class Answering:
    """A block whose service answers every question so."""

    def __init__(self, block: Sender, answer: Any) -> None:
        self._block, self._answer = block, answer
        self.answer_timeout_seconds, self.dialect = block.answer_timeout_seconds, block.dialect

    def get_async_client(self, *, connections: int) -> AbstractAsyncContextManager[AsyncClient]:
        def reply(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            answer = self._answer(request) if callable(self._answer) else self._answer
            return httpx.Response(404 if answer is None else 200, json=answer)

        return self._block.get_async_client(connections=connections, transport=httpx.MockTransport(reply))


def answering(kind: type[Sender], answer: Any, **fields: Any) -> Sender:
    return cast(Sender, Answering(kind(base_url="http://service.test", **fields), answer))


def waha(answer: Any) -> Sender:
    return answering(WahaCredentials, answer)


def voice(at: datetime.datetime, message_id: str = "true_1@lid_3EB0AA", **more: Any) -> dict[str, Any]:
    return {"id": message_id, "fromMe": True, "timestamp": int(at.timestamp()), "_data": {"type": "ptt"}, **more}


async def unknown(store: LedgerStore, name: str = "weekly", provider: str = "waha", account: str = "default") -> Any:
    record = await store.start_broadcast(name, kind="audio", provider=provider, account=account, content="abc")
    await store.plan(record, [Recipient(to=PEOPLE[0])])
    async with store.join(record, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        await lease.claim(row)
        await lease.settle(row, Outcome(SendState.UNKNOWN, error_text="lost"))
    return record, (await rows_of(store, record))[0]


async def planned_rival(store: LedgerStore) -> BroadcastRecord:
    """Another broadcast of the same kind and account to the same person."""
    rival = await store.start_broadcast("rival", kind="audio", provider="waha", account="default", content="other")
    await store.plan(rival, [Recipient(to=PEOPLE[0])])
    return rival


async def rows_of(store: LedgerStore, record: BroadcastRecord) -> list[Row]:
    return [row async for row in store.rows(record)]


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    asked.clear()
    async with LedgerStore.open(str(tmp_path / "ledger.db")) as store:
        yield store


async def test_the_only_message_of_that_kind_and_time_is_the_rows(store: LedgerStore) -> None:
    record, row = await unknown(store)
    now = row.claimed_at
    text = {"id": "true_1@c.us_3EB0BB", "fromMe": True, "timestamp": int(now.timestamp()), "_data": {"type": "chat"}}
    theirs = {**voice(now, "false_1@c.us_3A"), "fromMe": False}
    late = voice(now + datetime.timedelta(minutes=5), "true_1@c.us_3EB0CC")
    assert await resolve_unknown(store, record, waha([text, theirs, late, voice(now)])) == Resolved(0, 1, 0)
    (after,) = await rows_of(store, record)
    assert (after.state, after.message_id, after.resolved_by) == (SendState.ACCEPTED, "3EB0AA", BY_HISTORY)
    assert asked[0].url.raw_path.startswith(b"/api/default/chats/16505550101@c.us/messages?")


@pytest.mark.parametrize(
    "history",
    [
        lambda at: [],
        lambda at: [voice(at), voice(at, "true_1@c.us_3EB0BB")],
        lambda at: [voice(at), voice(at, "true_1@c.us_3EB0BB", _data={})],
        lambda at: [voice(at, _data={})],
        lambda at: [voice(at, fromMe=False)],
        lambda at: [voice(at - datetime.timedelta(minutes=1))],
        lambda at: [{**voice(at), "timestamp": None}],
        lambda at: [None, 7, {"fromMe": True}],
    ],
    ids=[
        "nothing",
        "two",
        "one of an unknown kind beside",
        "an unknown kind",
        "theirs",
        "before",
        "no time",
        "rubbish",
    ],
)
async def test_whatever_can_mean_something_else_stays_unknown(store: LedgerStore, history: Any) -> None:
    record, row = await unknown(store)
    assert await resolve_unknown(store, record, waha(history(row.claimed_at))) == Resolved(0, 0, 1)
    assert (await rows_of(store, record))[0].state is SendState.UNKNOWN


async def unknown_with_id(
    store: LedgerStore, message_id: str, kind: str, name: str = "weekly"
) -> tuple[BroadcastRecord, Row]:
    """A row that was killed after its id was reserved."""
    record = await store.start_broadcast(name, kind=kind, provider="waha", account="default", content="abc")
    await store.plan(record, [Recipient(to=PEOPLE[0])])
    async with store.join(record, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        await lease.claim(row, message_id=message_id)
    return record, (await rows_of(store, record))[0]


@pytest.mark.parametrize("kind", ["audio", "contacts"])
async def test_by_its_reserved_id_a_message_is_found_exactly(store: LedgerStore, kind: str) -> None:
    record, row = await unknown_with_id(store, "3EB0AA", kind)
    assert await resolve_unknown(store, record, waha(voice(row.claimed_at))) == Resolved(0, 1, 0)
    (after,) = await rows_of(store, record)
    assert (after.state, after.message_id, after.resolved_by) == (SendState.ACCEPTED, "3EB0AA", BY_ID)
    (request,) = asked
    assert request.url.path == "/api/default/chats/all/messages/3EB0AA"


@pytest.mark.parametrize("answer", [{"fromMe": False}, {"id": "true_1@c.us_3EB0ZZ"}, {"timestamp": None}, []])
async def test_what_is_found_by_its_id_has_to_be_that_message_of_ours(store: LedgerStore, answer: Any) -> None:
    record, row = await unknown_with_id(store, "3EB0AA", "audio")
    found = voice(row.claimed_at) | answer if isinstance(answer, dict) else answer
    assert await resolve_unknown(store, record, waha(found)) == Resolved(0, 0, 1)


@pytest.mark.parametrize(("kind", "resolved"), [("audio", 1), ("contacts", 0)])
async def test_where_the_id_is_not_found_the_history_is_looked_through(
    store: LedgerStore, kind: str, resolved: int
) -> None:
    """A card would have the id that was reserved; whether a voice note has it, no document says."""
    record, row = await unknown_with_id(store, "3EB0AA", kind)
    found = voice(row.claimed_at, "true_1@c.us_3EB0DD") | {"_data": {"type": "ptt" if kind == "audio" else "vcard"}}
    sender = waha(lambda request: [found] if request.url.path.endswith("/messages") else None)
    assert await resolve_unknown(store, record, sender) == Resolved(0, resolved, 1 - resolved)


async def test_a_message_of_another_row_is_not_taken_twice(store: LedgerStore) -> None:
    first, row = await unknown(store)
    answer = waha([voice(row.claimed_at)])
    assert await resolve_unknown(store, first, answer) == Resolved(0, 1, 0)
    second, _ = await unknown(store, "other")
    assert await resolve_unknown(store, second, answer) == Resolved(0, 0, 1)


@pytest.mark.parametrize("state", [SendState.UNKNOWN, SendState.ACCEPTED, SendState.SENDING])
async def test_a_message_that_may_be_another_broadcasts_is_nobodys(store: LedgerStore, state: SendState) -> None:
    """Two broadcasts reach for one person at the same time, and one message is there: whose, nobody can tell."""
    record, row = await unknown(store)
    rival = await planned_rival(store)
    async with store.join(rival, messages_per_second=0) as lease:
        (other,) = await lease.take(1)
        await lease.claim(other)
        if state is not SendState.SENDING:
            await lease.settle(other, Outcome(state))  # some answers of WAHA name no message
        assert await resolve_unknown(store, record, waha([voice(row.claimed_at)])) == Resolved(0, 0, 1)
        if state is SendState.SENDING:
            await lease.settle(other, Outcome(SendState.ACCEPTED, message_id="3EB0FF"))
            assert await resolve_unknown(store, record, waha([voice(row.claimed_at)])) == Resolved(0, 1, 0)


@pytest.mark.parametrize("state", [SendState.ACCEPTED, SendState.UNKNOWN])
async def test_a_message_that_may_be_the_first_of_a_row_that_was_sent_again_is_nobodys(
    store: LedgerStore, state: SendState
) -> None:
    """The row has the id and the time of its second message only."""
    record, row = await unknown(store)
    rival = await planned_rival(store)
    async with store.join(rival, messages_per_second=0) as lease:
        (other,) = await lease.take(1)
        await lease.claim(other)
        await lease.settle(other, Outcome(SendState.FAILED, message_id="true_1@lid_3EB0AA"))
    await store.requeue(rival, SendState.FAILED)
    async with store.join(rival, messages_per_second=0) as lease:
        (other,) = await lease.take(1)
        await lease.claim(other)
        await lease.settle(other, Outcome(state, message_id="true_1@lid_3EB0BB" if state is SendState.ACCEPTED else ""))
    half_an_hour_later = row.claimed_at + datetime.timedelta(minutes=30)
    change = sa.update(sends).where(sends.c.broadcast == rival.number).values(claimed_at=half_an_hour_later)
    await store._database.transact("try", lambda connection: connection.execute(change))
    assert await resolve_unknown(store, record, waha([voice(row.claimed_at)])) == Resolved(0, 0, 1)


@pytest.mark.parametrize("told", ["by a webhook", "by the history"])
async def test_a_message_of_the_row_that_failed_is_not_taken_for_the_next(store: LedgerStore, told: str) -> None:
    """Sent, failed later, sent again at once, and that answer lost: the failed message is as near as any."""
    record, row = await unknown(store)
    first = "true_1@lid_3EB0AA"
    if told == "by a webhook":
        assert await store.receipts.resolve(record, row.id, "3EB0AA", BY_ID)
        await store.receipts.record("waha", [StatusUpdate("default", "3EB0AA", SendState.FAILED, row.claimed_at)])
        assert await store.requeue(record, SendState.FAILED) == 1
        async with store.join(record, messages_per_second=0) as lease:
            (again,) = await lease.take(1)
            await lease.claim(again)
            await lease.settle(again, Outcome(SendState.UNKNOWN, error_text="lost"))
    failed = voice(row.claimed_at, first, ack=-1 if told == "by the history" else 1)
    assert await resolve_unknown(store, record, waha([failed])) == Resolved(0, 0, 1)


@pytest.mark.parametrize(("days", "resolved"), [(2, 0), (4, 1)])
@pytest.mark.parametrize("state", [SendState.UNKNOWN, SendState.ACCEPTED])
async def test_a_message_that_the_service_may_have_held_since_another_broadcast_is_nobodys(
    store: LedgerStore, state: SendState, days: int, resolved: int
) -> None:
    """Wawp answers `queued` and sends later; Chat-API waits for the phone; WAHA takes up a request that we gave up."""
    rival, _ = await unknown(store, "rival")
    async with store.join(rival, messages_per_second=0, resend=True) as lease:
        await lease.consent()
        (other,) = await lease.take(1)
        await lease.claim(other)
        await lease.settle(other, Outcome(state))
    record, row = await unknown(store)
    before = row.claimed_at - datetime.timedelta(days=days)
    change = sa.update(sends).where(sends.c.broadcast == rival.number).values(claimed_at=before, attempts=1)
    await store._database.transact("try", lambda connection: connection.execute(change))
    assert await resolve_unknown(store, record, waha([voice(row.claimed_at)])) == Resolved(0, resolved, 1 - resolved)


async def test_the_id_that_was_reserved_for_a_voice_note_of_another_broadcast_does_not_say_which_is_its_message(
    store: LedgerStore,
) -> None:
    """WAHA documents such ids for texts and cards; a 201 without an id leaves the row with the reserved one."""
    rival, _ = await unknown_with_id(store, "3EB0EE", "audio", name="rival")
    change = sa.update(sends).where(sends.c.broadcast == rival.number).values(state=SendState.ACCEPTED)
    await store._database.transact("try", lambda connection: connection.execute(change))
    record, row = await unknown_with_id(store, "3EB0AB", "audio")
    sender = waha(lambda request: [voice(row.claimed_at)] if request.url.path.endswith("/messages") else None)
    assert await resolve_unknown(store, record, sender) == Resolved(0, 0, 1)


async def test_a_broadcast_of_another_kind_or_person_is_no_rival(store: LedgerStore) -> None:
    record, row = await unknown(store)
    for name, kind, person in (("cards", "contacts", PEOPLE[0]), ("others", "audio", PEOPLE[1])):
        other = await store.start_broadcast(name, kind=kind, provider="waha", account="default", content=name)
        await store.plan(other, [Recipient(to=person)])
        async with store.join(other, messages_per_second=0) as lease:
            (taken,) = await lease.take(1)
            await lease.claim(taken)
            await lease.settle(taken, Outcome(SendState.UNKNOWN))
    assert await resolve_unknown(store, record, waha([voice(row.claimed_at)])) == Resolved(0, 1, 0)


@pytest.mark.parametrize(
    ("kind", "provider", "fields", "wrap"),
    [
        (WawpCredentials, "wawp", {"instance_id": "default", "access_token": "t"}, lambda found: {"data": found}),
        (ChatApiCredentials, "chat-api", {"instance_id": "default", "token": "t"}, lambda found: {"messages": found}),
    ],
)
async def test_wawp_and_chat_api_are_looked_up_too(
    store: LedgerStore, kind: type[Sender], provider: str, fields: dict[str, str], wrap: Any
) -> None:
    record, row = await unknown(store, provider=provider)
    found = {"id": "true_1@c.us_3EB0AA", "fromMe": True, "time": int(row.claimed_at.timestamp()), "type": "ptt"}
    assert await resolve_unknown(store, record, answering(kind, wrap([found]), **fields)) == Resolved(0, 1, 0)
    assert "chatId=16505550101" in str(asked[0].url)


async def test_graph_has_no_history_and_is_asked_nothing(store: LedgerStore) -> None:
    record, _ = await unknown(store, provider="graph")
    sender = answering(GraphCredentials, {}, phone_number_id="1", access_token="t")
    assert await resolve_unknown(store, record, sender) == Resolved(0, 0, 1)
    assert asked == []


@pytest.mark.parametrize("form", ["sync", "sync where a loop runs", "async"])
async def test_the_task_says_how_many_were_resolved_and_how(tmp_path: Path, form: str) -> None:
    ledger = Ledger(url=SecretStr(str(tmp_path / "task.db")))
    async with ledger.open() as store:
        record, row = await unknown(store)
    sender = waha([voice(row.claimed_at)])
    if form == "sync":
        told = await asyncio.to_thread(resolve_unknown_task.fn, record.name, sender, ledger)
    elif form == "sync where a loop runs":
        told = resolve_unknown_task.fn(record.name, sender, ledger)
    else:
        told = await aresolve_unknown.fn(record.name, sender, ledger)
    assert told == {"by_receipts": 0, "by_history": 1, "unknown": 0}
    with pytest.raises(InputError, match="no broadcast"):
        await aresolve_unknown.fn("nobody's", sender, ledger)
