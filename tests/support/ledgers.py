"""Small broadcasts to test the ledger with."""

from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore
from prefect_whatsapp.models import Recipient


def people(count: int, start: int = 0) -> list[Recipient]:
    """So many recipients, all different."""
    return [Recipient.model_construct(to=f"+1650555{number:06d}") for number in range(start, start + count)]


async def begin(
    store: LedgerStore, count: int = 0, name: str = "weekly", *, content: str = "d1f0" * 16, source: str = ""
) -> BroadcastRecord:
    """Begin a broadcast to so many."""
    record = await store.start_broadcast(
        name,
        kind="audio",
        provider="graph",
        account="100200300",
        content=content,
        content_label="s3://b/weekly.mp3",
        source=source,
    )
    chunk = people(count)
    for first in range(0, count, 2000):
        await store.plan(record, chunk[first : first + 2000])
    return record
