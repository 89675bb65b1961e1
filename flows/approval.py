"""The gate between a broadcast's plan and its sends; where it stands is kept in the ledger, not in a run."""

from datetime import UTC, datetime

from prefect.logging import get_run_logger
from prefect_whatsapp.flows.wait import wait_for_resume
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore
from prefect_whatsapp.ledger.history import Actor
from prefect_whatsapp.models.errors import InputError
from prefect_whatsapp.models.masking import mask_numbers
from prefect_whatsapp.reporting.pages import WAITING

APPROVAL_SECONDS = 7 * 86_400
APPROVAL = "approve"  # begins the key of each wait for approval
NOTICE = (
    f"{WAITING}: look at the plan under Artifacts, then choose Resume in the run's menu. "
    "Approval times out after seven days."
)
WITHOUT_PROCESS = (
    "No process runs meanwhile: Resume starts the run again on any worker, so this one's machine may be switched off."
)
_BY = "who resumed the run in Prefect"  # Prefect's open server knows no people


async def pass_gate(
    store: LedgerStore, record: BroadcastRecord, *, asked: bool, sent_again: int, actor: Actor
) -> datetime | None:
    """Go on only with a plan that is approved, if this broadcast is one whose plan has to be.

    Args:
        store: The ledger.
        record: The broadcast.
        asked: Whether this run is to ask for an approval, and to wait for it.
        sent_again: How many unknown or failed sends this run would send again.
        actor: Who runs it.

    Returns:
        When the plan was approved; None where nobody asked for that.

    Raises:
        InputError: The plan waits for approval, or has changed since it was given, and this run isn't to ask.
    """
    while True:
        approval = await store.find_approval(record)
        if approval is None and not asked:
            return None
        digest = await store.plan_digest(record)
        waits = approval is None or approval.approved_at is None
        if approval is not None and approval.digest == digest and not waits and not sent_again:
            return approval.approved_at
        if not asked:
            why = "waits for approval" if waits else "has changed since it was approved"
            raise InputError(
                f"the plan of {mask_numbers(record.name)} {why}: resume the run that waits, or run it with Wait for approval "
                "turned on; nothing was sent by this run"
            )
        await store.request_approval(record, actor)
        # The key is the plan's: a word that was given for another plan doesn't open this one.
        await _wait_for_word(f"{APPROVAL}-{digest[:12]}" + (f"-{sent_again}" if sent_again else ""))
        if await store.approve(record, digest, actor, by=_BY):
            return datetime.now(UTC)
        get_run_logger().warning("The plan changed while it waited: another run added recipients. Look at it again.")


async def _wait_for_word(key: str) -> None:
    """Wait for a person; what the ledger holds now is what goes, the list isn't read again."""
    get_run_logger().warning("%s", NOTICE)
    await wait_for_resume(key, seconds=APPROVAL_SECONDS)
