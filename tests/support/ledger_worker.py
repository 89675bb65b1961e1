"""A process of its own that works on a ledger, for tests that kill it: `python ledger_worker.py URL BROADCAST MODE`.

It prints one line for each thing it has done: `claimed ID`, `settled ID`, `reserved ID`, `share N`, at last `done`.
"""

import asyncio
import sys

from prefect_whatsapp.ledger import Lease, LedgerStore, Outcome, Row
from prefect_whatsapp.models import SendState


def tell(*words: object) -> None:
    print(*words, flush=True)


async def send(lease: Lease, row: Row, pause: float) -> None:
    await lease.claim(row)
    tell("claimed", row.id)
    await asyncio.sleep(pause)
    await lease.settle(row, Outcome(SendState.ACCEPTED, message_id=f"wamid.{row.id}"))
    tell("settled", row.id)


async def send_all(lease: Lease) -> None:
    """Send until nothing is left, sixteen at a time, and never look back at what others hold."""
    while rows := await lease.take(16):
        await asyncio.gather(*(send(lease, row, 0.001) for row in rows))


async def hold(lease: Lease) -> None:
    """Reserve four rows, claim two of them, and wait to be killed."""
    rows = await lease.take(4)
    for row in rows:
        tell("reserved", row.id)
    for row in rows[:2]:
        await lease.claim(row)
        tell("claimed", row.id)
    tell("holding")
    await asyncio.sleep(3600)


async def slow(lease: Lease) -> None:
    """Claim one row and have its answer only when a line comes on standard input."""
    (row,) = await lease.take(1)
    await lease.claim(row)
    tell("claimed", row.id)
    tell("holding")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    await lease.settle(row, Outcome(SendState.ACCEPTED, message_id="late"))
    tell("settled", row.id)


async def main(url: str, broadcast: str, mode: str) -> None:
    async with LedgerStore.open(url, patience_seconds=30) as store:
        record = await store.find_broadcast(broadcast)
        assert record is not None
        async with store.join(record, messages_per_second=0) as lease:
            await {"send all": send_all, "hold": hold, "slow": slow}[mode](lease)
    tell("done")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
