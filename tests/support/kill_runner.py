"""Runs broadcasts that are to be killed: `python kill_runner.py`, one job a line on standard input, as JSON.

Prefect's import takes seconds, so it is made once: each broadcast is a fork of this process, made while it has one
thread and no loop. It says `forked JOB PID`, `sending JOB` (the first claim is durable) and `ended JOB STATUS`; when
its input ends it kills what still runs.
"""

import asyncio
import functools
import gc
import importlib
import json
import os
import select
import signal
import ssl
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import kill_points
import uvicorn
from prefect import tags
from prefect_aws import AwsClientParameters, AwsCredentials, S3Bucket
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows import broadcast_audio, broadcast_contacts
from prefect_whatsapp.models import Contact
from prefect_whatsapp.models.errors import BroadcastStoppedError
from prefect_whatsapp.receipts import create_app
from prefect_whatsapp.recipients import reader
from prefect_whatsapp.sandbox.s3 import ACCESS_KEY, REGION, SECRET_KEY
from pydantic import SecretStr
from senders import PROVIDERS, sender_of

# What a run imports on its way, half of its CPU time.
PRELOADED = (
    "aiosqlite",
    "alembic.context",
    "anyio._backends._asyncio",
    "av",
    "fastapi",
    "graphviz",
    "prefect.task_engine",
)
PLAN_CHUNK = 20  # rows: so that a plan of some dozens is several transactions


def broadcast(job: dict[str, Any]) -> dict[str, Any]:
    """Run one broadcast to its end; what it reported or raised."""
    arguments = dict(job["arguments"])
    provider = arguments.pop("provider", "graph")
    arguments["sender"] = sender_of(provider, arguments.pop("url"), **arguments.pop("fields", {}))
    arguments["ledger"] = Ledger(**arguments["ledger"])
    if storage := arguments.pop("storage", None):
        arguments["storage"] = bucket_of(**storage)
    try:
        with tags(*job.get("tags", ())):
            if "contacts" in arguments:
                arguments["contacts"] = [Contact(**card) for card in arguments["contacts"]]
                report = asyncio.run(broadcast_contacts(**arguments))
            else:
                report = asyncio.run(broadcast_audio(**arguments))
    except BroadcastStoppedError as stopped:
        return {"error": type(stopped).__name__, "says": str(stopped), "report": _plain(stopped.report)}
    except BaseException as raised:
        return {"error": type(raised).__name__, "says": str(raised), "report": None}
    return {"error": "", "says": "", "report": _plain(report)}


def receive(url: str, port: int, ledger: dict[str, Any]) -> None:
    """Take the webhooks of all four services of a sandbox into a ledger, until this process is told to end."""
    senders = {f"{provider}/sandbox": sender_of(provider, url) for provider in PROVIDERS}
    app = create_app(senders, ledger=Ledger(**ledger), events=False, moved=None)
    uvicorn.run(app, host="127.0.0.1", port=port, access_log=False, log_level="warning")


def bucket_of(url: str, bucket: str) -> S3Bucket:
    """The block of a bucket that is there, or was."""
    credentials = AwsCredentials(
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SecretStr(SECRET_KEY),
        region_name=REGION,
        aws_client_parameters=AwsClientParameters(endpoint_url=url),
    )
    return S3Bucket(bucket_name=bucket, credentials=credentials)


def _plain(report: Any) -> Any:
    return None if report is None else report.model_dump()


def prepare(job: dict[str, Any]) -> None:
    """Arm what is to happen to this process."""
    reader.CHUNK_ROWS = PLAN_CHUNK
    if stop := job.get("stop"):
        kill_points.install(kill_points.Stop(**stop))
    if host := job.get("host"):
        kill_points.live_on(host, lapse_seconds=job["lapse_seconds"], beat_seconds=job["lapse_seconds"] / 10)
    if job.get("forget_doubts"):
        kill_points.forget_doubts()
    match job.get("after_sends"):
        case [count, "clock back", seconds]:
            kill_points.after_sends(count, functools.partial(kill_points.set_clock_back, seconds))
        case [count, "disk full", seconds]:
            path = job["arguments"]["ledger"]["url"]
            kill_points.after_sends(count, functools.partial(kill_points.fill_the_disk, path, seconds))


def child(job: dict[str, Any], say: int) -> None:
    """What the fork does: never returns."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(job["log"], os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    if receiving := job.get("receive"):
        receive(**receiving)
        sys.exit(0)
    prepare(job)
    sending = f"sending {job['id']}\n".encode()
    kill_points.Witness(job["witness"], on_first_claim=lambda: _ignore(os.write(say, sending))).install()
    outcome = broadcast(job)
    result = Path(job["result"])
    result.with_suffix(".part").write_text(json.dumps(outcome))
    result.with_suffix(".part").rename(result)
    sys.exit(0)


def _ignore(_: object) -> None:
    pass


def main() -> None:
    """Fork for each job, and reap."""
    for name in PRELOADED:
        importlib.import_module(name)
    # A third of a run's CPU time: certificates that no address here asks for, and pages copied by a collection.
    ssl.create_default_context = functools.cache(ssl.create_default_context)
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1, threading.enumerate()
    say = os.dup(1)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, int] = {}
    os.write(say, b"ready\n")
    waiting = b""
    while True:
        readable, _, _ = select.select([0, woken], [], [])
        if woken in readable:
            os.read(woken, 1024)
        if 0 in readable:
            chunk = os.read(0, 1 << 20)
            if not chunk:
                break
            *lines, waiting = (waiting + chunk).split(b"\n")
            for line in lines:
                job = json.loads(line)
                pid = os.fork()
                if pid == 0:
                    child(job, say)
                running[pid] = job["id"]
                os.write(say, f"forked {job['id']} {pid}\n".encode())
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            os.write(say, f"ended {running.pop(pid)} {os.waitstatus_to_exitcode(status)}\n".encode())
    for pid in running:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
