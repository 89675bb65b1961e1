"""The build step that leaves schedules as a person has set them."""

import uuid
from pathlib import Path

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect_whatsapp.cli.schedules import keep_schedules

ROOT = Path(__file__).resolve().parents[2]
STEP = "prefect_whatsapp.cli.schedules.keep_schedules"


@flow(name="scheduled")
def _nothing() -> None: ...


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_a_new_deployment_begins_with_its_schedule_turned_off() -> None:
    name = f"weekly-{uuid.uuid4().hex[:8]}"
    assert keep_schedules(f"scheduled/{name}", "monday", "0 9 * * 1", "Europe/Berlin") == {"schedules": "new"}
    async with get_client() as client:
        made = await client.read_deployment_by_name(f"scheduled/{name}")
        await client.delete_deployment(made.id)
    (schedule,) = made.schedules
    assert (schedule.slug, schedule.active) == ("monday", False)
    assert schedule.schedule == CronSchedule(cron="0 9 * * 1", timezone="Europe/Berlin")


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_hour_zone_and_number_of_schedules_stay_as_they_are() -> None:
    name = f"weekly-{uuid.uuid4().hex[:8]}"
    own = CronSchedule(cron="30 14 * * 1", timezone="Europe/Berlin")
    further = CronSchedule(cron="0 18 * * 4", timezone="Europe/Berlin")
    schedules = [
        DeploymentScheduleCreate(schedule=own, active=True, slug="monday"),
        DeploymentScheduleCreate(schedule=further, active=True),
    ]
    async with get_client() as client:
        made = await client.create_deployment(await client.create_flow(_nothing), name, schedules=schedules)
        try:
            before = (await client.read_deployment(made)).schedules
            assert keep_schedules(f"scheduled/{name}", "monday", "0 9 * * 1") == {"schedules": "kept"}
            after = (await client.read_deployment(made)).schedules
        finally:
            await client.delete_deployment(made)
    assert len(after) == 2
    assert after == before


def test_prefect_yaml_writes_no_schedule_that_would_replace_a_persons() -> None:
    flows = {"broadcast-audio": "prefect_whatsapp.flows.broadcast_audio"}
    stepped = 0
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        assert not deployment.get("schedules")
        for step in deployment.get("build", ()):
            flow_name, _, name = step[STEP]["deployment"].partition("/")
            assert (flows[flow_name], name) == (deployment["entrypoint"], deployment["name"])
            assert deployment["schedules"] == [], "without the key, an interactive deploy asks for one and replaces all"
            stepped += 1
    assert stepped == 1
