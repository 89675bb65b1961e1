"""On WAHA the message's id is in the ledger before the message leaves, so that whatever is told of it finds its row."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.ledger import LedgerStore, Row
from prefect_whatsapp.models import Contact, Recipient, SendState
from prefect_whatsapp.models.errors import OutcomeUnknownError
from prefect_whatsapp.receipts.receiver import Receiver
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.sandbox.settings import SandboxSettings
from prefect_whatsapp.sending.admission import Admission
from prefect_whatsapp.sending.content import Message, reserving
from prefect_whatsapp.sending.delivery import Delivery
from prefect_whatsapp.sending.pace import Pace
from prefect_whatsapp.sending.stop import StopSignal
from prefect_whatsapp.tasks import asend_contacts
from pydantic import SecretStr
from senders import sender_of

PERSON = "+16505550123"
CARDS = [Contact(name="Ada Byron", phone="+16505550199")]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(url=SecretStr(str(tmp_path / "ledger.db")))


async def only_row(ledger: Ledger) -> Row:
    async with ledger.open() as store:
        record = await store.find_broadcast("card")
        assert record
        (row,) = [row async for row in store.rows(record)]
        return row


async def test_a_lost_answer_leaves_the_messages_own_id_and_its_ack_resolves_the_row(
    sandbox: RunningSandbox, ledger: Ledger
) -> None:
    sandbox.faults(kind="drop", accepted=True, on="send")
    waha = sender_of("waha", sandbox.url, webhook_hmac_key=SecretStr("key"))
    with pytest.raises(OutcomeUnknownError):
        await asend_contacts.fn(CARDS, PERSON, waha, once="card", ledger=ledger)
    row = await only_row(ledger)
    (message,) = sandbox.messages()
    assert row.state is SendState.UNKNOWN
    assert message["message_id"].endswith(row.message_id)
    assert row.message_id.startswith("3EB0")
    receiver = Receiver([waha.webhooks()], ledger=ledger, events=False)
    payload = {"id": f"true_777@lid_{row.message_id}", "fromMe": True, "ack": 2}
    await receiver.take(waha.webhooks(), {"event": "message.ack", "session": "default", "payload": payload})
    await receiver.stop()
    after = await only_row(ledger)
    assert (after.state, after.resolved_by) == (SendState.DELIVERED, "message id")


async def drained(store: LedgerStore, waha: Any, recipients: list[str], *, times: int = 1) -> list[Row]:
    """Send a card to each; the rows."""
    dialect = waha.dialect()
    record = await store.start_broadcast("cards", kind="contacts", provider="waha", account="default", content="a")
    await store.plan(record, [Recipient(to=to) for to in recipients])

    def build(to: Recipient, *, callback: str) -> Any:
        return dialect.send_contacts(CARDS, to, callback=callback)

    for _ in range(times):
        async with (
            waha.get_async_client(connections=2) as client,
            store.join(record, messages_per_second=0, flow_run_id=f"run{_}", resend=times > 1) as lease,
        ):
            stop, message = StopSignal(), Message(build, kind="contacts", reserve=reserving(dialect))
            async with Admission(lease, Pace(lambda: lease.share), stop, in_flight=1) as admission:
                delivery = Delivery(lease, client, message, admission=admission, stop=stop)
                while row := await admission.row():
                    await delivery.send(row)
                    admission.leave(row)
    return [row async for row in store.rows(record)]


async def test_sent_again_it_has_the_same_id(sandbox: RunningSandbox, ledger: Ledger) -> None:
    """Whoever has the first message already knows the second for the same."""
    sandbox.faults(kind="drop", accepted=True, on="send", times=1)
    async with ledger.open() as store:
        (row,) = await drained(store, sender_of("waha", sandbox.url), [PERSON], times=2)
    messages = [message["message_id"] for message in sandbox.messages()]
    assert row.state is SendState.ACCEPTED
    assert messages == [row.message_id] * 2


async def test_a_server_that_gives_no_ids_is_asked_once_a_run(ledger: Ledger) -> None:
    with RunningSandbox(SandboxSettings(waha_version="2026.4.2")) as older:
        async with ledger.open() as store:
            rows = await drained(store, sender_of("waha", older.url), [f"+1650555010{n}" for n in range(5)])
        truth = older.truth()
        assert {row.state for row in rows} == {SendState.ACCEPTED}
        assert (truth["sends"], truth["calls"]) == (5, 6)
        assert all("id" not in message["body"] for message in older.messages())


@pytest.fixture
async def odd_server() -> AsyncIterator[str]:
    """A WAHA whose new ids fail, and which takes messages."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0] or 0)
        await reader.readexactly(length)
        fails = b"new-message-id" in head
        body = json.dumps({"statusCode": 500} if fails else {"id": "true_1@c.us_3EB0CC", "fromMe": True}).encode()
        status = b"500 No" if fails else b"201 Created"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_server_that_fails_to_give_an_id_gets_the_message_without_one(odd_server: str, ledger: Ledger) -> None:
    receipt = await asend_contacts.fn(CARDS, PERSON, sender_of("waha", odd_server), once="card", ledger=ledger)
    assert receipt.message_id.endswith("3EB0CC")
    assert (await only_row(ledger)).state is SendState.ACCEPTED
