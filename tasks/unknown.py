"""Tasks that resolve sends whose outcome is unknown, sync and async."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from ..blocks import Ledger
from ..blocks.sender import Sender
from ..models.errors import InputError


async def _resolved(broadcast: str, sender: Sender, ledger: Ledger | None) -> dict[str, int]:
    from ..receipts.resolve import resolve_unknown as resolve  # the ledger's drivers are imported by who uses them

    async with (ledger or Ledger()).open() as store:
        record = await store.find_broadcast(broadcast)
        if record is None:
            raise InputError(f"the ledger at {store.address} has no broadcast of that name")
        found = await resolve(store, record, sender)
    return {"by_receipts": found.by_receipts, "by_history": found.by_history, "unknown": found.unknown}


@task(name="resolve-unknown", cache_policy=NO_CACHE, persist_result=False)
def resolve_unknown(broadcast: str, sender: Sender, ledger: Ledger | None = None) -> dict[str, int]:
    """Resolve the unknown sends of a broadcast as far as possible.

    By receipts that came before their send was settled, and, on WAHA, Wawp and Chat-API, by the chat's history: accepted
    only where exactly one message of ours of that kind lies within the row's time and is no other row's.

    Args:
        broadcast: The broadcast's name.
        sender: The account that sent it.
        ledger: The broadcast's ledger; None for the default one.

    Returns:
        `by_receipts`, `by_history`, and how many remain `unknown`.

    Raises:
        InputError: The ledger has no such broadcast.
    """
    from ..sending.once import wait_for

    return wait_for(_resolved(broadcast, sender, ledger))


@task(name="resolve-unknown", cache_policy=NO_CACHE, persist_result=False)
async def aresolve_unknown(broadcast: str, sender: Sender, ledger: Ledger | None = None) -> dict[str, int]:
    """Resolve the unknown sends of a broadcast as far as possible; arguments, result and errors as `resolve_unknown`."""
    return await _resolved(broadcast, sender, ledger)
