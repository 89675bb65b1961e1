"""The state in which a broadcast's flow run ends: `Needs attention`, `Outage`, or Prefect's own."""

from typing import cast

from prefect.states import Completed, Failed
from prefect_whatsapp.flows.steps import Broadcast
from prefect_whatsapp.models import Report, StopReason
from prefect_whatsapp.models.errors import (
    BroadcastStoppedError,
    ErrorKind,
    ProviderError,
    RetryLaterError,
    TransportError,
)
from prefect_whatsapp.sending.shards import part_of

# The flow run's event is then `prefect.flow-run.Outage`: deployments/automations/resume-after-outage.yaml waits for it.
OUTAGE = "Outage"
# Shown in the UI. Automations wait for the event `prefect-whatsapp.broadcast.needs-attention`, which has the counts.
NEEDS_ATTENTION = "Needs attention"


async def run_to_its_end(broadcast: Broadcast) -> Report:
    """Run a broadcast; who calls the flow gets its report or its error, and the flow run a state that names an outage.

    Args:
        broadcast: The broadcast.

    Returns:
        Its report. Where somebody must look, or for an outage, the flow run's state, from which Prefect gives the report,
        or raises the error, to who called the flow.
    """
    try:
        report = await broadcast.run()
    except (BroadcastStoppedError, ProviderError, TransportError) as failure:
        if not is_outage(failure):
            raise
        return cast("Report", Failed(name=OUTAGE, message=failure.message, data=failure))
    message = attention(report)
    if not message or part_of():  # a shard counts the whole broadcast: its parent says it
        return report
    return cast("Report", Completed(name=NEEDS_ATTENTION, message=message, data=report))


def attention(report: Report) -> str:
    """Say how many recipients need a person; empty for none.

    Example:
        >>> attention(Report(broadcast="weekly", planned=200, accepted=191, failed=6, unknown=3))
        '9 of 200 need attention: 6 failed, 3 unknown'
        >>> attention(Report(broadcast="weekly", planned=1, accepted=1))
        ''
    """
    parts = {"failed": report.failed, "skipped": report.skipped, "unknown": report.unknown}
    listed = ", ".join(f"{number:,} {name}" for name, number in parts.items() if number)
    return f"{sum(parts.values()):,} of {report.planned:,} need attention: {listed}" if listed else ""


def is_outage(failure: Exception) -> bool:
    """Whether the service was unreachable or broken, during the sends or before the first.

    Example:
        >>> is_outage(TransportError("graph did not answer", provider="graph"))
        True
    """
    match failure:
        case BroadcastStoppedError():
            return failure.report.stop_reason is StopReason.OUTAGE
        case TransportError():
            return True
        case RetryLaterError():
            return failure.kind in (ErrorKind.TRANSIENT, ErrorKind.UNREACHABLE)
        case _:
            return False
