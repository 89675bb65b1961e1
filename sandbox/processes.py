"""Local services as processes of their own: started, waited for, stopped by their process group."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import httpx

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
    """A port on 127.0.0.1 that nobody listens on now.

    None of those that the system gives to outgoing connections (32,768 and up on Linux): before the service that is to have it
    has begun to listen, one of them would be somebody's.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


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
