"""Several flow runs, each a process, that drain one broadcast at once."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from kill_aftermath import Aftermath
from kill_processes import Runner, Running, wait_until
from kill_rounds import doubts
from prefect_whatsapp.sandbox.server import RunningSandbox

pytestmark = [pytest.mark.ci, pytest.mark.server, pytest.mark.slow]
Arguments = Callable[..., dict[str, Any]]
After = Callable[[dict[str, Any]], Aftermath]
_OWN = ("seconds", "uploads", "transcodes")


def _of_the_broadcast(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name not in _OWN}


def _settled(witnessed: list[tuple[str, str]]) -> int:
    return sum(word == "settle!" for word, _ in witnessed)


@pytest.mark.parametrize("runs", [2, 4])
def test_runs_of_one_name_share_the_work_and_never_a_recipient(
    sandbox: RunningSandbox, runner: Runner, ledger_url: str, arguments: Arguments, after: After, runs: int
) -> None:
    """Each sends a part, all report the same whole, and the audio goes up once."""
    job = arguments(ledger_url, 600, fields={"messages_per_second": 120})
    sandbox.faults(kind="latency", seconds=1.0, on="send")  # so that the first isn't done before the last has begun
    started = [runner.start(job) for _ in range(runs)]
    wait_until(lambda: all(_settled(each.witnessed()) for each in started), "a send of each")
    sandbox.behave()
    reports = [each.report() for each in started]
    left = after(job)
    assert left.broken(reports[0]) == []
    assert [_of_the_broadcast(each) for each in reports] == [_of_the_broadcast(reports[0])] * runs
    parts = [_settled(each.witnessed()) for each in started]
    assert sum(parts) == reports[0]["accepted"] == 600
    assert min(parts) >= 600 / runs / 4, parts
    assert sandbox.truth()["uploads"] == sum(each["uploads"] for each in reports) == 1


def test_when_one_of_them_is_killed_the_others_send_what_it_had_reserved(
    runner: Runner, ledger_url: str, arguments: Arguments, after: After, accepted: Callable[[], int]
) -> None:
    """Only what it was sending is unknown, and nobody has to start it again."""
    job = arguments(ledger_url, 400, fields={"messages_per_second": 40})
    runs = [runner.start(job) for _ in range(3)]

    def well_begun() -> list[Running]:
        return [each for each in runs if _settled(each.witnessed()) >= 10]

    # Whichever comes first: on a loaded machine one may have sent the whole list before another has started.
    wait_until(lambda: bool(well_begun()), "ten sends of one of them")
    doomed = well_begun()[0]
    assert doomed.signal(signal.SIGKILL)
    others = [each for each in runs if each is not doomed]
    reports = [each.report() for each in others]
    left = after(job)
    must, may = doubts(doomed.witnessed())
    assert must <= left.unknown <= may
    assert left.broken(reports[0]) == []
    assert _of_the_broadcast(reports[0]) == _of_the_broadcast(reports[1])


@pytest.mark.ci
def test_right_after_a_kill_a_run_that_is_told_so_sends_again_what_was_in_doubt_and_nothing_else(
    sandbox: RunningSandbox, runner: Runner, ledger_url: str, arguments: Arguments
) -> None:
    """Its rows become unknown only once the killed run is found to be gone: after the next one has joined."""
    job = arguments(ledger_url, 40)
    sandbox.behave()
    sandbox.faults(kind="latency", seconds=0.5, on="send")
    doomed = runner.start(job)
    wait_until(lambda: _settled(doomed.witnessed()) >= 5, "five sends")
    assert doomed.signal(signal.SIGKILL)
    doomed.wait()
    sandbox.behave()
    must, may = doubts(doomed.witnessed())
    assert must
    report = runner.start({**job, "on_unknown": "resend"}).report()
    assert (report["accepted"], report["unknown"], report["pending"]) == (40, 0, 0)
    twice = {to for to, times in sandbox.truth()["accepted"].items() if times > 1}
    assert twice <= {to.lstrip("+") for to in may}


@pytest.mark.parametrize("runs", ["send", "batch"])
def test_a_cancelled_run_settles_what_is_in_flight_and_leaves_the_rest_queued(
    runner: Runner, ledger_url: str, arguments: Arguments, after: After, accepted: Callable[[], int], runs: str
) -> None:
    """SIGTERM, by which Prefect cancels: nothing is unknown, and run again everyone is reached."""
    job = arguments(ledger_url, 150, runs=runs)
    run = runner.start(job)
    wait_until(lambda: accepted() >= 20, "20 accepted")
    assert run.signal(signal.SIGTERM)
    run.wait(30)
    left = after(job)
    assert {*left.states.values()} == {"accepted", "queued"}
    assert sum(state == "accepted" for state in left.states.values()) == accepted() < 150
    again = runner.start(job).report()
    assert after(job).broken(again) == []
    assert (again["accepted"], again["unknown"]) == (150, 0)


@pytest.mark.parametrize("word", ["CANCELLING", "PAUSED"])
def test_a_run_that_is_stopped_at_the_prefect_server_settles_what_is_in_flight_and_leaves_the_rest_queued(
    runner: Runner,
    tmp_path: Path,
    arguments: Arguments,
    after: After,
    accepted: Callable[[], int],
    prefect_api: str,
    word: str,
) -> None:
    """Whoever presses Cancel or Pause on a run without a worker to signal it is heard too."""
    job = arguments(str(tmp_path / "ledger.db"), 600)
    run = runner.start(job)
    wait_until(lambda: accepted() >= 20, "20 accepted")
    with httpx.Client(base_url=prefect_api, trust_env=False, timeout=30) as http:
        wanted = {"flow_runs": {"name": {"any_": [job["broadcast"]]}}}
        (found,) = http.post("/flow_runs/filter", json=wanted).raise_for_status().json()
        change = {"state": {"type": word}, "force": True}
        http.post(f"/flow_runs/{found['id']}/set_state", json=change).raise_for_status()
    run.wait(60)
    left = after(job)
    assert {*left.states.values()} == {"accepted", "queued"}
    assert sum(state == "accepted" for state in left.states.values()) == accepted() < 600
