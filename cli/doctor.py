"""Looks at everything that a broadcast needs, before it is needed: a line each, with what to do about it."""

import asyncio
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings

from .doctor_blocks import look_at_blocks, look_at_ledger, look_at_receiver
from .doctor_server import look_at_automations, look_at_runs, look_at_server, look_at_server_settings, look_at_workers
from .findings import Finding, looked, print_findings

HEARTBEAT_SECONDS = 60
LITTLE_SPACE, NO_SPACE = 2e9, 2e8


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
    server = await looked("Prefect server", look_at_server)
    findings += server
    if server[0].status == "problem":
        return [*findings, *await looked("receiver", lambda: look_at_receiver(receiver))]
    async with get_client() as client:
        findings += await looked("server settings", lambda: look_at_server_settings(client))
        findings += await looked("automations", lambda: look_at_automations(client))
        findings += await looked("worker", lambda: look_at_workers(client))
        findings += await looked("runs", lambda: look_at_runs(client))
        findings += await looked("blocks", lambda: look_at_blocks(client, receiver=receiver))
    return [*findings, *await looked("receiver", lambda: look_at_receiver(receiver))]


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
