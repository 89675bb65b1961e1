"""A Prefect server of one's own: on a free port, with a home of its own, under settings with which it keeps up."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import httpx

# On default settings the recorder writes one task run at a time: 44 to 57 runs a second on two cores. With these the
# same server records 187. `deployments/server.env` says what each does.
SERVER_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "500",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "500",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "1000",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "500",
        "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "500",
    }
)
QUIET: Mapping[str, str] = MappingProxyType({"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"})


class ServiceError(RuntimeError):
    """A local service did not start; the message ends with the tail of what it said."""


@dataclass(frozen=True)
class Process:
    """A service that runs as a process of its own.

    Attributes:
        name: What it is.
        url: Where it answers.
        popen: The process, leader of its own group.
        log: Where its output goes.
    """

    name: str
    url: str
    popen: subprocess.Popen[bytes]
    log: Path

    def stop(self, *, seconds: float = 10.0) -> None:
        """End it and all it started, by its process group: first asked, then killed."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(seconds)
                return


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_process(
    name: str,
    command: list[str],
    *,
    url: str,
    ready: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    seconds: float = 90.0,
) -> Process:
    """Start a service and wait until it answers.

    Args:
        name: What it is, for messages.
        command: Its command line.
        url: Where it will answer.
        ready: Path that answers below 500 once it is ready.
        log: File for its output.
        environment: Variables beyond this process's own.
        seconds: How long it may take.

    Raises:
        ServiceError: It ended or did not answer in time.
    """
    with log.open("wb") as output:
        popen = subprocess.Popen(  # noqa: S603  # our own command line
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **QUIET, **(environment or {})},
            start_new_session=True,
        )
    process, deadline = Process(name, url, popen, log), time.monotonic() + seconds
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while time.monotonic() < deadline and popen.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if client.get(url + ready).status_code < 500:
                    return process
            time.sleep(0.1)
    process.stop()
    said = log.read_text(errors="replace")[-1_000:].strip()
    raise ServiceError(f"{name} did not start ({' '.join(command[:4])} …): {said or 'it said nothing'}")


def start_prefect_server(
    home: Path, *, port: int = 0, tuned: bool = True, settings: Mapping[str, str] | None = None
) -> Process:
    """Start a Prefect server with embedded SQLite.

    Args:
        home: Its `PREFECT_HOME`; made if missing.
        port: 0 chooses a free one.
        tuned: Whether it runs with `SERVER_SETTINGS`.
        settings: More settings, as environment variables.

    Returns:
        The running server; its API is at `url` + `/api`.

    Raises:
        ServiceError: It did not start.
    """
    home.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **(SERVER_SETTINGS if tuned else {}),
        "PREFECT_HOME": str(home),
        # Without it the UI asks port 4200, and shows nothing.
        "PREFECT_UI_API_URL": f"{url}/api",
        "PREFECT_API_URL": f"{url}/api",
        **(settings or {}),
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    return start_process(
        "the Prefect server", command, url=url, ready="/api/health", log=home / "server.log", environment=environment
    )


@contextlib.contextmanager
def prefect_server(home: Path, *, tuned: bool = True, settings: Mapping[str, str] | None = None) -> Iterator[Process]:
    """A Prefect server for the time of a `with` block; arguments as for `start_prefect_server`."""
    process = start_prefect_server(home, tuned=tuned, settings=settings)
    try:
        yield process
    finally:
        process.stop()
