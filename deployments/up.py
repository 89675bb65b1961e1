"""`make up` and `make down`: a Prefect server, a worker, simulated services and a local S3 that stay until stopped.

What runs is noted in `.up/`, with its logs, the Prefect database and the ledger; the ports stay the same from one
`up` to the next, so that saved blocks keep their addresses. `down` ends the processes and keeps the rest.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlsplit

from prefect_whatsapp.cli.prefect_server import SERVER_SETTINGS, start_prefect_server
from prefect_whatsapp.providers.registry import providers
from prefect_whatsapp.sandbox.processes import QUIET, Process, ServiceError, free_port, start_process
from prefect_whatsapp.sandbox.s3 import bucket_block, start_s3
from prefect_whatsapp.sandbox.samples import write_recipients, write_sample_mp3
from prefect_whatsapp.sandbox.settings import SandboxSettings

ROOT = Path(__file__).resolve().parent.parent
AUTOMATIONS = Path(__file__).resolve().parent / "automations"
PREFERRED_PORTS = {"prefect": 4200, "sandbox": 8090, "s3": 5000}
PREFECT = [sys.executable, "-m", "prefect"]
POOL, BUCKET = "whatsapp", "broadcasts"
STOP_SECONDS = 15.0


def up(state: Path, *, recipients: int = 200, ports: Mapping[str, int] = PREFERRED_PORTS) -> dict[str, Any]:
    """Start what a broadcast needs, save the blocks and deploy the flows.

    Args:
        state: Folder of what is kept.
        recipients: People on the sample list.
        ports: Ports to take if they are free and an earlier `up` took no others; 0 for any.

    Returns:
        The addresses and process ids, as written to `state/up.json`.

    Raises:
        ServiceError: Something did not start; what had started is stopped again.
    """
    known = _read(state)
    if known.get("processes") and all(_alive(entry) for entry in known["processes"].values()):
        return known
    stop(state)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    secrets, new = _secrets(state)
    ports = {name: _port(known.get("ports", {}).get(name, wished)) for name, wished in ports.items()}
    api = f"http://127.0.0.1:{ports['prefect']}/api"
    environment = {
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_API_URL": api,
        "PREFECT_API_AUTH_STRING": secrets["login"],
        "PREFECT_PROFILE": "ephemeral",
    }
    starts: dict[str, Callable[[], Process]] = {
        "s3": lambda: start_s3(state / "s3", port=ports["s3"]),
        "sandbox": lambda: _sandbox(state, ports["sandbox"]),
        "prefect": lambda: start_prefect_server(
            state / "prefect", port=ports["prefect"], settings=_server_settings(ports["prefect"], secrets)
        ),
    }
    started: dict[str, Process] = {}
    try:
        with ThreadPoolExecutor() as pool:
            starting = {name: pool.submit(start) for name, start in starts.items()}
        for name, future in starting.items():
            if not future.exception():
                started[name] = future.result()
        for future in starting.values():
            future.result()
        fill = [str(recipients), started["s3"].url, started["sandbox"].url]
        _run([sys.executable, __file__, "fill", "--state", str(state), "--with", *fill], environment)
        _run([*PREFECT, "work-pool", "create", POOL, "--type", "process", "--overwrite"], environment)
        _run([*PREFECT, "--no-prompt", "deploy", "--all"], environment)
        _run([sys.executable, str(AUTOMATIONS / "apply.py"), "--walk-away"], environment)
        started["worker"] = _worker(state, environment, started["s3"].url)
    except BaseException:
        for process in reversed(started.values()):
            process.stop()
        raise
    told = {
        "url": started["prefect"].url,
        "api": api,
        "sandbox": started["sandbox"].url,
        "s3": started["s3"].url,
        "ports": ports,
        "processes": {name: {"pid": process.popen.pid, "born": _born(process.popen.pid)}
                      for name, process in started.items()},
    }  # fmt: skip
    (state / "up.json").write_text(json.dumps(told, indent=1))
    return {**told, "login": secrets["login"] if new else ""}


def _secrets(state: Path) -> tuple[dict[str, str], bool]:
    """The server's login and the key of its blocks, made by the first `up`; and whether they are new."""
    file = state / "secrets.json"
    if file.exists():
        kept: dict[str, str] = json.loads(file.read_text())
        return kept, False
    made = {"login": f"admin:{token_urlsafe(12)}"}
    if not (state / "prefect" / "prefect.db").exists():  # the blocks of an older database have its own key
        made["key"] = base64.urlsafe_b64encode(os.urandom(32)).decode()  # as Fernet takes it
    with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as stream:
        json.dump(made, stream)
    return made, True


def _server_settings(port: int, secrets: Mapping[str, str]) -> dict[str, str]:
    """What `secure.env` says, for this server."""
    return {
        "PREFECT_SERVER_API_AUTH_STRING": secrets["login"],
        "PREFECT_API_AUTH_STRING": secrets["login"],
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        **({"PREFECT_SERVER_ENCRYPTION_KEY": secrets["key"]} if "key" in secrets else {}),
    }


def stop(state: Path) -> list[str]:
    """End what `up` started, asked first, killed after; only processes that still are the ones it noted.

    Returns:
        Their names.
    """
    known, ended = _read(state), []
    for name in ("worker", "prefect", "sandbox", "s3"):
        entry = known.get("processes", {}).get(name)
        if entry and _alive(entry):
            _end(entry)
            ended.append(name)
    if known:
        (state / "up.json").write_text(json.dumps({"ports": known.get("ports", {})}, indent=1))
    return ended


async def _fill(state: Path, recipients: int, s3: str, sandbox: str) -> None:
    """Put a sample broadcast into S3 and save the blocks that the forms and the weekly deployment name."""
    from prefect_whatsapp.blocks import Ledger
    from prefect_whatsapp.sandbox.sender import sandbox_sender

    bucket = await asyncio.to_thread(bucket_block, s3, BUCKET)
    await bucket.aupload_from_path(write_sample_mp3(state / "weekly.mp3"), "weekly.mp3")
    await bucket.aupload_from_path(write_recipients(state / "list.csv", recipients), "list.csv")
    graph = sandbox_sender("graph", sandbox).model_copy(update={"messages_per_second": 80.0})
    for name in ("sandbox", "weekly"):
        await bucket.asave(name, overwrite=True)
        await graph.asave(name, overwrite=True)
    for provider in providers().keys() - {"graph"}:
        await sandbox_sender(provider, sandbox).asave("sandbox", overwrite=True)
    await Ledger().asave("embedded", overwrite=True)


def _sandbox(state: Path, port: int) -> Process:
    settings = SandboxSettings(fetch_links=True).model_dump_json()
    return start_process(
        "the sandbox",
        [sys.executable, "-m", "prefect_whatsapp.sandbox", "--port", str(port), "--settings", settings],
        url=f"http://127.0.0.1:{port}",
        ready="/_sandbox/truth",
        log=state / "sandbox.log",
    )


def _worker(state: Path, environment: Mapping[str, str], s3: str) -> Process:
    port = free_port()
    return start_process(
        "the worker",
        [*PREFECT, "worker", "start", "--pool", POOL, "--type", "process", "--name", "up", "--with-healthcheck"],
        url=f"http://127.0.0.1:{port}",
        ready="/health",
        log=state / "worker.log",
        environment={
            **environment,
            "PREFECT_WORKER_WEBSERVER_PORT": str(port),
            "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            # What whoever may start a run can have it read: the bucket, and no file or address of this machine.
            "PREFECT_WHATSAPP_SOURCES": os.environ.get(
                "PREFECT_WHATSAPP_SOURCES", f"s3://{BUCKET}@{urlsplit(s3).netloc}"
            ),
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": SERVER_SETTINGS["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"],
        },
    )


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(  # noqa: S603  # our own command line
        command, cwd=ROOT, env={**os.environ, **QUIET, **environment}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServiceError(f"{' '.join(command[1:4])} … failed: {(done.stdout + done.stderr)[-2_000:].strip()}")


def _port(wished: int) -> int:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", wished))
            return int(listener.getsockname()[1])
    return free_port()


def _read(state: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads((state / "up.json").read_text())
    except (OSError, ValueError):
        return {}
    return known


def _born(pid: int) -> str:
    """When a process began, so that a pid that another process has now is not taken for ours."""
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603  # a number


def _alive(entry: dict[str, Any]) -> bool:
    return bool(entry.get("born")) and _born(int(entry["pid"])) == entry["born"]


def _end(entry: dict[str, Any]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(entry["pid"]), number)
        if _wait(lambda: not _alive(entry), STOP_SECONDS):
            return


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if done():
            return True
        time.sleep(0.1)
    return done()


def main() -> None:
    """Run `up` or `down`."""
    parser = argparse.ArgumentParser(prog="make", description=__doc__)
    parser.add_argument("what", choices=("up", "down", "fill"))
    parser.add_argument("--state", type=Path, default=ROOT / ".up")
    parser.add_argument("--recipients", type=int, default=200)
    parser.add_argument("--any-ports", action="store_true", help="leave the usual ports to others")
    parser.add_argument("--with", nargs=3, dest="services", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.what == "fill":  # `up` itself, in a process whose Prefect has the right settings
        people, s3, sandbox = given.services
        asyncio.run(_fill(given.state, int(people), s3, sandbox))
        return
    if given.what == "down":
        print(f"Stopped: {', '.join(stop(given.state)) or 'nothing was running'}.")
        return
    print(
        "Starting a Prefect server, a worker, simulators of the services and a local S3: a minute or two.", flush=True
    )
    try:
        ports = dict.fromkeys(PREFERRED_PORTS, 0) if given.any_ports else PREFERRED_PORTS
        told = up(given.state.resolve(), recipients=given.recipients, ports=ports)
    except ServiceError as failure:
        sys.exit(f"make up: {failure}")
    kept = given.state.resolve() / "secrets.json"
    print(
        f"Prefect UI     {told['url']}\n"
        f"password       {told.get('login') or f'unchanged; it is in {kept}'}\n"
        f"sandbox        {told['sandbox']}  (what was sent: {told['sandbox']}/_sandbox/messages)\n"
        f"S3             {told['s3']}  (bucket {BUCKET}: weekly.mp3, list.csv)\n\n"
        "In the UI: Deployments → voice-note-to-a-list → Run → Custom run; block sandbox, files weekly.mp3 and list.csv.\n"
        "`make down` stops everything.\n"
        f"In a shell: export PREFECT_HOME={given.state.resolve() / 'prefect'} PREFECT_API_URL={told['api']}"
        " PREFECT_API_AUTH_STRING=…, the password"
    )


if __name__ == "__main__":
    main()
