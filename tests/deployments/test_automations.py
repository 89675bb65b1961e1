"""The automations that make a broadcast finish by itself: whom they are for, how often, and how they are applied."""

import asyncio
import importlib.util
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from automated_runs import Tried, told
from prefect import flow
from prefect.automations import AutomationCore
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Late,
    Pending,
    Running,
    Submitting,
    Suspended,
)
from prefect_whatsapp.blocks import WhatsAppNotification
from prefect_whatsapp.cli.doctor_server import AUTOMATIONS
from prefect_whatsapp.cli.prefect_server import prefect_server, start_prefect_server
from prefect_whatsapp.flows.outage import NEEDS_ATTENTION, OUTAGE
from prefect_whatsapp.reporting.causal_ordering import PATIENCE
from prefect_whatsapp.sandbox.processes import free_port
from prefect_whatsapp.sandbox.server import RunningSandbox
from senders import sender_of

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "deployments" / "automations").glob("*.yaml"))
BROADCASTS = {
    "broadcast-audio/voice-note-to-a-list",
    "broadcast-audio/weekly-voice-note",
    "broadcast-contacts/cards-to-a-list",
}


@pytest.fixture(scope="module")
def apply() -> ModuleType:
    """`apply.py`, which is a script and no module of the package."""
    spec = importlib.util.spec_from_file_location("apply_automations", FILES[0].with_name("apply.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_is_an_automation_that_prefect_takes(file: Path) -> None:
    content = told(file.name)
    content.pop("deployments", None)
    for action in content["actions"]:
        for name, ids in (("deployment", "deployment_id"), ("block", "block_document_id")):
            if action.pop(name, None):
                action[ids] = "00000000-0000-4000-8000-000000000000"
    assert AutomationCore.model_validate(content).name


def test_only_broadcasts_are_run_again_as_a_single_message_would_go_out_twice(apply: ModuleType) -> None:
    deployed = {
        f"{entry['entrypoint'].rpartition('.')[2].replace('_', '-')}/{entry['name']}"
        for entry in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    }
    for name in apply.WALK_AWAY:
        assert set(told(name)["deployments"]) == BROADCASTS <= deployed


def test_a_crash_is_followed_by_another_attempt_or_by_a_person_and_never_by_both() -> None:
    again, later, person = (
        set(told(name)["trigger"]["match"]["prefect.run-count"])
        for name in ("resume-after-crash.yaml", "resume-if-still-crashed.yaml", "needs-attention-after-crashes.yaml")
    )
    assert again == later == {"0", "1", "2"}
    assert min(person) == "3"
    assert not again & person


def test_an_outage_is_waited_out_for_ten_minutes_six_times_at_most() -> None:
    trigger = told("resume-after-outage.yaml")["trigger"]
    assert trigger["within"] == 600
    assert trigger["match"]["prefect.run-count"] == ["1", "2", "3", "4", "5", "6"]


def test_what_waits_is_proactive_as_a_worker_reports_one_crash_twice(apply: ModuleType) -> None:
    for name in apply.WALK_AWAY:
        trigger = told(name)["trigger"]
        assert (trigger["posture"], trigger["for_each"]) == ("Proactive", ["prefect.resource.id"])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("crash-when-silent.yaml", "crash-when-still-silent.yaml"),
        ("resume-after-crash.yaml", "resume-if-still-crashed.yaml"),
    ],
)
def test_an_action_that_the_server_refused_is_tried_again_later_as_prefect_repeats_none(
    first: str, second: str
) -> None:
    one, other = told(first), told(second)
    assert other["trigger"].pop("within") >= 3 * one["trigger"].pop("within")
    assert one["trigger"] == other["trigger"]
    for action in (*one["actions"], *other["actions"]):
        action.pop("message")
    assert one["actions"] == other["actions"]


def test_the_doctor_looks_for_them_by_their_names(apply: ModuleType) -> None:
    assert {told(name)["name"] for name in apply.WALK_AWAY} == set(AUTOMATIONS)


def test_a_person_is_alerted_of_everything_that_needs_one_and_of_nothing_that_ends_by_itself() -> None:
    at_once, lasting = told("alert-when-stopped.yaml")["trigger"], told("alert-when-down.yaml")["trigger"]
    states = {event.removeprefix("prefect.flow-run.") for event in at_once["expect"]}
    assert states == {"Failed", "Cancelled", NEEDS_ATTENTION, "Late"}
    assert {event.removeprefix("prefect.flow-run.") for event in lasting["after"]} == {"Crashed", OUTAGE}
    for again in ("resume-after-crash.yaml", "resume-after-outage.yaml", "needs-attention-after-crashes.yaml"):
        assert lasting["within"] > told(again)["trigger"]["within"], "else it alerts before the run is run again"
    for alert in ("alert-when-stopped.yaml", "alert-when-down.yaml"):
        assert set(told(alert)["deployments"]) == BROADCASTS


def test_a_run_that_crashed_too_often_is_named_as_one_that_left_rows_to_a_person() -> None:
    (action,) = told("needs-attention-after-crashes.yaml")["actions"]
    assert action["name"] == NEEDS_ATTENTION


def test_the_silence_is_longer_than_three_heartbeats() -> None:
    settings = dict(
        line.split("=", 1)
        for line in (ROOT / "deployments" / "server.env").read_text().splitlines()
        if line.startswith("PREFECT_")
    )
    assert told("crash-when-silent.yaml")["trigger"]["within"] >= 3 * int(settings["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_applied_twice_it_is_there_once_and_for_the_deployments_that_were_named(apply: ModuleType) -> None:
    file = ROOT / "deployments" / "automations" / "resume-after-crash.yaml"
    async with get_client() as client:
        deployment = await client.create_deployment(await client.create_flow(_nothing), "tried")
        try:
            for _ in range(2):
                name = await apply.apply(file, ["nothing/tried"])
            (automation,) = await client.read_automations_by_name(name)
            related = automation.trigger.model_dump(mode="json")["match_related"]
            assert related["prefect.resource.id"] == [f"prefect.deployment.{deployment}"]
            with pytest.raises(ObjectNotFound, match="there is no deployment 'nothing/of-that-name'"):
                await apply.apply(file, ["nothing/of-that-name"])
            alert = file.with_name("alert-when-stopped.yaml")
            with pytest.raises(
                ObjectNotFound, match="there is no saved block 'alerts' of the type whatsapp-notification"
            ):
                await apply.apply(alert, ["nothing/tried"])
            await client.delete_automation(automation.id)
        finally:
            await client.delete_deployment(deployment)


@pytest.fixture(scope="module")
def server_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server without the thousands of events of other tests, which its automations look at one by one, in order."""
    with prefect_server(tmp_path_factory.mktemp("automations")) as server:
        yield f"{server.url}/api"


@pytest.fixture
async def tried(apply: ModuleType, tmp_path: Path, server_of_its_own: str) -> AsyncIterator[Tried]:
    """A run of a deployment."""
    with temporary_settings({PREFECT_API_URL: server_of_its_own}):
        async with get_client() as client:
            deployment = await client.create_deployment(await client.create_flow(_nothing), "tried")
            run = await client.create_flow_run_from_deployment(deployment)
            try:
                yield Tried(apply, tmp_path, client, deployment, run)
            finally:
                for automation in await client.read_automations():
                    await client.delete_automation(automation.id)
                await client.delete_deployment(deployment)


@pytest.mark.ci
@pytest.mark.server
@pytest.mark.timeout(900)
async def test_after_the_third_crash_a_run_stays_crashed_and_a_person_is_asked(tried: Tried) -> None:
    await tried.apply("resume-after-crash.yaml", "needs-attention-after-crashes.yaml")
    for attempt in (1, 2, 3):
        await tried.end(Crashed())
        await tried.reached("AwaitingRetry" if attempt < 3 else NEEDS_ATTENTION)
    assert (tried.run.state_type, tried.run.run_count) == (StateType.CRASHED, 3)
    assert await tried.events(f"prefect.flow-run.{NEEDS_ATTENTION}") == 1, "what alert-when-stopped.yaml listens to"


@pytest.mark.ci
@pytest.mark.server
@pytest.mark.timeout(900)
async def test_after_an_outage_a_run_starts_again_six_times_and_no_more(tried: Tried) -> None:
    await tried.apply("resume-after-outage.yaml", within=10)  # Prefect takes no less
    for _ in range(6):
        await tried.end(Failed(name="Outage"))
        await tried.reached("AwaitingRetry")
    await tried.end(Failed(name="Outage"))
    await asyncio.sleep(20)
    assert ((await tried.look()).state_name, tried.run.run_count) == ("Outage", 7)


@pytest.mark.ci
@pytest.mark.server
@pytest.mark.timeout(900)
async def test_a_broadcast_that_failed_or_was_cancelled_is_not_run_again(tried: Tried) -> None:
    await tried.apply("resume-after-crash.yaml", "resume-after-outage.yaml", within=10)
    for ended in (Failed(message="the token has expired"), Cancelled()):
        await tried.end(ended)
        await asyncio.sleep(18)
        assert ((await tried.look()).state_name, tried.run.run_count) == (ended.name, 1)
        await tried.another()


@pytest.mark.ci
@pytest.mark.server
@pytest.mark.timeout(900)
async def test_a_run_that_a_worker_took_and_never_started_crashes_and_one_that_started_does_not(tried: Tried) -> None:
    """The worker reports Submitting a second after Pending, before it starts anything."""
    await tried.apply("crash-when-not-started.yaml", within=10)  # Prefect takes no less
    states: list[State[Any]] = [Pending(), Submitting(), Running(), Suspended()]
    for taken in (states, states[:2]):
        await tried.another()
        for state in taken:
            await tried.client.set_flow_run_state(tried.run.id, state, force=True)
            await asyncio.sleep(0.5)
        if state.name == "Submitting":
            await tried.reached("Crashed")
        else:
            await asyncio.sleep(18)
            assert (await tried.look()).state_name == "Suspended"


@pytest.mark.ci
@pytest.mark.server
@pytest.mark.timeout(900)
async def test_a_run_that_crashes_after_its_server_was_restarted_starts_again(
    apply: ModuleType, tmp_path: Path
) -> None:
    """The server no longer knows the state before, which the news of the crash follows."""
    home, port = tmp_path / "prefect", free_port()
    server = start_prefect_server(home, port=port)
    try:
        with temporary_settings({PREFECT_API_URL: f"{server.url}/api"}):
            async with get_client() as client:
                deployment = await client.create_deployment(await client.create_flow(_nothing), "tried")
                run = await client.create_flow_run_from_deployment(deployment)
                tried = Tried(apply, tmp_path, client, deployment, run)
                await tried.apply("resume-after-crash.yaml")
                for state in (Pending(), Running()):
                    await client.set_flow_run_state(run.id, state, force=True)
                    await asyncio.sleep(0.5)
                started = asyncio.get_running_loop().time()
                os.killpg(server.popen.pid, signal.SIGKILL)
                server.popen.wait()
                server = start_prefect_server(home, port=port)
                await asyncio.sleep(started + PATIENCE.total_seconds() - asyncio.get_running_loop().time())
                await client.set_flow_run_state(run.id, Crashed(), force=True)
                await tried.reached("AwaitingRetry")
    finally:
        server.stop()


@pytest.fixture
async def alerts(prefect_api: str, sandbox: RunningSandbox) -> AsyncIterator[None]:
    """The saved block "alerts"."""
    account = sender_of("waha", sandbox.url)
    await account.asave("alerting", overwrite=True)
    await WhatsAppNotification(sender=account, to="+12015550142").asave("alerts", overwrite=True)
    yield
    await WhatsAppNotification.adelete("alerts")
    await type(account).adelete("alerting")


async def arrived(sandbox: RunningSandbox, number: int) -> list[str]:
    """Wait until the person has so many alerts; what they say."""
    async with asyncio.timeout(60):
        while len(sandbox.messages()) < number:  # noqa: ASYNC110  # nobody tells of it
            await asyncio.sleep(0.2)
    return [message["body"]["text"] for message in sandbox.messages()]


@pytest.mark.ci
@pytest.mark.server
@pytest.mark.usefixtures("prefect_api", "alerts")
async def test_a_person_gets_one_alert_of_each_run_that_needs_one_and_none_of_the_others(
    tried: Tried, sandbox: RunningSandbox
) -> None:
    await tried.apply("alert-when-stopped.yaml")
    alerting: list[State[Any]] = [
        Failed(message="the token has expired"),
        Completed(name=NEEDS_ATTENTION, message="9 of 200 need attention: 6 failed, 3 unknown"),
        Cancelled(),
    ]
    for number, ended in enumerate(alerting, 1):
        await tried.end(ended)
        said = (await arrived(sandbox, number))[-1]
        assert said == f"*Broadcast {tried.run.name}: {ended.name}*\n\n{ended.message or 'Look at the run in Prefect.'}"
        await tried.another()
    await tried.client.set_flow_run_state(tried.run.id, Late(), force=True)
    assert (await arrived(sandbox, 4))[-1].startswith(f"*Broadcast {tried.run.name}: Late*\n\n")
    await tried.end(Completed(message="200 of 200 accepted"))
    await asyncio.sleep(5)
    assert len(sandbox.messages()) == 4


@pytest.mark.ci
@pytest.mark.server
@pytest.mark.usefixtures("prefect_api", "alerts")
async def test_a_person_gets_an_alert_of_a_run_that_stays_down_and_none_of_one_that_is_run_again(
    tried: Tried, sandbox: RunningSandbox
) -> None:
    await tried.apply("alert-when-down.yaml", within=10)  # Prefect takes no less
    await tried.end(Crashed())
    await tried.client.set_flow_run_state(tried.run.id, AwaitingRetry(), force=True)
    await tried.another()
    await tried.end(Failed(name=OUTAGE))
    (said,) = await arrived(sandbox, 1)
    assert said.startswith("*A broadcast is down*\n\nA broadcast crashed, or stopped for an outage")
    await asyncio.sleep(15)
    assert len(sandbox.messages()) == 1


@flow(name="nothing")
def _nothing() -> None: ...
