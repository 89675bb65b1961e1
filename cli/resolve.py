"""`prefect-whatsapp resolve`: look up what is unknown."""

import asyncio
import json
from dataclasses import asdict

from ..receipts.resolve import resolve_unknown
from .broadcast import load_sender
from .reports import opened_broadcast


def run_resolve(broadcast: str, *, sender: str, ledger: str, as_json: bool) -> int:
    """Resolve what can be resolved, and say how many and how."""
    return asyncio.run(_resolve(broadcast, sender, ledger, as_json))


async def _resolve(broadcast: str, sender: str, ledger: str, as_json: bool) -> int:
    account = await load_sender(sender)
    async with opened_broadcast(broadcast, ledger) as (store, record):
        resolved = await resolve_unknown(store, record, account)
    numbers = asdict(resolved)
    print(
        json.dumps(numbers) if as_json else ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in numbers.items())
    )
    return 0 if not resolved.unknown else 1
