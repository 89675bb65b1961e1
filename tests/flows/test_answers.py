"""Answers that prove nothing, through a real Prefect server: nobody gets a second message, in this run or the next."""

from collections.abc import Callable
from typing import Any

import pytest
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.models.errors import BroadcastStoppedError
from prefect_whatsapp.sandbox.server import RunningSandbox
from senders import sender_of

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]
Arguments = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("provider", "fault"),
    [
        ("graph", {"kind": "html", "status": 503, "retry_after": 0}),
        ("graph", {"kind": "html", "status": 502}),
        ("graph", {"kind": "error", "code": 1, "status": 500}),
        ("graph", {"kind": "error", "code": 2, "status": 503, "details": "Service temporarily unavailable"}),
        ("graph", {"kind": "error", "code": 987654, "status": 500, "details": "The request timed out"}),
        ("waha", {"kind": "error", "details": "Session closed. Most likely the page has been closed", "status": 500}),
        ("waha", {"kind": "error", "details": "Message sent but session was closed before ack", "status": 500}),
        ("waha", {"kind": "error", "details": "could not decode base64: file size too large", "status": 500}),
        ("chat-api", {"kind": "html", "status": 303}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(str(each) for each in value.values()),
)
async def test_who_has_the_message_though_the_answer_was_an_error_gets_no_second_one(
    sandbox: RunningSandbox, broadcast_arguments: Arguments, provider: str, fault: dict[str, Any]
) -> None:
    arguments = broadcast_arguments(6, sender=sender_of(provider, sandbox.url))
    hit = arguments["recipients"][1]
    sandbox.faults(**fault, accepted=True, on="send", recipients=[hit])
    report = await broadcast_audio(**arguments, retry_failed=True)
    # A gateway's chat history may tell already that it was accepted; nothing else may.
    assert report.accepted in ((5,) if provider == "graph" else (5, 6))
    assert (report.accepted + report.unknown, report.failed) == (6, 0)
    sandbox.behave()
    again = await broadcast_audio(**arguments, retry_failed=True)  # sends again what failed, and nothing did
    assert again.accepted + again.unknown == 6
    truth = sandbox.truth()
    assert (truth["accepted_total"], truth["duplicates_total"]) == (6, 0)


async def test_one_account_in_two_spellings_gets_one_message_and_in_a_later_list_none(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    """Brazil's ninth digit, Argentina's 9; what is sent to is the spelling that came first."""
    first = ["+55" + "11" + "987650001", "+54" + "9" + "11" + "50000001"]
    other = ["+55" + "11" + "87650001", "+54" + "11" + "50000001"]
    arguments = broadcast_arguments(1, recipients=[*first, *other])
    report = await broadcast_audio(**arguments)
    assert (report.planned, report.accepted, report.removed) == (2, 2, 2)
    again = await broadcast_audio(**{**arguments, "recipients": [*other, *first]})
    assert (again.planned, again.accepted) == (2, 2)
    assert sorted(message["recipient"] for message in sandbox.messages()) == sorted(to[1:] for to in first)


async def test_a_service_that_loses_every_second_answer_stops_the_run_and_the_next_one_sends_the_rest(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    arguments = broadcast_arguments(150)
    sandbox.faults(kind="html", status=502, on="send", fraction=0.5, accepted=True)
    with pytest.raises(BroadcastStoppedError, match="more than a tenth of the answers were lost") as stopped:
        await broadcast_audio(**arguments)
    report = stopped.value.report
    assert report.failed == 0
    assert report.pending > 70
    sandbox.behave()
    again = await broadcast_audio(**arguments)
    assert (again.accepted, again.unknown, again.pending) == (150 - report.unknown, report.unknown, 0)
    assert sandbox.truth()["duplicates_total"] == 0
