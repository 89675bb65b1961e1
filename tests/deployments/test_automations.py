"""The automations that make a broadcast finish by itself: whom they are for, how often, and how they are applied."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from prefect import flow
from prefect.automations import AutomationCore
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect_whatsapp.cli.doctor import AUTOMATIONS

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


def told(name: str) -> dict[str, Any]:
    """A file's content."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "deployments" / "automations" / name).read_text())
    return loaded


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
    again, person = (
        set(told(name)["trigger"]["match"]["prefect.run-count"])
        for name in ("resume-after-crash.yaml", "needs-attention-after-crashes.yaml")
    )
    assert again == {"0", "1", "2"}
    assert min(person) == "3"
    assert not again & person


def test_what_waits_is_proactive_as_a_worker_reports_one_crash_twice(apply: ModuleType) -> None:
    for name in apply.WALK_AWAY:
        trigger = told(name)["trigger"]
        assert (trigger["posture"], trigger["for_each"]) == ("Proactive", ["prefect.resource.id"])


def test_the_doctor_looks_for_them_by_their_names(apply: ModuleType) -> None:
    assert {told(name)["name"] for name in apply.WALK_AWAY} == set(AUTOMATIONS)


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
            with pytest.raises(ObjectNotFound):
                await apply.apply(file, ["nothing/of-that-name"])
            await client.delete_automation(automation.id)
        finally:
            await client.delete_deployment(deployment)


@flow(name="nothing")
def _nothing() -> None: ...
