"""What comes back while a run is there: receipts that it waits for, look-ups of sends whose outcome is unknown."""

import time

import anyio
from prefect_whatsapp.flows.broadcast_run import BroadcastRun
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore
from prefect_whatsapp.models import AWAITING_RECEIPT_STATES
from prefect_whatsapp.receipts.resolve import resolve_unknown

_POLL_SECONDS = 5.0


async def await_receipts(store: LedgerStore, record: BroadcastRecord, minutes: int) -> None:
    """Keep the run open for what the phones tell; it ends early where they have told everything."""
    until = time.monotonic() + minutes * 60
    while True:
        await store.receipts.match_parked()
        counts = await store.counts(record)
        if time.monotonic() >= until or not any(counts[state] for state in AWAITING_RECEIPT_STATES):
            return
        await anyio.sleep(min(_POLL_SECONDS, until - time.monotonic()))


async def resolve_unknown_sends(run: BroadcastRun, store: LedgerStore, record: BroadcastRecord) -> None:
    """Look up what an earlier run, or this one, left unknown: before it would be sent again, and before the report."""
    resolved = await resolve_unknown(store, record, run.settings.sender)
    if resolved.by_receipts or resolved.by_history:
        run.log.info(
            "Unknown sends: %d resolved by receipts, %d by look-ups, %d remain.",
            resolved.by_receipts,
            resolved.by_history,
            resolved.unknown,
        )
