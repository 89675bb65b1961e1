"""The state in which a broadcast's flow run ends: `Needs attention`, `Outage`, or Prefect's own."""

from typing import cast

from prefect.states import Cancelled, Completed
from prefect_whatsapp.flows.one_sentence import engine_retries, failed
from prefect_whatsapp.flows.steps import Broadcast
from prefect_whatsapp.flows.wait import started_though_cancelled
from prefect_whatsapp.models import Report, StopReason
from prefect_whatsapp.models.errors import (
    BroadcastStoppedError,
    ErrorKind,
    LedgerAwayError,
    RetryLaterError,
    TransportError,
    WhatsAppError,
)
from prefect_whatsapp.sending.shards import part_of

# The flow run's event is then `prefect.flow-run.Outage`: deployments/automations/resume-after-outage.yaml waits for it.
OUTAGE = "Outage"
# The same name as that of a run which crashed three times (deployments/automations/needs-attention-after-crashes.yaml): its
# event, `prefect.flow-run.Needs attention`, alerts a person. `prefect-whatsapp.broadcast.needs-attention` has the counts.
NEEDS_ATTENTION = "Needs attention"


async def run_to_its_end(broadcast: Broadcast) -> Report:
    """Run a broadcast; who calls the flow gets its report or its error, and the flow run a state that names an outage.

    Args:
        broadcast: The broadcast.

    Returns:
        Its report, as the flow run's state with its message, from which Prefect gives the report, or raises the error, to
        who called the flow.
    """
    if await started_though_cancelled():
        return cast("Report", Cancelled(message="The run was cancelled, so it isn't started again by itself"))
    try:
        report = await broadcast.run()
    except WhatsAppError as failure:
        if is_outage(failure) and not engine_retries():
            return cast("Report", failed(failure, name=OUTAGE))
        raise
    if part_of():  # a shard counts the whole broadcast: its parent says it
        return report
    message = "" if broadcast.dry_run else attention(report)
    if message:
        return cast("Report", Completed(name=NEEDS_ATTENTION, message=message, data=report))
    return cast("Report", Completed(message=summary(report, dry_run=broadcast.dry_run), data=report))


def summary(report: Report, *, dry_run: bool = False) -> str:
    """Say what a run came to that leaves nothing to a person.

    Example:
        >>> summary(Report(broadcast="weekly", planned=200, accepted=150, pending=50))
        '150 of 200 accepted, 50 not sent yet'
        >>> summary(Report(broadcast="weekly", planned=9, accepted=8, skipped=1, opted_out=1))
        '8 of 9 accepted, 1 opted out'
        >>> summary(Report(broadcast="weekly", planned=2, pending=2, removed=4), dry_run=True)
        'Dry run: nothing was sent; 2 would be sent, 4 removed from the list'
    """
    if dry_run:
        skipped = f", {report.skipped:,} skipped" if report.skipped else ""
        return f"Dry run: nothing was sent; {report.pending:,} would be sent{skipped}, {report.removed:,} removed from the list"
    left = f", {report.pending:,} not sent yet" if report.pending else ""
    out = f", {report.opted_out:,} opted out" if report.opted_out else ""
    return f"{report.accepted:,} of {report.planned:,} accepted{out}{left}"


def attention(report: Report) -> str:
    """Say how many recipients need a person; empty for none.

    Example:
        >>> attention(Report(broadcast="weekly", planned=200, accepted=191, failed=6, unknown=3))
        '9 of 200 need attention: 6 failed, 3 unknown'
        >>> attention(Report(broadcast="weekly", planned=2, accepted=1, skipped=1, opted_out=1))
        ''
    """
    parts = report.needs_attention
    listed = ", ".join(f"{number:,} {name}" for name, number in parts.items())
    number = sum(parts.values())
    return f"{number:,} of {report.planned:,} {'needs' if number == 1 else 'need'} attention: {listed}" if parts else ""


def is_outage(failure: Exception) -> bool:
    """Whether the service or the ledger was away, during the sends or before the first.

    Example:
        >>> is_outage(TransportError("graph did not answer", provider="graph"))
        True
    """
    match failure:
        case BroadcastStoppedError():
            return failure.report.stop_reason in (StopReason.OUTAGE, StopReason.LEDGER)
        case TransportError() | LedgerAwayError():
            return True
        case RetryLaterError():
            return failure.kind in (ErrorKind.TRANSIENT, ErrorKind.UNREACHABLE)
        case _:
            return False
