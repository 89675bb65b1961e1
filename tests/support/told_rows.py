"""Broadcasts of the ledger's tests whose rows are told of, and the webhooks that tell."""

import datetime
from collections.abc import Sequence
from dataclasses import replace

from prefect_whatsapp.ledger import BroadcastRecord, Lease, LedgerStore, Outcome, Row
from prefect_whatsapp.models import Recipient, SendState
from prefect_whatsapp.models.updates import Inbound, Item, StatusUpdate

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
