"""`prefect-whatsapp broadcast`, as a person without the UI runs it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_whatsapp.sandbox.processes import Process
from prefect_whatsapp.sandbox.server import RunningSandbox
from senders import sender_of

pytestmark = pytest.mark.server
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
async def api(_server: Process, _sandbox: RunningSandbox) -> str:
    """A server with a saved account of two services."""
    with temporary_settings({PREFECT_API_URL: f"{_server.url}/api"}):
        for provider in ("graph", "waha"):
            await sender_of(provider, _sandbox.url).asave("shell", overwrite=True)
    return f"{_server.url}/api"


@pytest.fixture
def broadcast(api: str, sandbox: RunningSandbox, command: Command, audio_samples: Path) -> Command:
    """Run the command against the sandbox; audio unless cards are given."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        audio = () if "--contacts" in arguments else ("--audio", str(audio_samples / "speech_cover.mp3"))
        return command("broadcast", *arguments, *audio, more={"PREFECT_API_URL": api})

    return run


def test_a_broadcast_runs_with_a_bar_and_ends_with_its_report(
    broadcast: Command, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    people = tmp_path / "list.csv"
    people.write_text("phone\n" + "".join(f"+120155501{n:02d}\n" for n in range(12)))
    done = broadcast("shell-1", "--sender", "graph/shell", "--recipients", str(people))
    assert done.returncode == 0, done.stderr
    assert "12/12" in done.stdout
    assert "Nothing left to do." in done.stdout
    assert sandbox.truth()["accepted_total"] == 12
    again = broadcast("shell-1", "--sender", "graph/shell", "--json")
    report = json.loads(again.stdout)
    assert (report["accepted"], report["uploads"], sandbox.truth()["duplicates_total"]) == (12, 0, 0)


def test_cards_go_to_people_named_on_the_command_line(
    broadcast: Command, sandbox: RunningSandbox, tmp_path: Path
) -> None:
    cards = tmp_path / "cards.json"
    cards.write_text(json.dumps({"name": "Ada Byron", "phone": "+16505550199"}))
    people = ("--recipients", "+12015550100", "--recipients", "12015550101@c.us")
    done = broadcast("shell-{:%Y}", "--sender", "waha/shell", "--contacts", str(cards), *people, "--json")
    assert done.returncode == 0, done.stderr
    assert sorted(sandbox.truth()["accepted"]) == ["12015550100", "12015550101"]


def test_a_dry_run_plans_and_sends_nothing_and_counts_who_is_skipped(
    broadcast: Command, command: Command, sandbox: RunningSandbox
) -> None:
    command("opt-outs", "add", "+12015550101")
    people = ("--recipients", "+12015550100", "--recipients", "+12015550101", "--recipients", "nobody")
    done = broadcast("shell-2", "--sender", "graph/shell", *people, "--dry-run")
    assert (done.returncode, sandbox.truth()["sends"]) == (0, 0), done.stderr
    assert "Dry run: 1 would be sent, 1 skipped, 1 row removed." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--sender", "graph"), "graph/weekly"),
        (("--sender", "graph/nobody"), "no saved block 'nobody'"),
        (("--sender", "graph/shell", "--storage", "nowhere"), "no saved block 'nowhere'"),
        (("--sender", "graph/shell", "--recipients", "nowhere.csv"), "nowhere.csv"),
        (("--sender", "graph/shell", "--contacts", "nowhere.json"), "nowhere.json"),
    ],
    ids=["sender", "block", "storage", "list", "cards"],
)
def test_what_is_wrong_is_said_in_one_sentence(
    broadcast: Command, sandbox: RunningSandbox, arguments: tuple[str, ...], says: str
) -> None:
    done = broadcast("shell-3", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("prefect-whatsapp: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert sandbox.truth()["sends"] == 0, sandbox.truth()


@pytest.mark.parametrize(
    "how", ["failed", *(pytest.param(how, marks=pytest.mark.ci) for how in ("unknown", "pending", "opted out"))]
)
def test_it_exits_with_3_where_somebody_is_left_over(
    broadcast: Command, command: Command, sandbox: RunningSandbox, how: str
) -> None:
    more: tuple[str, ...] = ()
    match how:
        case "failed":
            sandbox.faults(kind="error", code=131026, on="send")
        case "unknown":
            sandbox.faults(kind="drop", accepted=True, on="send")
        case "pending":
            more = ("--recipients", "+12015550151", "--max-messages", "1")
        case "opted out":  # who wants none is nobody that is left over
            command("opt-outs", "add", "+12015550150")
    done = broadcast(f"shell-5-{how}", "--sender", "graph/shell", "--recipients", "+12015550150", *more)
    assert done.returncode == (0 if how == "opted out" else 3), done.stderr


def test_a_broadcast_that_stops_says_why_and_exits_with_1(broadcast: Command, sandbox: RunningSandbox) -> None:
    sandbox.faults(kind="expired_token", on="send")
    done = broadcast("shell-4", "--sender", "graph/shell", "--recipients", "+12015550100")
    assert done.returncode == 1
    assert "broadcast shell-4 stopped: graph: (#190" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
