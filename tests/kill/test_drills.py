"""What fails around a broadcast in mid-run: the provider, Prefect, the ledger's disk and database, S3, the clock."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kill_aftermath import Aftermath
from kill_processes import Runner, wait_until
from postgres import Postgres, postgres_or_skip
from prefect_whatsapp.cli.prefect_server import start_prefect_server
from prefect_whatsapp.models import SendState
from prefect_whatsapp.sandbox.s3 import bucket_block, start_s3
from prefect_whatsapp.sandbox.server import RunningSandbox

pytestmark = [pytest.mark.ci, pytest.mark.server, pytest.mark.slow]
Arguments = Callable[..., dict[str, Any]]
After = Callable[[dict[str, Any]], Aftermath]
Accepted = Callable[[], int]
# Rows at work with 4 requests in flight and answers in 30 ms: two more are being claimed or settled meanwhile.
AT_ONCE = 6


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that may be stopped."""
    with postgres_or_skip() as server:
        yield server


def test_a_provider_that_drops_connections_after_accepting_leaves_these_unknown_and_no_other(
    sandbox: RunningSandbox, runner: Runner, ledger_url: str, arguments: Arguments, after: After
) -> None:
    """They are held in the next run too, and everyone else has it once."""
    sandbox.faults(kind="drop", accepted=True, fraction=0.15)
    job = arguments(ledger_url)
    report = runner.start(job).report()
    left, lost = after(job), sandbox.truth()["unanswered"]
    assert left.broken(report) == []
    assert left.unknown == {f"+{who}" for who in lost}
    assert report["unknown"] == len(lost) == 12
    sandbox.behave()
    again = runner.start(job).report()
    assert after(job).broken(again) == []
    assert (again["unknown"], again["accepted"]) == (12, 68)


@pytest.mark.parametrize("runs", ["send", "batch"])
def test_the_prefect_server_restarted_in_mid_run_costs_no_send(
    tmp_path: Path, arguments: Arguments, after: After, accepted: Accepted, runs: str
) -> None:
    """The sends go on while it is away, and the flow run ends as usual once it is back."""
    server = start_prefect_server(tmp_path / "server")
    port = int(server.url.rpartition(":")[2])
    try:
        with Runner(tmp_path / "runs", f"{server.url}/api") as runner:
            job = arguments(str(tmp_path / "ledger.db"), 200, runs=runs, batch_size=25)
            run = runner.start(job)
            wait_until(lambda: accepted() >= 20, "20 accepted")
            server.stop()
            assert accepted() < 200
            time.sleep(2)
            server = start_prefect_server(tmp_path / "server", port=port)
            report = run.report()
            assert after(job).broken(report) == []
            assert report["accepted"] == 200
    finally:
        server.stop()


def test_sigterm_at_any_moment_leaves_nothing_unknown_and_the_next_run_goes_on(
    runner: Runner, ledger_url: str, arguments: Arguments, after: After
) -> None:
    """While it plans, uploads, joins, sends or reports: what had left is settled, the rest pending."""
    job = arguments(ledger_url, 200)
    for moment in (0.1, 0.4, 0.7, 1.0, 1.3, 1.6):
        run = runner.start(job)
        time.sleep(moment)
        run.signal(signal.SIGTERM)
        run.wait()
    report = runner.start(job).report()
    assert after(job).broken(report) == []
    assert (report["accepted"], report["unknown"]) == (200, 0)


@pytest.mark.parametrize("runs", ["send", "engine", "batch"])
def test_with_the_prefect_server_gone_for_good_sigterm_ends_a_run_inside_tags(
    tmp_path: Path, arguments: Arguments, after: After, accepted: Accepted, runs: str
) -> None:
    """There Prefect asks its server for a slot before each task run, without end; what was in flight is settled.

    As the process exits, Prefect's events worker waits seven seconds for each event that it could not tell: a second SIGTERM
    ends that.
    """
    server = start_prefect_server(tmp_path / "server")
    try:
        with Runner(tmp_path / "runs", f"{server.url}/api") as runner:
            job = arguments(str(tmp_path / "ledger.db"), 400, runs=runs, batch_size=25)
            run = runner.start(job, tags=["weekly"])
            wait_until(lambda: accepted() >= 100, "100 accepted")
            server.stop()
            time.sleep(2)
            assert run.signal(signal.SIGTERM)
            # Of the 300 s that it took once, Prefect's own end of the flow run is one minute: its client tries that long.
            wait_until(run.result_file.exists, "the end of the broadcast", 200)
            run.signal(signal.SIGTERM)
            run.wait(30)
            left = after(job)
            assert {*left.states.values()} <= {"accepted", "queued"}
            assert len(left.in_state(SendState.ACCEPTED)) == accepted()
    finally:
        server.stop()


def test_a_disk_that_is_full_for_a_while_holds_the_sends_up_and_nothing_else(
    runner: Runner, tmp_path: Path, arguments: Arguments, after: After
) -> None:
    """Nothing leaves that the ledger can't hold; once there is room again, the run goes on by itself."""
    job = arguments(str(tmp_path / "ledger.db"))
    began = time.monotonic()
    report = runner.start(job, after_sends=[30, "disk full", 3.0]).report()
    assert time.monotonic() - began > 3
    assert after(job).broken(report) == []
    assert (report["accepted"], report["unknown"]) == (80, 0)


def test_a_disk_that_stays_full_stops_the_run_and_the_next_one_finishes(
    runner: Runner, tmp_path: Path, arguments: Arguments, after: After
) -> None:
    """What had left and could not be settled is unknown; the rest is sent once there is room."""
    job = arguments(str(tmp_path / "ledger.db"), patience_seconds=2)
    outcome = runner.start(job, after_sends=[30, "disk full", 0]).outcome()
    assert outcome["error"] == "LedgerError"
    assert "ledger" in outcome["says"]
    again = runner.start(job).report()
    left = after(job)
    assert left.broken(again) == []
    assert 0 < len(left.unknown) <= AT_ONCE
    assert left.unknown == left.answers_lost


def test_a_database_that_is_down_for_ten_seconds_holds_the_sends_up_and_nothing_else(
    own_postgres: Postgres, runner: Runner, arguments: Arguments, after: After, accepted: Accepted
) -> None:
    """The answers that came meanwhile are settled when it is back."""
    job = arguments(own_postgres.create_database("drill"), 200)
    run = runner.start(job)
    wait_until(lambda: accepted() >= 20, "20 accepted")
    own_postgres.stop()
    before = accepted()
    time.sleep(10)
    assert accepted() - before <= AT_ONCE
    own_postgres.start()
    report = run.report()
    assert after(job).broken(report) == []
    assert (report["accepted"], report["unknown"]) == (200, 0)


@pytest.mark.parametrize("runs", ["send", "batch"])
def test_a_database_that_stays_down_stops_the_run_and_the_next_one_finishes(
    own_postgres: Postgres, runner: Runner, arguments: Arguments, after: After, accepted: Accepted, runs: str
) -> None:
    """What had left and could not be settled is unknown; the rest is sent once it is back."""
    job = arguments(own_postgres.create_database("drill"), 300, patience_seconds=2, runs=runs)
    run = runner.start(job)
    wait_until(lambda: accepted() >= 20, "20 accepted")
    own_postgres.stop()
    began, before = time.monotonic(), len(run.witnessed())
    assert run.outcome()["error"] == "LedgerError"
    assert time.monotonic() - began < 60
    claims = [word for word, _ in run.witnessed()[before:] if word == "claim?"]
    assert len(claims) <= 8, "one failed claim stops the run; it does not go on to fail with every row"
    own_postgres.start()
    again = runner.start(job).report()
    left = after(job)
    assert left.broken(again) == []
    assert len(left.unknown) <= AT_ONCE
    assert left.unknown == left.answers_lost


def test_s3_gone_after_the_plan_is_not_missed(
    runner: Runner, tmp_path: Path, arguments: Arguments, after: After, audio_samples: Path
) -> None:
    """List and audio are read before the first send; only a run that starts anew needs S3."""
    s3 = start_s3(tmp_path / "s3")
    port = int(s3.url.rpartition(":")[2])
    try:
        job = arguments(str(tmp_path / "ledger.db"))

        def fill() -> None:
            bucket = bucket_block(s3.url, "drill")
            bucket.upload_from_path(audio_samples / "speech_voice.ogg", "weekly.ogg")
            bucket.write_path("list.csv", "\n".join(["phone", *job["recipients"]]).encode())

        fill()
        storage = {"url": s3.url, "bucket": "drill"}
        from_s3 = job | {"audio": "weekly.ogg", "recipients": "list.csv", "storage": storage}
        run = runner.start(from_s3 | {"max_messages": 40})
        assert run.sending.wait(60)
        s3.stop()
        report = run.report()
        assert (report["accepted"], report["pending"]) == (40, 40)
        refused = runner.start(from_s3).outcome()
        assert refused["error"]
        assert "\n" not in refused["says"]
        assert len(after(job).in_state(SendState.QUEUED)) == 40
        s3 = start_s3(tmp_path / "s3", port=port)
        fill()
        again = runner.start(from_s3).report()
        assert after(job).broken(again) == []
        assert again["accepted"] == 80
    finally:
        s3.stop()


def test_a_clock_set_back_in_mid_run_changes_nothing(
    runner: Runner, ledger_url: str, arguments: Arguments, after: After
) -> None:
    """Also where the run is killed after it, and the next one has the right time again."""
    job = arguments(ledger_url)
    stop = {"at": "request", "when": "within", "nth": 50, "delay": 0.01}
    killed = runner.start(job, after_sends=[20, "clock back", 3600], stop=stop)
    assert killed.wait() == -9
    report = runner.start(job, after_sends=[10, "clock back", 86400]).report()
    left = after(job)
    assert left.broken(report) == []
    assert 0 < len(left.unknown) <= AT_ONCE
