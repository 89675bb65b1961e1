"""Whoever walks away finds the broadcast done: nothing needs a process that waits, or a person who presses Retry."""

import os
import time
from typing import Any

import pytest

pytestmark = [pytest.mark.ui, pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(400)]
AUDIO = "broadcast-audio/voice-note-to-a-list"


def _filled(stack: Any, name: str, **others: Any) -> dict[str, Any]:
    return {
        "broadcast": name,
        "sender": stack.block("whatsapp-graph-credentials"),
        "audio": "weekly.mp3",
        "recipients": "list.csv",
        "storage": stack.block("s3-bucket"),
        **others,
    }


def _process_of(run: dict[str, Any]) -> int:
    return int(str(run["infrastructure_pid"]).rpartition(":")[2])


def _gone(pid: int, *, seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.3)
    return False


def test_a_run_that_waits_for_approval_has_no_process_and_resume_starts_another(stack: Any) -> None:
    stack.put("frozen.csv", "phone\n+12015550140\n+12015550141\n")
    run = stack.start(AUDIO, _filled(stack, "approved-later", recipients="frozen.csv", approve=True))
    waits = stack.reached(run, "PAUSED", "FAILED", "CRASHED")
    assert (waits["state_name"], stack.truth()["accepted_total"]) == ("Suspended", 0), stack.worker_log()
    assert _gone(_process_of(waits))
    page = stack.ask("POST", "/artifacts/filter", {"artifacts": {"key": {"any_": ["whatsapp-approved-later-plan"]}}})
    assert "No process runs meanwhile" in page[0]["data"]
    # What was looked at is what goes: a list that has changed since isn't read again.
    stack.put("frozen.csv", "phone\n+12015550142\n")
    stack.ask("POST", f"/flow_runs/{run}/resume")
    assert stack.ended(run)["state_type"] == "COMPLETED", stack.worker_log()
    assert stack.truth()["accepted_total"] == 2
    assert not stack.messages("12015550142")
    assert (
        len(stack.ask("POST", "/artifacts/filter", {"artifacts": {"key": {"any_": ["whatsapp-approved-later-plan"]}}}))
        == 1
    )
