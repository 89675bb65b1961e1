"""`prefect-whatsapp demo`: for each service and each kind, all who saw the broadcast agree."""

import json
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from senders import PROVIDERS

pytestmark = [pytest.mark.ci, pytest.mark.slow, pytest.mark.server]
RECIPIENTS = 20
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("kind", ["audio", "contacts"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_report_sandbox_and_prefect_agree(command: Command, provider: str, kind: str) -> None:
    done = command("demo", "--provider", provider, "--kind", kind, "--recipients", str(RECIPIENTS), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["provider"], told["kind"], told["agree"]) == (provider, kind, True)
    assert told["report"]["accepted"] == told["truth"]["accepted_total"] == told["task_runs_completed"] == RECIPIENTS
    assert told["truth"]["duplicates_total"] == 0
    report = told["report"]
    assert report["delivered"] == told["truth"]["delivered"] == RECIPIENTS
    assert 0 < report["read"] == told["truth"]["read"] < RECIPIENTS
    assert report["played"] == told["truth"]["played"]
    assert (report["played"] > 0) is (kind == "audio" and provider != "chat-api")
    assert told["truth"]["uploads"] == told["report"]["uploads"] == (1 if (provider, kind) == ("graph", "audio") else 0)


def test_batches_agree_too_and_nothing_is_left_running_or_lying_about(command: Command, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    more = {"DEMO_MARK": mark, "TMPDIR": str(temporary)}
    done = command("demo", "--runs", "batch", "--recipients", str(RECIPIENTS), more=more)
    assert done.returncode == 0, done.stderr
    assert "All agree." in done.stdout
    assert "Prefect UI" in done.stdout
    assert not _running_with(mark)
    assert not [*temporary.iterdir()]
    assert not (tmp_path / "home").exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc, to see which processes are left")
def test_the_search_for_processes_finds_one() -> None:
    mark = uuid.uuid4().hex
    with subprocess.Popen(["sleep", "30"], env=os.environ | {"DEMO_MARK": mark}) as running:
        try:
            assert _running_with(mark) == [running.pid]
        finally:
            running.kill()


def test_a_demo_without_the_sandbox_extra_is_one_sentence(command: Command, tmp_path: Path) -> None:
    """The local S3 is a process that fails to start without moto."""
    (tmp_path / "shadow" / "moto").mkdir(parents=True)
    (tmp_path / "shadow" / "moto" / "__init__.py").write_text("raise ModuleNotFoundError('No module named moto')")
    done = command("demo", "--recipients", "1", more={"PYTHONPATH": str(tmp_path / "shadow")})
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert "can't start" in done.stderr
    assert "moto" in done.stderr


def _running_with(mark: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return found
