"""Looks at everything that a broadcast needs, before it is needed: a line each, with what to do about it."""

import asyncio
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowFilter, FlowFilterName
from prefect.settings import get_current_settings

from ..models.hosts import is_loopback
from .doctor_blocks import look_at_blocks, look_at_ledger, look_at_receiver
from .findings import Finding, looked, print_findings

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
HEARTBEAT_SECONDS = 60
LITTLE_SPACE, NO_SPACE = 2e9, 2e8
RECORDER_BATCH = 100


def run_doctor(*, ledger: str, receiver: str, as_json: bool) -> int:
    """Look, print, and say by the exit status whether a broadcast can run.

    Args:
        ledger: Address of a ledger, beside those of the saved blocks.
        receiver: Address of the receiver; empty where there is none.
        as_json: Print the findings as JSON.

    Returns:
        0 where there is no problem, else 1.
    """
    findings = asyncio.run(examine(ledger=ledger, receiver=receiver))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        print_findings(findings)
    return int(any(finding.status == "problem" for finding in findings))


async def examine(*, ledger: str = "", receiver: str = "") -> list[Finding]:
    """Look at everything.

    Args:
        ledger: Address of a ledger, beside those of the saved blocks.
        receiver: Address of the receiver; empty where there is none.
    """
    findings = [
        *await looked("ffmpeg", _ffmpeg),
        *await looked("disk", _disk),
        *await looked("heartbeat", _heartbeat),
        *await looked("ledger", lambda: look_at_ledger("default" if not ledger else "named", ledger)),
    ]
    server = await looked("Prefect server", _server)
    findings += server
    if server[0].status == "problem":
        return [*findings, *await looked("receiver", lambda: look_at_receiver(receiver))]
    async with get_client() as client:
        findings += await looked("server settings", lambda: _server_settings(client))
        findings += await looked("automations", lambda: _automations(client))
        findings += await looked("worker", lambda: _workers(client))
        findings += await looked("blocks", lambda: look_at_blocks(client, receiver=receiver))
    return [*findings, *await looked("receiver", lambda: look_at_receiver(receiver))]


# This machine ---------------------------------------------------------------------------------------------------------


async def _ffmpeg() -> list[Finding]:
    from ..media.ffmpeg import ffmpeg_executable, ffmpeg_version

    executable = await asyncio.to_thread(ffmpeg_executable)
    return [Finding("ffmpeg", "ok", (await asyncio.to_thread(ffmpeg_version, executable))[:60])]


async def _disk() -> list[Finding]:
    home = Path(str(get_current_settings().home))
    folder = next(each for each in (home, *home.parents) if each.exists())
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free at {folder}"
    if free < NO_SPACE:
        return [
            Finding("disk", "problem", found, "free some space: the ledger and Prefect's database are written there")
        ]
    return [
        Finding("disk", "warning", found, "free some space soon")
        if free < LITTLE_SPACE
        else Finding("disk", "ok", found)
    ]


async def _heartbeat() -> list[Finding]:
    seconds = get_current_settings().flows.heartbeat_frequency
    if seconds is None or seconds > HEARTBEAT_SECONDS:
        found = "flow runs started here emit none" if seconds is None else f"every {seconds} s"
        advice = "set PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 where the worker starts: a run whose machine fails is then noticed"
        return [Finding("heartbeat", "warning", found, advice)]
    return [Finding("heartbeat", "ok", f"every {seconds} s")]


# Prefect --------------------------------------------------------------------------------------------------------------


async def _server() -> list[Finding]:
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


async def _server_settings(client: PrefectClient) -> list[Finding]:
    try:
        settings: dict[str, Any] = (await client.request("GET", "/admin/settings")).json()
    except httpx.HTTPStatusError:
        return [Finding("server settings", "ok", "not available: Prefect Cloud manages its own")]
    recorder = settings["server"]["services"]["task_run_recorder"]
    batch = int(recorder["batch_size"])
    if batch < RECORDER_BATCH:
        found = f"task runs are recorded {batch} at a time"
        said = Finding(
            "recorder",
            "warning",
            found,
            "start the server with deployments/server.env to record four times as fast",
        )
    else:
        said = Finding("recorder", "ok", f"task runs are recorded up to {batch} at a time")
    host = urlsplit(str(client.api_url)).hostname or ""
    guarded = bool(settings["server"]["api"].get("auth_string"))
    if guarded:
        return [said, Finding("server auth", "ok", "required")]
    if is_loopback(host):
        found = "none: every program and user of this machine can read the tokens in the blocks, and so can a web page open on it"
        advice = (
            "set PREFECT_SERVER_API_AUTH_STRING on the server; if it listens on more than this machine (--host 0.0.0.0), which "
            "can't be seen from here, others can read them too"
        )
        return [said, Finding("server auth", "warning", found, advice)]
    advice = "set PREFECT_SERVER_API_AUTH_STRING on the server: without it, others can read the tokens in the blocks"
    return [said, Finding("server auth", "problem", f"none, and {host} is not this machine", advice)]


async def _automations(client: PrefectClient) -> list[Finding]:
    there = {automation.name: automation.enabled for automation in await client.read_automations()}
    advice = "turn them on: python deployments/automations/apply.py --walk-away"
    missing = [name for name in AUTOMATIONS if name not in there]
    paused = [name for name in AUTOMATIONS if there.get(name) is False]
    if missing or paused:
        found = "; ".join(f"{name}: {why}" for names, why in ((missing, "missing"), (paused, "off")) for name in names)
        return [Finding("automations", "warning", found, f"{advice}; without them a killed broadcast is not run again")]
    return [Finding("automations", "ok", "a killed broadcast is run again automatically")]


async def _workers(client: PrefectClient) -> list[Finding]:
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
