"""A broadcast to people with names, numbers in ids, and addresses of every kind: what an erasure must find."""

import base64
import datetime
from collections.abc import Sequence

from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore, Outcome, Row
from prefect_whatsapp.ledger.history import Actor
from prefect_whatsapp.models import Recipient, SendState

ADA = Actor("ada", "host-a")
NOW = datetime.datetime.now(datetime.UTC)
ACCOUNT, NUMBER, OTHER, LID = "106540", "+16505550123", "+16505550124", "777000111222@lid"


def wamid(number: str, place: int) -> str:
    """An id as Graph makes it: the number is in it."""
    return "wamid." + base64.b64encode(b"\x1d\x05\x18" + number[1:].encode() + b"\x15\x02%08d" % place).decode()


async def begin(store: LedgerStore, recipients: Sequence[str], name: str = "weekly") -> BroadcastRecord:
    """Plan a broadcast to these."""
    record = await store.start_broadcast(name, kind="audio", provider="graph", account=ACCOUNT, content="abc")
    await store.plan(record, [Recipient.stored(to, name=f"name of {to}") for to in recipients])
    return record


async def send_all(store: LedgerStore, record: BroadcastRecord) -> list[str]:
    """Whom a run of the broadcast sends to."""
    sent = []
    async with store.join(record, messages_per_second=0) as lease:
        while rows := await lease.take(10):
            for row in rows:
                await lease.claim(row)
                sent.append(row.recipient)
                await lease.settle(row, Outcome(SendState.ACCEPTED, message_id=wamid(row.recipient, row.id)))
    return sent


async def rows(store: LedgerStore, record: BroadcastRecord) -> list[Row]:
    """Its rows in order."""
    return [row async for row in store.rows(record)]
