"""A broadcast that stopped because its service was away ends as `Outage`, for an automation to run it again."""

from typing import cast

from prefect.states import Failed
from prefect_whatsapp.flows.steps import Broadcast
from prefect_whatsapp.models import Report, StopReason
from prefect_whatsapp.models.errors import (
    BroadcastStoppedError,
    ErrorKind,
    ProviderError,
    RetryLaterError,
    TransportError,
)

# The flow run's event is then `prefect.flow-run.Outage`: deployments/automations/resume-after-outage.yaml waits for it.
OUTAGE = "Outage"


async def run_to_its_end(broadcast: Broadcast) -> Report:
    """Run a broadcast; who calls the flow gets its report or its error, and the flow run a state that names an outage.

    Args:
        broadcast: The broadcast.

    Returns:
        Its report. For an outage the flow run's state, from which Prefect raises the error to who called the flow.
    """
    try:
        return await broadcast.run()
    except (BroadcastStoppedError, ProviderError, TransportError) as failure:
        if not is_outage(failure):
            raise
        return cast("Report", Failed(name=OUTAGE, message=failure.message, data=failure))


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
