"""The gate is the broadcast's, not a run's: nothing goes before its plan is approved, whoever runs it."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.sorting import ArtifactSort
from prefect.states import Cancelled
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.models import Report
from prefect_whatsapp.models.errors import InputError
from prefect_whatsapp.sandbox.server import RunningSandbox

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api"), pytest.mark.timeout(180)]
Arguments = Callable[..., dict[str, Any]]


async def waiting(name: str) -> UUID:
    """Wait until a run of this name waits for approval."""
    named = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
    async with get_client() as client:
        while True:
            for run in await client.read_flow_runs(flow_run_filter=named):
                if run.state and run.state.is_paused():
                    return run.id
            await asyncio.sleep(0.2)


async def resume(name: str) -> None:
    """Press Resume in the run of this name as soon as it waits."""
    run = await waiting(name)
    async with get_client() as client:
        await client.resume_flow_run(run)


async def plan_of(name: str) -> str:
    """The newest plan of a broadcast."""
    named = ArtifactFilter(key=ArtifactFilterKey(any_=[f"whatsapp-{name}-plan"]))
    async with get_client() as client:
        found = await client.read_artifacts(artifact_filter=named, sort=ArtifactSort.CREATED_DESC, limit=1)
    return str(found[0].data)


async def test_a_second_run_sends_nothing_while_the_first_waits_and_the_first_sends_when_approved(
    sandbox: RunningSandbox, broadcast_arguments: Arguments, ledger: Ledger
) -> None:
    arguments = broadcast_arguments(5)
    name = arguments["broadcast"]
    first = asyncio.create_task(broadcast_audio(**arguments, approve=True))
    await waiting(name)
    for others in ({}, {"recipients": ""}, {"recipients": broadcast_arguments(8)["recipients"]}):
        with pytest.raises(InputError, match="waits for approval"):
            await broadcast_audio(**{**arguments, **others})
    assert sandbox.truth()["accepted_total"] == 0
    # The third of those added recipients: the word is asked for again, and then holds for the plan as it is.
    await resume(name)
    await waiting(name)
    assert sandbox.truth()["accepted_total"] == 0
    await resume(name)
    report: Report = await first
    assert (report.planned, report.accepted) == (8, 8)
    assert sandbox.truth()["accepted_total"] == 8
    async with ledger.open() as store:
        told = [entry.action for entry in reversed(await store.history())]
        assert told == ["planned", "approval requested", "planned", "approval requested", "approved"]
        assert all(entry.user and entry.host and entry.flow_run_id for entry in await store.history())


async def test_an_approved_plan_goes_on_without_asking_and_a_changed_one_is_refused(
    sandbox: RunningSandbox, broadcast_arguments: Arguments, ledger: Ledger
) -> None:
    arguments = broadcast_arguments(4)
    first = asyncio.create_task(broadcast_audio(**arguments, approve=True, max_messages=2))
    await resume(arguments["broadcast"])
    assert (await first).pending == 2
    assert (await broadcast_audio(**arguments, approve=True)).accepted == 4
    with pytest.raises(InputError, match="has changed since it was approved"):
        await broadcast_audio(**{**arguments, "recipients": broadcast_arguments(6)["recipients"]})
    assert sandbox.truth()["accepted_total"] == 4


async def test_the_plan_says_that_it_was_approved_once_it_was(broadcast_arguments: Arguments) -> None:
    arguments = broadcast_arguments(2)
    name = arguments["broadcast"]
    first = asyncio.create_task(broadcast_audio(**arguments, approve=True, max_messages=1))
    await waiting(name)
    assert "\n> Waiting for approval: " in await plan_of(name)
    await resume(name)
    await first
    assert "Waiting for approval" not in await plan_of(name)
    assert "\n> Approved on 2" in await plan_of(name)
    await broadcast_audio(**arguments, approve=True)  # it waits for nobody, so its own plan says so too
    assert "Waiting for approval" not in await plan_of(name)
    assert "\n> Approved on 2" in await plan_of(name)


async def test_consent_to_send_again_that_was_never_approved_ends_with_its_run(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    """Asked for, not approved, cancelled: no later run sends what is unknown, with or without another approval."""
    arguments = broadcast_arguments(4)
    sandbox.faults(kind="drop", accepted=True, on="send", recipients=arguments["recipients"][:2])
    assert (await broadcast_audio(**arguments)).unknown == 2
    sandbox.behave()
    failed_then = sandbox.truth()["accepted_total"]
    asking = asyncio.create_task(broadcast_audio(**arguments, on_unknown="resend", approve=True))
    run = await waiting(arguments["broadcast"])
    async with get_client() as client:
        await client.set_flow_run_state(run, Cancelled(), force=True)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    try:
        assert (await broadcast_audio(**arguments)).unknown == 2
    except InputError as refused:
        assert "waits for approval" in refused.message  # noqa: PT017 - either way nothing is sent
    assert sandbox.truth()["accepted_total"] == failed_then
    approved = asyncio.create_task(broadcast_audio(**arguments, approve=True))
    await resume(arguments["broadcast"])
    assert (await approved).unknown == 2
    assert sandbox.truth()["accepted_total"] == failed_then == 4
