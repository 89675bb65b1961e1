"""What the doctor looks at on the Prefect server: its settings, the automations, the deployments and their workers."""

import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import get_current_settings
from pydantic import TypeAdapter

from ..models import mask_numbers
from ..models.escaping import printable
from ..models.hosts import is_loopback
from .findings import Finding

BROADCAST_FLOWS = ("broadcast-audio", "broadcast-contacts")
# The names in deployments/automations/*.yaml, which are no part of the installed package.
AUTOMATIONS = (
    "Crash a broadcast that went silent",
    "Crash a broadcast that is still silent",
    "Crash a broadcast that never started",
    "Run a crashed broadcast again",
    "Run a broadcast again that is still crashed",
    "Run a broadcast again after an outage",
    "Ask for attention after three crashes",
)
RECORDER_BATCH = 100
# Prefect's own, both of which know after a restart nothing of what was before it.
FORGETFUL_ORDERINGS = "prefect.server.events.ordering."
REMEMBERED = datetime.timedelta(hours=1)
# The automations act within five minutes on what crashed, and after ten on what was taken and not started.
STUCK_AFTER = {StateType.CRASHED: datetime.timedelta(minutes=5), StateType.PENDING: datetime.timedelta(minutes=15)}
LOOKED_BACK = datetime.timedelta(days=7)


async def look_at_server() -> list[Finding]:
    """Look whether the server answers."""
    url = get_current_settings().api.url
    if not url:
        advice = "start one with `make server`, and set PREFECT_API_URL to its address followed by /api"
        return [Finding("Prefect server", "problem", "PREFECT_API_URL is not set", advice)]
    async with get_client() as client:
        failure = await client.api_healthcheck()
        if failure is not None:
            advice = "start it with `make server`, or correct PREFECT_API_URL or PREFECT_API_AUTH_STRING"
            return [Finding("Prefect server", "problem", f"{url}: {type(failure).__name__}", advice)]
        return [Finding("Prefect server", "ok", f"{url}, version {await client.api_version()}")]


async def look_at_server_settings(client: PrefectClient) -> list[Finding]:
    """Look whether the server records fast enough, survives its own restart, and who can read it."""
    try:
        settings: dict[str, Any] = (await client.request("GET", "/admin/settings")).json()["server"]
    except httpx.HTTPStatusError:
        return [Finding("server settings", "ok", "not available: Prefect Cloud manages its own")]
    return [_recorder(settings), _restart(settings), _guard(settings, urlsplit(str(client.api_url)).hostname or "")]


def _recorder(settings: dict[str, Any]) -> Finding:
    batch = int(settings["services"]["task_run_recorder"]["batch_size"])
    if batch < RECORDER_BATCH:
        advice = "start the server with deployments/server.env to record four times as fast"
        return Finding("recorder", "warning", f"task runs are recorded {batch} at a time", advice)
    return Finding("recorder", "ok", f"task runs are recorded up to {batch} at a time")


def _restart(settings: dict[str, Any]) -> Finding:
    events = settings["events"]
    remembered = TypeAdapter(datetime.timedelta).validate_python(events["expired_bucket_buffer"])
    if events["causal_ordering"].startswith(FORGETFUL_ORDERINGS) or remembered < REMEMBERED:
        found = "a broadcast that crashes while the server is down, or soon before, may stay as it is"
        return Finding("server restart", "warning", found, "start the server with deployments/server.env")
    return Finding("server restart", "ok", "a broadcast that crashes meanwhile is run again")


def _guard(settings: dict[str, Any], host: str) -> Finding:
    if settings["api"].get("auth_string"):
        return Finding("server auth", "ok", "required")
    if is_loopback(host):
        found = "none: every program and user of this machine can read the tokens in the blocks, and so can a web page open on it"
        advice = (
            "set PREFECT_SERVER_API_AUTH_STRING on the server; if it listens on more than this machine (--host 0.0.0.0), which "
            "can't be seen from here, others can read them too"
        )
        return Finding("server auth", "warning", found, advice)
    advice = "set PREFECT_SERVER_API_AUTH_STRING on the server: without it, others can read the tokens in the blocks"
    return Finding("server auth", "problem", f"none, and {host} is not this machine", advice)


async def look_at_automations(client: PrefectClient) -> list[Finding]:
    """Look whether the automations are there and on that run a broadcast again."""
    there = {automation.name: automation.enabled for automation in await client.read_automations()}
    advice = "turn them on: python deployments/automations/apply.py --walk-away"
    missing = [name for name in AUTOMATIONS if name not in there]
    paused = [name for name in AUTOMATIONS if there.get(name) is False]
    if missing or paused:
        found = "; ".join(f"{name}: {why}" for names, why in ((missing, "missing"), (paused, "off")) for name in names)
        return [Finding("automations", "warning", found, f"{advice}; without them a killed broadcast is not run again")]
    return [Finding("automations", "ok", "a killed broadcast is run again automatically")]


async def look_at_workers(client: PrefectClient) -> list[Finding]:
    """Look whether a broadcast is deployed, and a worker runs for each of its pools."""
    flows = FlowFilter(name=FlowFilterName(any_=[*BROADCAST_FLOWS]))
    deployments = await client.read_deployments(flow_filter=flows, deployment_filter=DeploymentFilter())
    if not deployments:
        advice = "prefect work-pool create whatsapp --type process && prefect --no-prompt deploy --all"
        return [Finding("deployments", "warning", "no broadcast is deployed here", advice)]
    found = [Finding("deployments", "ok", ", ".join(sorted(each.name for each in deployments)))]
    for pool in sorted({each.work_pool_name for each in deployments if each.work_pool_name}):
        workers = [
            each for each in await client.read_workers_for_work_pool(pool) if str(each.status).endswith("ONLINE")
        ]
        if workers:
            found.append(Finding(f"worker of {pool}", "ok", f"{len(workers)} running"))
        else:
            advice = f"prefect --profile whatsapp-sender worker start --pool {pool} --type process"
            found.append(
                Finding(f"worker of {pool}", "problem", "none is running: no run of the pool will start", advice)
            )
    return found


async def look_at_runs(client: PrefectClient) -> list[Finding]:
    """Look whether a broadcast stays crashed, or was taken by a worker and doesn't start."""
    found = await client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=[*BROADCAST_FLOWS])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[*STUCK_AFTER]))),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=100,
    )
    stuck = [run for run in found if _is_stuck(run, datetime.datetime.now(datetime.UTC))]
    if not stuck:
        return [Finding("runs", "ok", "none stays crashed or does not start")]
    named = ", ".join(f"{printable(mask_numbers(run.name))} is {run.state_name}" for run in stuck[:5])
    others = f", and {len(stuck) - 5} more" if len(stuck) > 5 else ""
    return [Finding("runs", "warning", named + others, "choose Retry in the run's menu: nobody is messaged twice")]


def _is_stuck(run: FlowRun, now: datetime.datetime) -> bool:
    if run.state is None:
        return False
    age = now - run.state.timestamp
    return STUCK_AFTER[run.state.type] < age < LOOKED_BACK
