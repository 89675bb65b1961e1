"""A run that is killed in its canary, and the next one: no more than the canary is sent before it has passed."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kill_processes import Runner, wait_until
from prefect_whatsapp.sandbox.processes import free_port
from prefect_whatsapp.sandbox.server import RunningSandbox

pytestmark = [pytest.mark.ci, pytest.mark.server, pytest.mark.slow]
CANARY = 8


@pytest.mark.parametrize(("does", "stopped"), [("failed", True), ("delivered", False)])
def test_killed_while_its_canary_was_out_the_next_run_waits_for_it_and_judges_it(
    sandbox: RunningSandbox,
    runner: Runner,
    tmp_path: Path,
    arguments: Callable[..., dict[str, Any]],
    accepted: Callable[[], int],
    does: str,
    stopped: bool,
) -> None:
    job = arguments(str(tmp_path / "ledger.db"), 40) | {"canary": CANARY}
    port = free_port()
    receiver = runner.receive(sandbox.url, port, job["ledger"])
    sandbox.phones(does=does, seconds=0)
    # What the phones do is told when the test says so.
    sandbox.receive_at(f"http://127.0.0.1:{port}", only="graph", late=1.0)
    for _ in range(2):
        run = runner.start(job)
        wait_until(lambda: accepted() == CANARY, "the canary is out")
        time.sleep(1.0)  # until it is settled, and the second run has seen it
        run.signal(signal.SIGKILL)
        run.wait()
        assert accepted() == CANARY
    last = runner.start(job)
    sandbox.flush_webhooks()
    outcome = last.outcome()
    assert (outcome["error"] == "BroadcastStoppedError") is stopped, outcome
    assert (accepted(), outcome["report"]["pending"]) == ((CANARY, 32) if stopped else (40, 0))
    assert (f"{CANARY} of the {CANARY} canary messages failed" in outcome["says"]) is stopped
    sandbox.reset()
    receiver.signal(signal.SIGTERM)
    receiver.wait(30)
