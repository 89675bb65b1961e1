"""Broadcasts as processes of their own, to be signalled, killed and waited for."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

END_SECONDS = 120.0


@dataclass
class Running:
    """One broadcast's process.

    Attributes:
        pid: Its id, from when it was forked.
        status: Its exit status, minus the signal that ended it; None while it runs.
    """

    id: int
    folder: Path
    pid: int = 0
    status: int | None = None
    sending: threading.Event = field(default_factory=threading.Event)
    _forked: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def result_file(self) -> Path:
        return self.folder / f"{self.id}.json"

    @property
    def witness_file(self) -> Path:
        return self.folder / f"{self.id}.witness"

    @property
    def log_file(self) -> Path:
        return self.folder / f"{self.id}.log"

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal; False where it has ended."""
        self._forked.wait(END_SECONDS)
        if self.status is not None:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait(self, seconds: float = END_SECONDS) -> int:
        """Wait for its end; its exit status, minus the signal that ended it."""
        if not self._ended.wait(seconds):
            self.signal(signal.SIGKILL)
            raise TimeoutError(f"a broadcast did not end within {seconds} s: {self.said()}")
        assert self.status is not None
        return self.status

    def outcome(self) -> dict[str, Any]:
        """What it reported (`report`) or raised (`error`, `says`)."""
        self.wait()
        if not self.result_file.exists():
            raise AssertionError(f"the broadcast ended with status {self.status} and no result: {self.said()}")
        outcome: dict[str, Any] = json.loads(self.result_file.read_text())
        return outcome

    def report(self) -> dict[str, Any]:
        """Its report, where it came to its end without an error."""
        outcome = self.outcome()
        assert not outcome["error"], f"{outcome['error']}: {outcome['says']}\n{self.said()}"
        report: dict[str, Any] = outcome["report"]
        return report

    def said(self) -> str:
        """The tail of what it wrote on its terminal."""
        return self.log_file.read_text(errors="replace")[-3000:] if self.log_file.exists() else ""

    def witnessed(self) -> list[tuple[str, str]]:
        """What it handed in and heard back: a word and the recipient."""
        if not self.witness_file.exists():
            return []
        lines = self.witness_file.read_text().split("\n")[:-1]
        return [(word, recipient) for word, _, recipient in (line.partition(" ") for line in lines)]


class Runner:
    """Starts broadcasts within a hundredth of a second each; a context manager.

    Args:
        folder: For results, logs and witnesses.
        api_url: The Prefect server's.
    """

    def __init__(self, folder: Path, api_url: str) -> None:
        self._folder, self._api_url = folder, api_url
        self._ids = itertools.count(1)
        self._running: dict[int, Running] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = threading.Event()
        self._writing = threading.Lock()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "PREFECT_API_URL": self._api_url,
            "PREFECT_HOME": str(self._folder / "prefect"),
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_LOGGING_LEVEL": "WARNING",
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        with (self._folder / "runner.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("kill_runner.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
        if not self._ready.wait(90):
            raise RuntimeError(f"the runner did not start: {(self._folder / 'runner.log').read_text()[-3000:]}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # it kills what still runs, and ends
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def start(self, arguments: dict[str, Any], **others: Any) -> Running:
        """Start a broadcast.

        Args:
            arguments: Of `broadcast_audio`, with `url` (the sandbox's) for the sender and the ledger's fields.
            others: `stop` (fields of `kill_points.Stop`), `tags`, `after_sends`, `forget_doubts`; see `kill_runner.prepare`.
        """
        running = Running(next(self._ids), self._folder)
        self._running[running.id] = running
        job = {
            "id": running.id,
            "arguments": arguments,
            "witness": str(running.witness_file),
            "result": str(running.result_file),
            "log": str(running.log_file),
            **others,
        }
        assert self._process is not None
        assert self._process.stdin is not None
        with self._writing:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        return running

    def receive(self, url: str, port: int, ledger: dict[str, Any]) -> Running:
        """Start a receiver of a sandbox's webhooks, on 127.0.0.1; it ends with the runner.

        Args:
            url: The sandbox's.
            port: Where it listens.
            ledger: Fields of the ledger.
        """
        receiver = self.start({}, receive={"url": url, "port": port, "ledger": ledger})

        def answers() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
            assert receiver.status is None, receiver.said()
            return False

        wait_until(answers, "the receiver answers")
        return receiver

    def _listen(self, lines: Any) -> None:
        for line in lines:
            word, *values = line.decode().split()
            if word == "ready":
                self._ready.set()
                continue
            running = self._running[int(values[0])]
            match word:
                case "forked":
                    running.pid = int(values[1])
                    running._forked.set()
                case "sending":
                    running.sending.set()
                case "ended":
                    running.status = int(values[1])
                    running.sending.set()
                    running._forked.set()
                    running._ended.set()
                    del self._running[running.id]


def wait_until(true: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Wait for something that comes by itself."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
