"""The build step that leaves a schedule as a person has set it."""

import uuid
from pathlib import Path

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect_whatsapp.cli.schedules import keep_schedule

ROOT = Path(__file__).resolve().parents[2]


@flow(name="scheduled")
def _nothing() -> None: ...


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_a_schedule_is_what_it_was_and_a_new_one_is_off() -> None:
    name = f"weekly-{uuid.uuid4().hex[:8]}"
    assert keep_schedule(f"scheduled/{name}", "monday") == {"active": False}
    schedules = [
        DeploymentScheduleCreate(schedule=CronSchedule(cron="0 9 * * 1"), active=True, slug="monday"),
        DeploymentScheduleCreate(schedule=CronSchedule(cron="0 9 * * 2"), active=False, slug="tuesday"),
    ]
    async with get_client() as client:
        made = await client.create_deployment(await client.create_flow(_nothing), name, schedules=schedules)
        try:
            kept = [keep_schedule(f"scheduled/{name}", slug)["active"] for slug in ("monday", "tuesday", "friday")]
        finally:
            await client.delete_deployment(made)
    assert kept == [True, False, False]


def test_every_schedule_of_prefect_yaml_is_kept_as_it_is() -> None:
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        steps = {
            (given["slug"], given["deployment"].rpartition("/")[2]): given["id"]
            for step in deployment.get("build", ())
            for given in step.values()
        }
        for schedule in deployment.get("schedules", ()):
            step = steps[schedule["slug"], deployment["name"]]
            assert schedule["active"] == f"{{{{ {step}.active }}}}"
