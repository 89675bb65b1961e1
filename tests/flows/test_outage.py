"""A flow run that ended because the service was away says so by its state's name; another stop does not."""

from collections.abc import Callable
from typing import Any

import pytest
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.flows.outage import is_outage
from prefect_whatsapp.models import Report, StopReason
from prefect_whatsapp.models.errors import (
    AccountError,
    BroadcastStoppedError,
    ErrorKind,
    LedgerAwayError,
    LedgerError,
    NotSentError,
    OutcomeUnknownError,
    RetryLaterError,
)
from prefect_whatsapp.sandbox.processes import free_port
from prefect_whatsapp.sandbox.server import RunningSandbox

Arguments = Callable[..., dict[str, Any]]


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_a_service_that_is_not_reached_ends_the_run_as_outage_and_raises_to_who_called(
    broadcast_arguments: Arguments, graph: Any
) -> None:
    away = graph.model_copy(update={"base_url": f"http://127.0.0.1:{free_port()}"})
    arguments = broadcast_arguments(3, sender=away)
    state: Any = await broadcast_audio(**arguments, return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "Outage")
    with pytest.raises(NotSentError):
        await state.aresult()
    with pytest.raises(NotSentError):
        await broadcast_audio(**arguments)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_an_expired_token_ends_the_run_as_failed(sandbox: RunningSandbox, broadcast_arguments: Arguments) -> None:
    sandbox.faults(kind="expired_token", on="send")
    state: Any = await broadcast_audio(**broadcast_arguments(3), return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "Failed")


@pytest.mark.parametrize(
    ("failure", "outage"),
    [
        (NotSentError("no connection", provider="waha"), True),
        (OutcomeUnknownError("no answer", provider="waha"), True),
        (RetryLaterError("try later", provider="graph", kind=ErrorKind.TRANSIENT), True),
        (RetryLaterError("too fast", provider="graph", kind=ErrorKind.THROTTLE), False),
        (LedgerAwayError("no answer within 60 s"), True),
        (LedgerError("encrypted with another key"), False),
        (AccountError("expired", provider="graph", kind=ErrorKind.AUTH), False),
        *(
            (
                BroadcastStoppedError("it stopped", report=Report(broadcast="b", stop_reason=why)),
                why in ("outage", "ledger"),
            )
            for why in StopReason
        ),
    ],
)
def test_only_what_passes_by_itself_is_an_outage(failure: Exception, outage: bool) -> None:
    assert is_outage(failure) is outage
