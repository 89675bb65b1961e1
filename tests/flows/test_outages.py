"""A broadcast and a service in trouble, through a real Prefect server: nobody fails for it, and consent to send again ends."""

from collections.abc import Callable
from typing import Any

import pytest
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.models import StopReason
from prefect_whatsapp.models.errors import BroadcastStoppedError
from prefect_whatsapp.sandbox.server import RunningSandbox

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

Arguments = Callable[..., dict[str, Any]]


def _messages(sandbox: RunningSandbox, to: str) -> int:
    return sum(to.lstrip("+") in message["recipient"] for message in sandbox.messages())


async def test_with_retries_a_person_gets_one_message_more_and_not_one_a_try(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    arguments = broadcast_arguments(4)
    lost, *others = arguments["recipients"]
    sandbox.faults(kind="drop", accepted=True, on="send", recipients=[lost])
    assert (await broadcast_audio(**{**arguments, "recipients": [lost, others[0]]})).unknown == 1
    assert _messages(sandbox, lost) == 1
    sandbox.faults(kind="drop", accepted=True, on="send", recipients=[lost])
    sandbox.faults(kind="expired_token", on="send", recipients=others[1:])
    retried = broadcast_audio.with_options(retries=3, retry_delay_seconds=0)
    with pytest.raises(BroadcastStoppedError) as stopped:
        await retried(**arguments, on_unknown="resend")
    assert stopped.value.report.stop_reason is StopReason.ACCOUNT
    assert (stopped.value.report.unknown, stopped.value.report.pending) == (1, 2)
    assert _messages(sandbox, lost) == 2
    sandbox.behave()
    report = await broadcast_audio(**arguments)
    assert (report.accepted, report.unknown) == (3, 1)
    assert _messages(sandbox, lost) == 2


async def test_a_run_that_stops_before_the_unknown_ones_leaves_them_to_nobody(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    arguments = broadcast_arguments(3)
    sandbox.faults(kind="drop", accepted=True, on="send")
    assert (await broadcast_audio(**arguments)).unknown == 3
    sandbox.behave()
    sandbox.faults(kind="expired_token", on="send")
    with pytest.raises(BroadcastStoppedError):
        await broadcast_audio(**arguments, on_unknown="resend")
    sandbox.behave()
    assert (await broadcast_audio(**arguments)).unknown == 3
    assert len(sandbox.messages()) == 3


@pytest.mark.parametrize(
    ("fault", "unknown"),
    [
        ({"kind": "html", "status": 502}, True),
        pytest.param({"kind": "error", "code": 131016, "status": 500}, True, marks=pytest.mark.ci),
        pytest.param(
            {"kind": "error", "code": 131016, "status": 500, "details": "Message failed to send"},
            False,
            marks=pytest.mark.ci,
        ),
    ],
    ids=["a proxy's 502", "Graph's 131016", "131016 that says that nothing was sent"],
)
async def test_an_outage_ends_the_run_and_the_next_one_sends_the_rest(
    sandbox: RunningSandbox,
    broadcast_arguments: Arguments,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, Any],
    unknown: bool,
) -> None:
    monkeypatch.setattr("prefect_whatsapp.sending.policy.LONGEST_BACKOFF_SECONDS", 0.2)
    monkeypatch.setattr("prefect_whatsapp.sending.policy.OUTAGE_SECONDS", 2.0)  # of refusals, which surely sent nothing
    arguments = broadcast_arguments(60)
    sandbox.faults(**fault, on="send", after=20)
    with pytest.raises(BroadcastStoppedError, match="nothing was accepted") as stopped:
        await broadcast_audio(**arguments)
    report = stopped.value.report
    assert (report.stop_reason, report.accepted, report.failed) == (StopReason.OUTAGE, 20, 0)
    assert report.unknown + report.pending == 40
    assert bool(report.unknown) is unknown
    sandbox.behave()
    again = await broadcast_audio(**arguments)
    assert (again.accepted, again.unknown, again.pending) == (60 - report.unknown, report.unknown, 0)
    assert sandbox.truth()["duplicates_total"] == 0
