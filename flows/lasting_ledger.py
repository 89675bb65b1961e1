"""A ledger that is thrown away with its container lets a rerun message everyone again: such a run sends nothing."""

from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.ledger.address import LEDGER_VARIABLE
from prefect_whatsapp.ledger.file_systems import in_container, is_forgotten, read_mounts
from prefect_whatsapp.models.errors import InputError


async def refuse_ledger_that_is_thrown_away(store: LedgerStore) -> None:
    """Look at where the ledger is, where nobody said where it is to be.

    Args:
        store: The ledger, open.

    Raises:
        InputError: It is the embedded one, and this run of a deployment is in a container of its own, or the ledger's folder
            is one that the container (or, for a run of a deployment, the machine) forgets.
    """
    if not store.is_embedded:
        return
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    deployed = run is not None and run.deployment_id is not None
    pool = await _work_pool_type(run.work_pool_name) if run is not None and deployed else ""
    if pool not in ("", "process"):
        why = f"this run's work pool is of type {pool}, whose containers do not last"
    elif (deployed or in_container()) and is_forgotten(Path(store.address), read_mounts()):
        why = "that folder is inside a container, or in memory"
    else:
        return
    raise InputError(
        f"the ledger would be {store.address}, and {why}, so that a rerun would message everyone again: give the broadcast a "
        f"saved Ledger block with a PostgreSQL URL, or set {LEDGER_VARIABLE} to a PostgreSQL URL or to a file that outlives "
        "the container (if that one does, name it)"
    )


async def _work_pool_type(name: str | None) -> str:
    if not name:
        return ""
    async with get_client() as client:
        try:
            return (await client.read_work_pool(name)).type
        except ObjectNotFound:  # deleted since
            return ""
