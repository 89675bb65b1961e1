"""Looks at everything that a broadcast needs, before it is needed: a line each, with what to do about it."""

import asyncio
import datetime
import email.utils
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import httpx
from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, FlowFilter, FlowFilterName
from prefect.settings import get_current_settings
from rich.console import Console
from rich.table import Table

from ..blocks import Ledger
from ..blocks.sender import Sender
from ..blocks.senders import sender_blocks
from ..ledger.address import read_address
from ..models import mask_numbers
from ..models.errors import WhatsAppError
from ..models.hosts import is_loopback

BROADCAST_FLOWS = ("broadcast-audio", "broadcast-contacts")
# The names in deployments/automations/*.yaml, which are no part of the installed package.
AUTOMATIONS = (
    "Crash a broadcast that went silent",
    "Crash a broadcast that never started",
    "Run a crashed broadcast again",
    "Run a broadcast again after an outage",
    "Ask for attention after three crashes",
)
# Graph refuses nothing for a clock, but S3 does beyond 15 minutes, and receipts are dated by the service.
CLOCK_SECONDS = 30.0
HEARTBEAT_SECONDS = 60
LITTLE_SPACE, NO_SPACE = 2e9, 2e8
RECORDER_BATCH = 100
ASK_SECONDS = 15.0

Status = Literal["ok", "warning", "problem"]
_SHOWN: dict[Status, str] = {
    "ok": "[green]ok[/green]",
    "warning": "[yellow]warning[/yellow]",
    "problem": "[red]problem[/red]",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes:
        what: What was looked at.
        status: `ok`, `warning`: a broadcast runs, but not as well as it could; `problem`: it does not run.
        found: What was found.
        advice: What to do; empty where there is nothing to do.
    """

    what: str
    status: Status
    found: str
    advice: str = ""


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
        _print(findings)
    return int(any(finding.status == "problem" for finding in findings))


async def examine(*, ledger: str = "", receiver: str = "") -> list[Finding]:
    """Look at everything.

    Args:
        ledger: Address of a ledger, beside those of the saved blocks.
        receiver: Address of the receiver; empty where there is none.
    """
    findings = [
        *await _looked("ffmpeg", _ffmpeg),
        *await _looked("disk", _disk),
        *await _looked("heartbeat", _heartbeat),
        *await _looked("ledger", lambda: _ledger("embedded" if not ledger else "ledger", ledger)),
    ]
    server = await _looked("Prefect server", _server)
    findings += server
    if server[0].status == "problem":
        return [*findings, *await _looked("receiver", lambda: _receiver(receiver))]
    async with get_client() as client:
        findings += await _looked("server settings", lambda: _server_settings(client))
        findings += await _looked("automations", lambda: _automations(client))
        findings += await _looked("worker", lambda: _workers(client))
        findings += await _looked("blocks", lambda: _blocks(client))
    return [*findings, *await _looked("receiver", lambda: _receiver(receiver))]


async def _looked(what: str, look: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """Look; whatever is raised is a finding too, without secrets and whole numbers."""
    try:
        return await asyncio.wait_for(look(), 4 * ASK_SECONDS)
    except WhatsAppError as failure:
        return [Finding(what, "problem", failure.message)]
    except TimeoutError:
        return [Finding(what, "problem", "no answer", "check that what it depends on is running")]
    except Exception as failure:
        return [Finding(what, "problem", f"{type(failure).__name__} while looking at it", "see the lines above")]


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


async def _ledger(name: str, url: str) -> list[Finding]:
    from ..ledger import LedgerStore
    from ..ledger.schema import SCHEMA_VERSION

    what = f"ledger {name}"
    address = read_address(url)
    if address.path and not address.path.exists():
        return [Finding(what, "ok", f"{address.shown}: the first broadcast creates it")]
    async with LedgerStore.open(url, patience_seconds=3.0) as store:
        count = len(await store.broadcasts())
        found = f"{store.address}: {count:,} broadcasts, schema {SCHEMA_VERSION}"
    if address.path and (kind := _volatile(address.path)):
        return [
            Finding(
                what, "problem", f"{found}, on {kind}", "move it to a disk: a restart would delete the send history"
            )
        ]
    return [Finding(what, "ok", found)]


def _volatile(path: Path) -> str:
    """The kind of file system that a path is on, where that does not outlive a restart; Linux only."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return ""
    within = [(fields[1], fields[2]) for fields in mounts if path.resolve().is_relative_to(fields[1])]
    kind = max(within, default=("", ""), key=lambda mount: len(mount[0]))[1]
    return kind if kind in ("tmpfs", "ramfs") else ""


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
    if guarded or is_loopback(host):
        return [
            said,
            Finding("server auth", "ok", "required" if guarded else "none, but only this machine can reach it"),
        ]
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


# Blocks and services --------------------------------------------------------------------------------------------------


async def _blocks(client: PrefectClient) -> list[Finding]:
    found = [finding async for finding in _senders(client)]
    if not found:
        found = [Finding("accounts", "warning", "no account is saved as a block", "save one in the UI, under Blocks")]
    for name, block in await _saved(client, Ledger):
        if isinstance(block, Finding):
            found.append(block)
        else:
            url = cast("Ledger", block).url.get_secret_value()
            found += await _looked(f"ledger {name}", partial(_ledger, name, url))
    return found


async def _senders(client: PrefectClient) -> AsyncIterator[Finding]:
    for kind in sender_blocks().values():
        for name, block in await _saved(client, kind):
            if isinstance(block, Finding):
                yield block
                continue
            sender, what = cast("Sender", block), f"{kind.get_block_type_slug()}/{name}"
            for finding in await _looked(what, partial(_account, what, sender)):
                yield finding


async def _saved(client: PrefectClient, kind: type[Block]) -> list[tuple[str, Block | Finding]]:
    """The saved blocks of a type, loaded; one that can't be is a finding."""
    slug = kind.get_block_type_slug()
    if all(each.slug != slug for each in await client.read_block_types()):
        return []
    blocks: list[tuple[str, Block | Finding]] = []
    for document in await client.read_block_documents_by_type(slug):
        name = str(document.name)
        try:
            blocks.append((name, cast("Block", await kind.aload(name))))
        except Exception as failure:
            advice = "open it in the UI and save it again"
            what = f"{slug}/{name}"
            blocks.append((name, Finding(what, "problem", f"it can't be loaded: {type(failure).__name__}", advice)))
    return blocks


async def _account(what: str, sender: Sender) -> list[Finding]:
    try:
        status = await sender.acheck()
    except WhatsAppError as failure:
        return [
            Finding(
                what,
                "problem",
                mask_numbers(failure.message),
                "correct the block, or resolve the problem with the account",
            )
        ]
    found = mask_numbers(f"{status.state} {status.detail}".strip())
    if not status.ready:
        return [
            Finding(what, "problem", f"can't send now: {found}", "resolve the problem with the account at the service")
        ]
    return [Finding(what, "ok", found), *await _clock(what, sender)]


async def _clock(what: str, sender: Sender) -> list[Finding]:
    """Compare this machine's clock with the `Date` of the service's answer, whatever the answer is."""
    address = urlsplit(sender.base_url)
    async with httpx.AsyncClient(timeout=ASK_SECONDS) as plain:
        began = datetime.datetime.now(datetime.UTC)
        answer = await plain.get(f"{address.scheme}://{address.netloc}/")
    told = answer.headers.get("date")
    if not told:
        return []
    behind = (email.utils.parsedate_to_datetime(told) - began).total_seconds()
    if abs(behind) > CLOCK_SECONDS:
        way = "behind" if behind > 0 else "ahead of"
        advice = "turn on time synchronisation: schedules, link lifetimes and receipts depend on the clock"
        return [Finding(f"clock, by {what}", "problem", f"{abs(behind):.0f} s {way} the service's", advice)]
    return [Finding(f"clock, by {what}", "ok", f"within {CLOCK_SECONDS:.0f} s of the service's")]


async def _receiver(address: str) -> list[Finding]:
    if not address:
        return [Finding("receiver", "ok", "not checked: no receiver was named (--receiver)")]
    async with httpx.AsyncClient(timeout=ASK_SECONDS) as plain:
        try:
            answer = await plain.get(f"{address.rstrip('/')}/health")
        except httpx.HTTPError as failure:
            found = f"{address} does not answer: {type(failure).__name__}"
            return [Finding("receiver", "problem", found, "start it: prefect-whatsapp receive graph/NAME")]
    if answer.status_code != 200:
        return [Finding("receiver", "problem", f"{address}/health answers HTTP {answer.status_code}", "check its log")]
    return [Finding("receiver", "ok", f"{address} responds")]


def _print(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found", "what to do"):
        table.add_column(column, overflow="fold")
    from rich.markup import escape

    for finding in findings:
        table.add_row(_SHOWN[finding.status], *(escape(text) for text in (finding.what, finding.found, finding.advice)))
    width = None if os.isatty(1) else 160
    Console(width=width).print(table)
