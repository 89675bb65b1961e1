"""`prefect-whatsapp demo`: a whole broadcast on this machine, and whether all who saw it agree."""

import asyncio
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..models.errors import InputError
from ..models.options import Runs, Scale
from ..sandbox.phones import Phone
from ..sandbox.processes import QUIET
from ..sandbox.s3 import bucket_block, local_s3
from ..sandbox.samples import write_recipients, write_sample_mp3
from ..sandbox.sender import sandbox_sender
from ..sandbox.server import RunningSandbox
from ..sandbox.settings import SandboxSettings
from .prefect_server import prefect_server

BUCKET = "sandbox-broadcasts"
PROGRESS_SECONDS = 0.5
RECEIPTS_SECONDS = 30.0
# A third of the phones play the voice note, a third only look at the chat, the rest lie in a pocket.
PHONES = (Phone(does="played", fraction=0.34), Phone(does="read", fraction=0.5), Phone(does="delivered"))


def run_demo(
    *,
    provider: str,
    kind: Literal["audio", "contacts"],
    recipients: int,
    runs: Runs,
    as_json: bool,
) -> int:
    """Start what a broadcast needs, run one, compare what all sides saw, stop everything.

    Returns:
        0 where the report, the sandbox's truth and Prefect's API agree, else 1.
    """
    console = Console(stderr=as_json)
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prefect-whatsapp-demo-")))
        console.print("Starting a local S3, the sandbox and a Prefect server …")
        s3, sandbox, server = _started(
            stack,
            local_s3(home / "s3"),
            RunningSandbox(SandboxSettings(fetch_links=True)),
            prefect_server(home / "prefect"),
        )
        os.environ.update(
            QUIET,
            PREFECT_HOME=str(home / "prefect"),
            PREFECT_API_URL=f"{server.url}/api",
            PREFECT_LOGGING_LEVEL="WARNING",
            # Named, as in a container it is to be thrown away; and never the one that somebody uses for real.
            PREFECT_WHATSAPP_LEDGER=str(home / "ledger.db"),
        )
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            os.environ.pop(name, None)
        console.print(f"Prefect UI while it runs: {server.url}")
        result = asyncio.run(
            _broadcast(home, s3.url, sandbox, console, provider=provider, kind=kind, count=recipients, runs=runs)
        )
        result["truth"] = _truth(sandbox.truth()) | sandbox.reached()
        result["agree"] = _agree(result, recipients, runs)
        _print(result, console, as_json=as_json)
        console.print("Stopping what was started.")
    return 0 if result["agree"] else 1


def _started(stack: ExitStack, *services: AbstractContextManager[Any]) -> list[Any]:
    """Start services at the same time; what has started is stopped with the stack, also where another failed."""
    with ThreadPoolExecutor(len(services)) as pool:
        starting = [pool.submit(service.__enter__) for service in services]
    for service, start in zip(services, starting, strict=True):
        if not start.exception():
            stack.push(service)
    try:
        return [start.result() for start in starting]
    except RuntimeError as error:
        first, *log = str(error).splitlines()
        why = f"{first.partition('): ')[0]}): {log[-1]}" if log else first
        raise InputError(f"the demo can't start: {why}") from None


async def _broadcast(
    home: Path,
    s3_url: str,
    sandbox: RunningSandbox,
    console: Console,
    *,
    provider: str,
    kind: str,
    count: int,
    runs: Runs,
) -> dict[str, Any]:
    # Imported now: Prefect reads its settings, just put into the environment, on import.
    from prefect.logging.handlers import APILogHandler
    from prefect_whatsapp.flows import broadcast_audio, broadcast_contacts
    from prefect_whatsapp.models import Contact
    from prefect_whatsapp.receipts.running import RunningReceiver

    logging.getLogger("prefect").setLevel(logging.WARNING)
    bucket = bucket_block(s3_url, BUCKET)
    mp3 = await asyncio.to_thread(write_sample_mp3, home / "weekly.mp3")
    people = await asyncio.to_thread(write_recipients, home / "list.csv", count)
    await bucket.aupload_from_path(mp3, "weekly.mp3")
    await bucket.aupload_from_path(people, "list.csv")
    sender = sandbox_sender(provider, sandbox.url)
    await sender.asave("sandbox", overwrite=True)
    await bucket.asave("sandbox", overwrite=True)
    common: dict[str, Any] = {
        "broadcast": "demo",
        "sender": sender,
        "recipients": f"s3://{BUCKET}/list.csv",
        "storage": bucket,
        "scale": Scale(runs=runs),
    }
    if kind == "audio":
        run: Any = partial(broadcast_audio, audio=f"s3://{BUCKET}/weekly.mp3")
    else:
        cards = [Contact(name="Sandbox Support", phone="+16505550199", organisation="Sandbox")]
        run = partial(broadcast_contacts, contacts=cards)
    with RunningReceiver({f"{provider}/sandbox": sender}) as receiver:
        sandbox.phones(*PHONES)
        sandbox.receive_at(receiver.url, only=provider, at_most=100, collect_seconds=0.1)
        with _progress(console, count) as show:
            following = asyncio.create_task(_follow(show))
            try:
                state = await run(**common, return_state=True)
            finally:
                following.cancel()
            report = await state.aresult()
            show(report.planned - report.pending)
            await APILogHandler.aflush()  # before the server stops, or Prefect complains at the end
        console.print("Waiting for what the phones tell …")
        await asyncio.to_thread(sandbox.webhooks_done, RECEIPTS_SECONDS)
    return {
        "provider": provider,
        "kind": kind,
        "report": report.model_dump() | await _by_now(),
        "task_runs_completed": await _completed_task_runs(state.state_details.flow_run_id),
    }


async def _follow(show: Any) -> None:
    from prefect_whatsapp.ledger import LedgerStore
    from prefect_whatsapp.models import OPEN_STATES

    async with LedgerStore.open() as store:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            if record := await store.find_broadcast("demo"):
                counts = await store.counts(record)
                show(sum(n for state, n in counts.items() if state not in OPEN_STATES))


async def _by_now() -> dict[str, int]:
    """What the ledger says after the receipts."""
    from prefect_whatsapp.ledger import LedgerStore
    from prefect_whatsapp.models import outcome_counts

    async with LedgerStore.open() as store:
        record = await store.find_broadcast("demo")
        assert record
        return outcome_counts(await store.counts(record))


async def _completed_task_runs(flow_run_id: Any) -> int:
    """Sends that Prefect's API shows as COMPLETED."""
    from prefect.client.orchestration import get_client
    from prefect_whatsapp.sending.backpressure import count_sends

    async with get_client() as client:
        return await count_sends(client, flow_run_id, ["COMPLETED"])


def _truth(truth: dict[str, Any]) -> dict[str, Any]:
    return {key: truth[key] for key in ("calls", "uploads", "accepted_total", "duplicates_total")}


def _agree(result: dict[str, Any], recipients: int, runs: str) -> bool:
    report, truth, kind, provider = result["report"], result["truth"], result["kind"], result["provider"]
    keeps_media = sandbox_sender(provider, "http://127.0.0.1").dialect().media_id_days > 0
    once = int(kind == "audio" and keeps_media)
    return (
        report["accepted"] == report["planned"] == truth["accepted_total"] == recipients
        and not truth["duplicates_total"]
        and all(report[step] == truth[step] for step in ("delivered", "read", "played"))
        and report["delivered"] == recipients
        and report["uploads"] == truth["uploads"] == once
        and report["transcodes"] == (1 if kind == "audio" else 0)
        and (result["task_runs_completed"] == recipients if runs != "batch" else result["task_runs_completed"] > 0)
    )


def _print(result: dict[str, Any], console: Console, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(result, ensure_ascii=False))
        return
    table = Table(title="Comparison")
    for column in ("", "report", "sandbox", "Prefect API"):
        table.add_column(column, justify="right")
    report, truth = result["report"], result["truth"]
    table.add_row("accepted", str(report["accepted"]), str(truth["accepted_total"]), str(result["task_runs_completed"]))
    for name in ("delivered", "read", "played"):
        table.add_row(name, str(report[name]), str(truth[name]), "")
    table.add_row("uploads", str(report["uploads"]), str(truth["uploads"]), "")
    table.add_row("transcodes", str(report["transcodes"]), "", "")
    for name in ("failed", "skipped", "unknown", "pending", "removed"):
        table.add_row(name, str(report[name]), "", "")
    table.add_row("sent twice", "", str(truth["duplicates_total"]), "")
    console.print(table)
    console.print(
        f"{report['seconds']:.1f} s. " + ("All agree." if result["agree"] else "[red]They do not agree.[/red]")
    )


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Any]:
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, redirect_stdout=False, redirect_stderr=False) as progress:
        bar = progress.add_task("sending", total=total)
        yield lambda done: progress.update(bar, completed=done)
