"""What an engineer deploys with `prefect deploy --all`, run by a worker as a schedule, a form or an event asks."""

import datetime
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.ui, pytest.mark.server, pytest.mark.slow]
Form = Callable[..., dict[str, Any]]
AUDIO = "broadcast-audio/voice-note-to-a-list"
WEEKLY = "broadcast-audio/weekly-voice-note"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def form(stack: Any, request: pytest.FixtureRequest) -> Form:
    """What a person fills in, each field overridable."""

    def filled(**others: Any) -> dict[str, Any]:
        return {
            "broadcast": request.node.name[:80],
            "sender": stack.block("whatsapp-graph-credentials"),
            "audio": "weekly.mp3",
            "recipients": "list.csv",
            "storage": stack.block("s3-bucket"),
            **others,
        }

    return filled


def test_every_flow_is_deployed_with_words_tags_and_no_machine_path(stack: Any) -> None:
    deployed = {each["name"]: each for each in stack.ask("POST", "/deployments/filter", {})}
    assert set(deployed) == {
        "voice-note-to-a-list",
        "weekly-voice-note",
        "cards-to-a-list",
        "voice-note-to-one",
        "cards-to-one",
    }
    for each in deployed.values():
        assert each["entrypoint"].startswith("prefect_whatsapp.flows.")
        assert each["description"]
        assert "whatsapp" in each["tags"]
        assert not each["pull_steps"]
        assert not each["path"]


def test_the_weekly_schedule_waits_for_a_person_and_never_overlaps_itself(stack: Any) -> None:
    weekly = stack.ask("GET", f"/deployments/name/{WEEKLY}")
    (schedule,) = weekly["schedules"]
    assert (schedule["slug"], schedule["active"], schedule["schedule"]["cron"]) == ("monday-nine", False, "0 9 * * 1")
    assert weekly["global_concurrency_limit"]["limit"] == 1
    assert weekly["concurrency_options"]["collision_strategy"] == "ENQUEUE"


def test_a_schedule_that_a_person_turned_on_stays_on_when_all_is_deployed_again(stack: Any) -> None:
    deployment = stack.ask("GET", f"/deployments/name/{WEEKLY}")
    (schedule,) = deployment["schedules"]
    path = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
    for active in (True, False):
        stack.ask("PATCH", path, {"active": active})
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": stack.api, "PREFECT_API_AUTH_STRING": stack.login},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        (schedule,) = stack.ask("GET", f"/deployments/name/{WEEKLY}")["schedules"]
        assert schedule["active"] is active


def test_each_week_is_a_broadcast_of_its_own_and_a_rerun_resumes_it(stack: Any) -> None:
    now = datetime.datetime.now(datetime.UTC)
    last, this = (when.strftime("weekly-%G-W%V") for when in (now - datetime.timedelta(days=7), now))
    # A run that was due last week and is late keeps last week's name.
    earlier = stack.ended(stack.start(WEEKLY, at=(now - datetime.timedelta(days=7)).isoformat()))
    assert (earlier["name"], earlier["state_type"]) == (last, "COMPLETED")
    later = stack.run(WEEKLY)
    assert (later["name"], later["state_type"]) == (this, "COMPLETED")
    assert stack.truth()["accepted_total"] == 80, "next week's is another broadcast"
    count = {"flow_runs": {"id": {"any_": [later["id"]]}}, "task_runs": {"name": {"like_": "send-"}}}
    assert stack.ask("POST", "/task_runs/count", count) == 40, "each send is a task run, as in the demo"
    due = {"type": "SCHEDULED", "name": "AwaitingRetry", "state_details": {"scheduled_time": now.isoformat()}}
    stack.ask("POST", f"/flow_runs/{earlier['id']}/set_state", {"state": due, "force": True})
    again = stack.ended(earlier["id"])
    assert (again["name"], again["state_type"], again["run_count"]) == (last, "COMPLETED", 2)
    assert stack.truth()["accepted_total"] == 80, "a rerun of last week's sends nothing twice"


def test_a_schedule_starts_the_broadcast_when_its_time_comes(stack: Any) -> None:
    weekly = stack.ask("GET", f"/deployments/name/{WEEKLY}")["id"]
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=8)
    rule = f"DTSTART:{soon:%Y%m%dT%H%M%S}\nRRULE:FREQ=WEEKLY;COUNT=1"
    schedule = {
        "schedule": {"rrule": rule, "timezone": "UTC"},
        "active": True,
        "slug": "soon",
        "parameters": {"broadcast": "scheduled-{:%G-W%V}"},
    }
    (made,) = stack.ask("POST", f"/deployments/{weekly}/schedules", [schedule])
    try:
        run = stack.find_run(f"scheduled-{soon:%G-W%V}")
        assert stack.ended(run)["state_type"] == "COMPLETED"
        assert stack.truth()["accepted_total"] == 40
    finally:
        stack.ask("DELETE", f"/deployments/{weekly}/schedules/{made['id']}")


def test_a_dry_run_asks_the_account_and_nothing_else(stack: Any, form: Form) -> None:
    assert stack.run(AUDIO, form(dry_run=True))["state_type"] == "COMPLETED"
    truth = stack.truth()
    assert (truth["checks"], truth["calls"]) == (1, 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"default_region": "ZZ", "recipients": ["6505550100"]}, "ZZ"),
        ({"audio": "nowhere.mp3"}, "nowhere.mp3"),
        ({"recipients": []}, "empty"),
        ({"sender": "s3-bucket"}, "s3-bucket"),
    ],
    ids=["unknown region", "missing file", "empty list", "wrong kind of block"],
)
def test_wrong_input_gets_one_sentence_in_the_runs_state_and_nothing_is_sent(
    stack: Any, form: Form, change: dict[str, Any], says: str
) -> None:
    blocks = {key: stack.block(value) for key, value in change.items() if key == "sender"}
    ended = stack.run(AUDIO, form(**{**change, **blocks}))
    assert ended["state_type"] == "FAILED"
    # Prefect's own "… invalid parameters:" stands on a line before what is wrong with a parameter.
    message = ended["state"]["message"].rpartition("invalid parameters:\n - ")[2].strip()
    assert says in message
    assert "\n" not in message
    assert stack.truth()["sends"] == 0
