"""`prefect.yaml` on an empty server: every deployment lands, can be run, and the schedule makes its runs."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import load_flow_from_entrypoint

pytestmark = [pytest.mark.ci, pytest.mark.server, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]
TOLD = yaml.safe_load((ROOT / "prefect.yaml").read_text())
WEEKLY = "weekly-voice-note"


def _deploy_all(api: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=ROOT,
        env={**os.environ, "PREFECT_API_URL": api},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
async def client(prefect_api: str) -> AsyncIterator[PrefectClient]:
    """A client of a server to which all was deployed once; nothing of it is left."""
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name="whatsapp", type="process"))
        try:
            await asyncio.to_thread(_deploy_all, prefect_api)
            yield client
        finally:
            for each in await _deployed(client):
                await client.delete_deployment(each.id)
            await client.delete_work_pool("whatsapp")


async def _deployed(client: PrefectClient) -> list[DeploymentResponse]:
    return [each for each in await client.read_deployments() if each.work_pool_name == "whatsapp"]


async def test_every_deployment_lands_as_it_is_written_and_its_schedule_makes_its_runs(client: PrefectClient) -> None:
    landed = {each.name: each for each in await _deployed(client)}
    assert set(landed) == {told["name"] for told in TOLD["deployments"]}
    for told in TOLD["deployments"]:
        here = landed[told["name"]]
        assert (here.entrypoint, set(here.tags)) == (told["entrypoint"], set(told["tags"]))
        assert (
            here.parameters.items() >= {k: v for k, v in told.get("parameters", {}).items() if k == "approve"}.items()
        )
        flow: Any = await asyncio.to_thread(load_flow_from_entrypoint, here.entrypoint, use_placeholder_flow=False)
        assert set(told.get("parameters", {})) <= set(flow.parameters.properties)
        assert len(here.schedules) == (1 if told["name"] == WEEKLY else 0)
    (schedule,) = landed[WEEKLY].schedules
    assert (schedule.slug, schedule.active) == ("monday-nine", False), "turning it on is for a person to do"

    await client.update_deployment_schedule(landed[WEEKLY].id, schedule.id, active=True)
    theirs = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[landed[WEEKLY].id]))
    async with asyncio.timeout(60):
        while not (runs := await client.read_flow_runs(flow_run_filter=theirs)):  # noqa: ASYNC110  # nobody tells of it
            await asyncio.sleep(0.3)
    starts = sorted(run.expected_start_time for run in runs if run.expected_start_time)
    assert all(start.astimezone(ZoneInfo("Etc/UTC")).strftime("%a %H:%M") == "Mon 09:00" for start in starts)
    assert {(later - earlier).total_seconds() for earlier, later in pairwise(starts)} == {7 * 86_400}


async def test_deploying_again_leaves_hour_zone_and_further_schedules_as_a_person_has_set_them(
    client: PrefectClient,
) -> None:
    weekly = await client.read_deployment_by_name(f"broadcast-audio/{WEEKLY}")
    (schedule,) = weekly.schedules
    own = CronSchedule(cron="30 14 * * 1", timezone="Europe/Berlin")
    await client.update_deployment_schedule(weekly.id, schedule.id, active=True, schedule=own)
    further = CronSchedule(cron="0 18 * * 4", timezone="Europe/Berlin")
    await client.create_deployment_schedules(weekly.id, [(further, True)])

    await asyncio.to_thread(_deploy_all, str(client.api_url))
    again = (await client.read_deployment(weekly.id)).schedules
    kept = sorted(((each.schedule, each.active) for each in again), key=lambda each: each[0] == further)
    assert kept == [(own, True), (further, True)]
