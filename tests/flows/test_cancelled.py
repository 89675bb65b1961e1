"""A broadcast that is cancelled: what was sent is reported before its process ends."""

import asyncio
import json
import logging
import os
import re
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import StateType
from prefect.exceptions import TerminationSignal
from prefect.flow_engine import run_flow_async
from prefect.states import AwaitingRetry, Cancelling, Crashed, Pending, Running, Scheduled
from prefect_whatsapp.flows import broadcast_audio, steps
from prefect_whatsapp.flows.wait import STARTED_AGAIN
from prefect_whatsapp.models import Scale
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.sending.stop import StopSignal

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]
Arguments = Callable[..., dict[str, Any]]


@pytest.fixture
def outlived() -> Iterator[list[int]]:
    """Prefect hands SIGTERM on to who had it before; here it ends nothing."""
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    yield told
    signal.signal(signal.SIGTERM, before)


async def test_cancel_leaves_a_report_and_the_rows_that_need_a_person(
    sandbox: RunningSandbox, broadcast_arguments: Arguments, outlived: list[int]
) -> None:
    first, *_ = sample_numbers(60)
    sandbox.faults(kind="window", recipients=[first])
    sandbox.faults(kind="latency", seconds=0.2)
    arguments = broadcast_arguments(60, scale=Scale(in_flight=2))
    run = asyncio.create_task(broadcast_audio(**arguments))
    while sandbox.truth()["accepted_total"] < 3:
        await asyncio.sleep(0.1)
        assert not run.done()
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(TerminationSignal):
        await run
    assert outlived == [signal.SIGTERM]
    accepted = sandbox.truth()["accepted_total"]
    keys = [f"whatsapp-{arguments['broadcast']}-{what}" for what in ("report", "attention", "progress")]
    async with get_client() as client:
        found = await client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=keys)))
    report, attention, progress = sorted(found, key=lambda artifact: keys.index(str(artifact.key)))
    assert report.description == f"{accepted} of 60 accepted"
    assert "**Stopped:** the flow run was cancelled" in str(report.data)
    assert attention.description == "1 row that needs a person"
    assert re.fullmatch(r"\d+ of 60 done, .*about .* left", str(progress.description))
    assert [row["state"] for row in json.loads(str(attention.data))] == ["skipped"]


async def test_a_cancelled_run_that_an_automation_starts_again_sends_nothing(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    """A cancelled process ends as Crashed until its worker says Cancelled; what restarts crashed runs may come first."""
    async with get_client() as client:
        run = await client.create_flow_run(broadcast_audio, state=Scheduled())
        for state in (Pending(), Running(), Cancelling(), Crashed(), AwaitingRetry(message=STARTED_AGAIN), Pending()):
            await client.set_flow_run_state(run.id, state, force=True)
        ended = await run_flow_async(
            broadcast_audio,
            flow_run=await client.read_flow_run(run.id),
            parameters=broadcast_arguments(3),
            return_type="state",
        )
        assert ended.is_cancelled()
        assert (await client.read_flow_run(run.id)).state_type is StateType.CANCELLED
    assert sandbox.truth()["accepted_total"] == 0


async def test_a_report_that_the_server_does_not_take_holds_no_process_that_is_told_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prefect's client tries for a minute, and its error must not take the place of the signal."""
    monkeypatch.setattr(steps, "LAST_SECONDS", 0.05)
    broadcast = object.__new__(steps.Broadcast)
    broadcast._run = SimpleNamespace(log=logging.getLogger("broadcast"))  # type: ignore[assignment]
    broadcast._planning = SimpleNamespace(planned=None)  # type: ignore[assignment]
    reported: list[str] = []

    async def hangs(*_: object, **__: object) -> None:
        reported.append("hangs")
        await asyncio.sleep(3600)

    async def refused(*_: object, **__: object) -> None:
        reported.append("refused")
        raise httpx.ConnectError("no server")

    for report in (hangs, refused):
        monkeypatch.setattr(steps, "report_outcome", report)
        await broadcast._report_at_last(None, None, StopSignal(), 0)  # type: ignore[arg-type]
    assert reported == ["hangs", "refused"]
