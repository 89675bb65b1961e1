"""The broadcast flow, whole, on the sandbox and a real Prefect server."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.models import Report, Scale
from prefect_whatsapp.models.errors import (
    AccountError,
    AudioError,
    BroadcastMismatchError,
    BroadcastStoppedError,
    RecipientListError,
    SourceError,
)
from prefect_whatsapp.sandbox.server import RunningSandbox

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]
Arguments = Callable[..., dict[str, Any]]


async def test_everyone_gets_it_once_and_each_send_is_a_completed_task_run(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    state = await broadcast_audio(**broadcast_arguments(40), return_state=True)
    report: Report = await state.aresult()
    truth = sandbox.truth()
    assert (report.planned, report.accepted, report.pending, report.uploads) == (40, 40, 0, 1)
    assert (truth["accepted_total"], truth["duplicates_total"], truth["uploads"]) == (40, 0, 1)
    names, states = await _send_runs(state.state_details.flow_run_id)
    assert states == {"COMPLETED": 40}
    assert all(name.startswith("send-audio …01") and len(name) == len("send-audio …0100") for name in names)


async def test_the_same_name_again_sends_nothing_uploads_nothing_and_transcodes_nothing(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    arguments = broadcast_arguments(5)
    first = await broadcast_audio(**arguments)
    again = await broadcast_audio(**arguments)
    assert (first.uploads, again.uploads, again.transcodes) == (1, 0, 0)
    assert again.accepted == sandbox.truth()["accepted_total"] == 5


async def test_a_longer_list_under_the_same_name_reaches_the_new_ones_alone(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    arguments = broadcast_arguments(5)
    await broadcast_audio(**arguments)
    longer = await broadcast_audio(**{**arguments, "recipients": broadcast_arguments(8)["recipients"]})
    assert longer.accepted == sandbox.truth()["accepted_total"] == 8
    assert sandbox.truth()["duplicates_total"] == 0


async def test_the_same_name_with_other_content_is_refused_with_both_shown(
    broadcast_arguments: Arguments, audio_samples: Any
) -> None:
    arguments = broadcast_arguments(2)
    await broadcast_audio(**arguments)
    with pytest.raises(BroadcastMismatchError, match=r"speech_cover\.mp3.*speech\.amr|speech\.amr.*speech_cover\.mp3"):
        await broadcast_audio(**{**arguments, "audio": str(audio_samples / "speech.amr")})


async def test_an_answer_that_was_lost_is_unknown_held_and_resent_only_on_request(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    arguments = broadcast_arguments(10)
    sandbox.faults(kind="drop", accepted=True, recipients=[arguments["recipients"][3]])
    state = await broadcast_audio(**arguments, return_state=True)
    report = await state.aresult()
    assert (report.accepted, report.unknown) == (9, 1)
    sandbox.behave()
    held = await broadcast_audio(**arguments)
    assert (held.unknown, sandbox.truth()["duplicates_total"]) == (1, 0)
    resent = await broadcast_audio(**arguments, on_unknown="resend")
    assert (resent.accepted, resent.unknown) == (10, 0)
    _, states = await _send_runs(state.state_details.flow_run_id, key="name")
    assert states == {"Completed": 9, "Unknown": 1}


async def test_a_closed_window_skips_that_recipient_alone(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    arguments = broadcast_arguments(6)
    sandbox.faults(kind="window", recipients=[arguments["recipients"][2]])
    report = await broadcast_audio(**arguments)
    assert (report.accepted, report.skipped, report.failed) == (5, 1, 0)


async def test_an_expired_token_in_mid_run_stops_and_leaves_the_rest_pending(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    arguments = broadcast_arguments(30, scale=Scale(in_flight=2))
    sandbox.faults(kind="expired_token", on="send", after=10)
    with pytest.raises(BroadcastStoppedError) as stopped:
        await broadcast_audio(**arguments)
    report = stopped.value.report
    assert report.accepted == 10
    assert report.pending == 20
    sandbox.behave()
    assert (await broadcast_audio(**arguments)).accepted == 30
    assert sandbox.truth()["duplicates_total"] == 0


async def test_throttles_are_waited_out_and_everyone_is_reached(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    sandbox.faults(kind="throttle", on="send", times=5, retry_after=1)
    report = await broadcast_audio(**broadcast_arguments(10))
    assert report.accepted == 10
    assert sandbox.truth()["duplicates_total"] == 0


async def test_a_disowned_media_id_is_uploaded_once_more(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    arguments = broadcast_arguments(12)
    await broadcast_audio(**arguments)
    sandbox.faults(kind="media_disowned", on="send", times=1)
    report = await broadcast_audio(**{**arguments, "broadcast": arguments["broadcast"] + "-next"})
    assert (report.accepted, report.uploads) == (12, 1)
    assert sandbox.truth()["uploads"] == 2


async def test_batches_send_as_surely_with_a_task_run_a_batch(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    state = await broadcast_audio(
        **broadcast_arguments(50, scale=Scale(runs="batch", batch_size=20)), return_state=True
    )
    report = await state.aresult()
    assert report.accepted == sandbox.truth()["accepted_total"] == 50
    names, states = await _send_runs(state.state_details.flow_run_id)
    assert states == {"COMPLETED": 3}, names


async def test_a_dry_run_asks_the_account_and_sends_nothing(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    report = await broadcast_audio(**broadcast_arguments(7, dry_run=True))
    truth = sandbox.truth()
    assert (report.planned, report.pending, report.accepted) == (7, 7, 0)
    assert (truth["sends"], truth["uploads"], truth["checks"], truth["calls"]) == (0, 0, 1, 1)


async def test_max_messages_leaves_the_rest_pending(sandbox: RunningSandbox, broadcast_arguments: Arguments) -> None:
    report = await broadcast_audio(**broadcast_arguments(9, max_messages=4))
    assert (report.accepted, report.pending) == (4, 5)
    assert sandbox.truth()["accepted_total"] == 4


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"audio": "not_audio.mp3"}, AudioError, "HTML"),
        ({"audio": "empty.ogg"}, AudioError, "empty"),
        ({"audio": "missing.mp3"}, SourceError, r"missing\.mp3"),
        ({"recipients": []}, RecipientListError, "empty"),
        ({"recipients": ["hello", "12"]}, RecipientListError, "no usable row"),
        ({"default_region": "XX"}, RecipientListError, "XX"),
    ],
)
async def test_bad_input_gets_one_sentence_before_any_send(
    sandbox: RunningSandbox,
    broadcast_arguments: Arguments,
    audio_samples: Any,
    change: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    if "audio" in change:
        change = {"audio": str(audio_samples / change["audio"])}
    with pytest.raises(error, match=says) as refused:
        await broadcast_audio(**broadcast_arguments(3, **change))
    assert "\n" not in str(refused.value)
    assert sandbox.truth()["sends"] == 0


@pytest.mark.parametrize(
    ("field", "value"), [("access_token", "wrong"), ("phone_number_id", "100000000000009")], ids=["token", "number"]
)
async def test_a_wrong_account_is_refused_before_any_send(
    sandbox: RunningSandbox, broadcast_arguments: Arguments, graph: Any, field: str, value: str
) -> None:
    wrong = type(graph)(**{**graph.model_dump(), "access_token": graph.access_token, field: value})
    with pytest.raises(AccountError):
        await broadcast_audio(**broadcast_arguments(3, sender=wrong))
    assert (sandbox.truth()["sends"], sandbox.truth()["uploads"]) == (0, 0)


async def _send_runs(flow_run_id: Any, *, key: str = "type") -> tuple[list[str], dict[str, int]]:
    async with get_client() as client:
        answer: httpx.Response = await client.request(
            "POST",
            "/task_runs/filter",
            json={"flow_runs": {"id": {"any_": [str(flow_run_id)]}}, "task_runs": {"name": {"like_": "send-"}}},
        )
    runs = answer.raise_for_status().json()
    return [run["name"] for run in runs], dict(Counter(run["state"][key] for run in runs))
