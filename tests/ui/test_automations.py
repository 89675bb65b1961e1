"""What Prefect's automations do of themselves on a real server: a file that arrives, a broadcast that stops or ends."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

pytestmark = [pytest.mark.ui, pytest.mark.server, pytest.mark.slow]
AUTOMATIONS = Path(__file__).resolve().parents[2] / "deployments" / "automations"
AUDIO = "broadcast-audio/voice-note-to-a-list"


@pytest.fixture(autouse=True)
def _gone_afterwards(stack: Any) -> Iterator[None]:
    yield
    for automation in stack.ask("POST", "/automations/filter", {}):
        stack.ask("DELETE", f"/automations/{automation['id']}")


def _apply(stack: Any, *files: Path) -> None:
    command = [sys.executable, str(AUTOMATIONS / "apply.py"), *map(str, files)]
    environment = {**os.environ, "PREFECT_API_URL": stack.api, "PREFECT_API_AUTH_STRING": stack.login}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert not done.returncode, done.stderr
    assert done.stdout.count("Applied: ") == len(files)


def _emit(stack: Any, event: str, resource: str, payload: dict[str, Any]) -> None:
    from prefect.events import Event, Resource

    told = Event(event=event, resource=Resource({"prefect.resource.id": resource}), payload=payload)
    stack.ask("POST", "/events", [told.model_dump(mode="json")])


def test_a_file_that_arrives_starts_the_broadcast_that_its_event_names(stack: Any) -> None:
    _apply(stack, AUTOMATIONS / "start-on-file-arrival.yaml")
    payload = {"broadcast": "arrived", "audio": "weekly.mp3", "recipients": "list.csv"}
    _emit(stack, "audio.arrived", "audio.weekly", payload)
    assert stack.ended(stack.find_run("arrived"))["state_type"] == "COMPLETED"
    assert stack.truth()["accepted_total"] == 40


async def test_a_broadcast_that_stops_alerts_a_person_on_whatsapp(stack: Any) -> None:
    from prefect_whatsapp.blocks import GraphCredentials, WhatsAppNotification

    with temporary_settings({PREFECT_API_URL: stack.api, PREFECT_API_AUTH_STRING: SecretStr(stack.login)}):
        account = await GraphCredentials.aload("sandbox")
        await WhatsAppNotification(sender=account, to="+12015550142").asave("alerts", overwrite=True)
    _apply(stack, AUTOMATIONS / "alert-when-stopped.yaml", AUTOMATIONS / "alert-when-stopped.yaml")
    stack.fault(kind="session_down", service="waha")
    filled = {
        "broadcast": "alerting",
        "audio": "weekly.mp3",
        "recipients": "list.csv",
        "storage": stack.block("s3-bucket"),
    }
    ended = stack.run(AUDIO, {**filled, "sender": stack.block("whatsapp-waha-credentials")})
    assert ended["state_type"] == "FAILED"
    (message,) = _messages(stack, "12015550142")
    assert message["kind"] == "text"
    assert message["body"]["text"]["body"].startswith(
        "*Broadcast alerting: Failed*\n\nwaha account default can't send now"
    )


def test_the_event_of_a_finished_broadcast_starts_the_next(stack: Any, tmp_path: Path) -> None:
    follow = tmp_path / "follow.yaml"
    follow.write_text(
        textwrap.dedent("""
        name: Follow up
        trigger:
          type: event
          posture: Reactive
          expect: [prefect-whatsapp.broadcast.completed]
          match: {prefect.resource.name: first-round}
          threshold: 1
        actions:
          - type: run-deployment
            source: selected
            deployment: broadcast-audio/weekly-voice-note
            parameters:
              broadcast: "after-{{ event.payload.broadcast }}-{{ event.payload.accepted }}"
              recipients: list.csv
        """)
    )
    _apply(stack, follow)
    filled = {
        "broadcast": "first-round",
        "sender": stack.block("whatsapp-graph-credentials"),
        "audio": "weekly.mp3",
        "recipients": ["+12015550100", "+12015550101"],
        "storage": stack.block("s3-bucket"),
    }
    assert stack.run(AUDIO, filled)["state_type"] == "COMPLETED"
    assert stack.ended(stack.find_run("after-first-round-2"))["state_type"] == "COMPLETED"
    assert stack.truth()["accepted_total"] == 42


def _messages(stack: Any, recipient: str, *, seconds: float = 30.0) -> list[dict[str, Any]]:
    deadline = time.monotonic() + seconds
    while not (found := stack.messages(recipient)) and time.monotonic() < deadline:
        time.sleep(0.3)
    return found
