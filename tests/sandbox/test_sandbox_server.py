"""The sandbox runs beside a program, and never longer."""

import os
import signal
import subprocess
import sys
import time

import httpx
import pytest
from prefect_whatsapp.sandbox.app import create_app
from prefect_whatsapp.sandbox.faults import Fault, FaultKind
from prefect_whatsapp.sandbox.processes import free_port
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.sandbox.settings import SandboxSettings
from sandbox_server import threaded

PROGRAM = """
import time
from prefect_whatsapp.sandbox.server import RunningSandbox
with RunningSandbox() as sandbox:
    print(sandbox.pid, sandbox.url, flush=True)
    time.sleep(60)
"""


def gone(pid: int) -> bool:
    """Whether a process that isn't our child has ended."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def test_a_sandbox_in_a_process_of_its_own() -> None:
    settings = SandboxSettings(token="another-token", throughput="HIGH")
    with RunningSandbox(settings, faults=[Fault(kind=FaultKind.WINDOW, times=1)]) as sandbox:
        pid = sandbox.pid
        headers = {"Authorization": "Bearer another-token"}
        path = f"{sandbox.graph_url}/v26.0/{settings.phone_number_id}?fields=throughput"
        assert httpx.get(path, headers=headers, trust_env=False).json()["throughput"] == {"level": "HIGH"}
        assert sandbox.faults_met() == [{"kind": "window", "times": 1, "met": 0, "hit": 0}]
        assert sandbox.truth()["checks"] == 1
        sandbox.reset()
        assert sandbox.truth()["calls"] == 0
        assert sandbox.faults_met() == []
    assert gone(pid)


def test_the_sandbox_ends_with_a_program_that_is_killed() -> None:
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    pid, url = program.stdout.readline().split()
    assert httpx.get(url, trust_env=False).json()["sandbox"] == "prefect-whatsapp"
    program.send_signal(signal.SIGKILL)
    program.wait()
    program.stdout.close()
    assert gone(int(pid))


def test_a_port_that_is_taken_is_told() -> None:
    with threaded() as running, pytest.raises(RuntimeError, match="did not start"):
        RunningSandbox(port=int(running.url.rpartition(":")[2])).__enter__()


def test_addresses_that_the_sandbox_does_not_have() -> None:
    with threaded() as running:
        assert httpx.get(f"{running.url}/nothing", trust_env=False).status_code == 404
        assert httpx.get(f"{running.url}/_sandbox/truth?since=x", trust_env=False).status_code == 400


def test_two_sandboxes_share_nothing() -> None:
    with threaded() as one, threaded() as two:
        httpx.get(f"{one.waha_url}/api/sessions/default", trust_env=False)
        assert (one.truth()["calls"], two.truth()["calls"]) == (1, 0)


async def test_the_app_runs_under_any_asgi_server() -> None:
    app = create_app(faults=[Fault(kind=FaultKind.DROP)])
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://sandbox") as client:
        assert (await client.get("/_sandbox/truth")).json()["calls"] == 0
        body = {"messaging_product": "whatsapp", "to": "+16505550123", "type": "contacts"}
        body |= {"contacts": [{"name": {"formatted_name": "A", "first_name": "A"}}]}  # type: ignore[dict-item]
        with pytest.raises(ConnectionResetError):
            await client.post(
                "/graph/v26.0/100000000000001/messages",
                json=body,
                headers={"Authorization": "Bearer sandbox-token"},
            )


def test_a_free_port_is_none_that_an_outgoing_connection_may_be_given() -> None:
    ports = {free_port() for _ in range(50)}
    assert len(ports) > 40, "two who ask at the same time rarely get the same"
    assert all(20_000 <= port < 32_768 for port in ports)
