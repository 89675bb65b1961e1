"""What `make up` brings, for the tests of what a person sees and an engineer deploys."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from prefect_whatsapp.sandbox.processes import free_port, start_process
from prefect_whatsapp.sandbox.s3 import CREDENTIALS

SETTINGS = {
    # The scheduler looks each minute and the worker 10 s ahead, which a test would wait for.
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
    # A person sees a run's logs; the other tests turn them off.
    "PREFECT_LOGGING_TO_API_ENABLED": "true",
    "PREFECT_LOGGING_LEVEL": "INFO",
}
ROOT = Path(__file__).resolve().parents[2]


def _run_up(what: str, state: Path) -> str:
    command = [sys.executable, str(ROOT / "deployments" / "up.py"), what, "--state", str(state), "--any-ports"]
    done = subprocess.run(
        [*command, "--recipients", "40"], env={**os.environ, **SETTINGS}, capture_output=True, text=True, timeout=600
    )
    assert not done.returncode, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Stack:
    """What is up.

    Attributes:
        url: Prefect's UI.
        api: Prefect's API.
        sandbox: The simulated services.
        s3: The local S3.
        state: The folder of `up`.
        login: What the UI asks for.
    """

    url: str
    api: str
    sandbox: str
    s3: str
    state: Path
    login: str

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask Prefect's API."""
        with httpx.Client(trust_env=False, timeout=120, auth=tuple(self.login.split(":", 1))) as client:  # type: ignore[arg-type]
            deadline = time.monotonic() + 30
            token = client.get(f"{self.api}/csrf-token", params={"client": "tests"}).json()["token"]
            client.headers.update({"Prefect-Csrf-Token": token, "Prefect-Csrf-Client": "tests"})
            # A busy SQLite, which Prefect's own client waits for too.
            while (answer := client.request(method, self.api + path, json=body)).status_code == 503:
                assert time.monotonic() < deadline, answer.text
                time.sleep(1)
            answer.raise_for_status()
            return answer.json() if answer.content else None

    def start(self, deployment: str, parameters: dict[str, Any] | None = None, *, at: str | None = None) -> str:
        """Ask for a run of a deployment, as the UI does; its id.

        Args:
            deployment: As flow/name.
            parameters: Beyond the deployment's own.
            at: When it is due; now, unless it is said.
        """
        where = self.ask("GET", f"/deployments/name/{deployment}")["id"]
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": at}} if at else {"type": "SCHEDULED"}
        # The deployments for people wait for approval unless they are told otherwise.
        default = {"approve": False} if deployment.startswith("broadcast-") else {}
        body = {"parameters": {**default, **(parameters or {})}, "state": state}
        return str(self.ask("POST", f"/deployments/{where}/create_flow_run", body)["id"])

    def reached(self, run: str, *states: str, seconds: float = 90.0) -> dict[str, Any]:
        """Wait until a flow run is in one of the states."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            shown: dict[str, Any] = self.ask("GET", f"/flow_runs/{run}")
            if shown["state_type"] in states:
                return shown
            time.sleep(0.3)
        raise AssertionError(f"flow run {shown['name']} is still {shown['state_name']}: {self.worker_log()}")

    def ended(self, run: str) -> dict[str, Any]:
        """Wait until a flow run has ended."""
        return self.reached(run, "COMPLETED", "FAILED", "CRASHED", "CANCELLED")

    def find_run(self, name: str, *, seconds: float = 90.0) -> str:
        """Wait for a flow run of this name; its id."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := self.ask("POST", "/flow_runs/filter", {"flow_runs": {"name": {"any_": [name]}}}):
                return str(found[0]["id"])
            time.sleep(0.3)
        raise AssertionError(f"no flow run is named {name}: {self.worker_log()}")

    def worker_log(self) -> str:
        """The end of what the worker said."""
        return (self.state / "worker.log").read_text(errors="replace")[-2_000:]

    def run(self, deployment: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run a deployment to its end."""
        return self.ended(self.start(deployment, parameters))

    def block(self, slug: str, name: str = "sandbox") -> dict[str, Any]:
        """A saved block as the form refers to it."""
        found = self.ask("GET", f"/block_types/slug/{slug}/block_documents/name/{name}")
        return {"$ref": {"block_document_id": found["id"]}}

    def truth(self) -> dict[str, Any]:
        """What the simulated services know."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            told: dict[str, Any] = client.get(f"{self.sandbox}/_sandbox/truth").json()
            return told

    def put(self, key: str, text: str) -> None:
        """Put a file into the bucket."""
        client = boto3.client(
            "s3",
            endpoint_url=self.s3,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
        )
        client.put_object(Bucket="broadcasts", Key=key, Body=text.encode())

    def messages(self, recipient: str) -> list[dict[str, Any]]:
        """The messages that a recipient got."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            told: list[dict[str, Any]] = client.get(f"{self.sandbox}/_sandbox/messages?recipient={recipient}").json()
            return told

    def forget(self) -> None:
        """Empty the truth and stop all faults."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            for what in ("faults", "truth"):
                client.delete(f"{self.sandbox}/_sandbox/{what}").raise_for_status()

    def tell_sandbox(self, what: str, told: Any = None) -> Any:
        """Post to the sandbox's control address, such as `phones` or `webhooks/flush`."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            answer = client.post(f"{self.sandbox}/_sandbox/{what}", json=told or []).raise_for_status()
            return answer.json()

    @contextmanager
    def receiver(self, account: str) -> Iterator[str]:
        """`prefect-whatsapp receive` for a saved block, as long as the `with` lasts; its address for that block."""
        port = free_port()
        environment = {
            "PREFECT_HOME": str(self.state / "prefect"),
            "PREFECT_API_URL": self.api,
            "PREFECT_API_AUTH_STRING": self.login,
        }
        process = start_process(
            "the receiver",
            [sys.executable, "-m", "prefect_whatsapp.cli", "receive", account, "--port", str(port)],
            url=f"http://127.0.0.1:{port}",
            ready="/health",
            log=self.state / "receiver.log",
            environment=environment,
        )
        try:
            yield f"{process.url}/{account}"
        finally:
            process.stop()

    def fault(self, **fault: Any) -> None:
        """Let a fault happen from now on."""
        with httpx.Client(trust_env=False, timeout=30) as client:
            client.post(f"{self.sandbox}/_sandbox/faults", json=fault).raise_for_status()


@pytest.fixture(scope="session")
def _stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if reused := os.environ.get("PREFECT_WHATSAPP_UP"):  # the folder of a `make up` that runs, for whoever writes tests
        told = json.loads((Path(reused) / "up.json").read_text())
        login = json.loads((Path(reused) / "secrets.json").read_text())["login"]
        yield Stack(told["url"], told["api"], told["sandbox"], told["s3"], Path(reused), login)
        return
    state = tmp_path_factory.mktemp("up")
    said = _run_up("up", state)
    try:
        told = json.loads((state / "up.json").read_text())
        login = json.loads((state / "secrets.json").read_text())["login"]
        assert told["url"] in said
        assert login in said
        assert login not in (state / "up.json").read_text()
        yield Stack(told["url"], told["api"], told["sandbox"], told["s3"], state, login)
    finally:
        assert "worker, prefect, sandbox, s3" in _run_up("down", state)


@pytest.fixture
def stack(_stack: Stack) -> Stack:
    """All that `make up` starts, with an empty truth."""
    _stack.forget()
    return _stack
