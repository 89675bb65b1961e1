"""`make bench`: the floor, ours, and what one would use instead, in one run on this machine.

Every contender is a process of its own beside a sandbox of its own and, where it needs one, a fresh Prefect server.
Sends a second are counted by the sandbox's clock from the first send to the last, so that nobody's start-up counts;
recorded runs a second from the first send until the server shows the last run as COMPLETED.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "support"))

import httpx
from figures import Measured, line, plot, summary
from postgres import NOT_FOUND, Postgres, find_binaries
from prefect_whatsapp.cli.prefect_server import prefect_server
from prefect_whatsapp.sandbox.processes import Process, free_port
from prefect_whatsapp.sandbox.server import RunningSandbox

import receipts

HERE = Path(__file__).parent
NEEDS_PREFECT = {"floor", "map", "ours", "ours-engine", "ours-batch"}


class ContenderError(Exception):
    """A contender ended without its figures."""


@dataclass(frozen=True)
class Case:
    """What is compared with what."""

    name: str
    contenders: tuple[str, ...]
    recipients: int
    latency: float = 0.0
    tuned: bool = True
    postgresql: bool = False  # the Prefect server's database
    in_flight: int = 16
    rate: float = 0.0
    processes: int = 1
    bucket: float = 0.0
    repeats: int = 1


def main() -> None:
    """Run the cases, print the tables, write JSON and a plot."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer recipients, one repeat: to see that it works")
    parser.add_argument("--only", default="", help="comma-separated names of cases")
    parser.add_argument("--output", type=Path, default=Path("bench-results"))
    args = parser.parse_args()
    cases = [case for case in _cases(quick=args.quick) if not args.only or case.name in args.only.split(",")]
    results: list[Measured] = []
    failed: list[str] = []
    for case in cases:
        print(f"\n{case.name}", flush=True)
        for _ in range(case.repeats):
            for contender in case.contenders:
                if (why := _missing(case, contender)) is not None:
                    print(f"  {contender:15s} left out: {why}", flush=True)
                    continue
                try:
                    measured = _measure(case, contender)
                except ContenderError as failure:  # one that fails takes no hour of the others' figures with it
                    failed.append(f"{case.name}: {contender}")
                    print(f"  {contender:15s} failed:\n{failure}", flush=True)
                    continue
                results.append(measured)
                print("  " + line(measured), flush=True)
    taken = []
    if not args.only or "receipts" in args.only.split(","):
        print("\nreceipts", flush=True)
        taken = receipts.measure_all(quick=args.quick)
    args.output.mkdir(exist_ok=True)
    results, taken = _beside_known(args.output / "bench.json", results, taken) if args.only else (results, taken)
    about = {
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "results": [asdict(measured) for measured in results],
        "receipts": [asdict(run) for run in taken],
    }
    (args.output / "bench.json").write_text(json.dumps(about, indent=1))
    text = summary(results) if results else ""
    text += f"\n{receipts.table(taken)}\n" if taken else ""
    (args.output / "bench.md").write_text(text)
    print("\n" + text)
    if results:
        plot(results, args.output / "bench.png")
    print(f"written: {args.output}/bench.json, bench.md and bench.png")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _beside_known(
    file: Path, results: list[Measured], taken: list[receipts.Taken]
) -> tuple[list[Measured], list[receipts.Taken]]:
    """What was measured, and of the cases that were left out what the file has of an earlier time."""
    if not file.exists():
        return results, taken
    known = json.loads(file.read_text())
    anew = {each.case for each in results}
    earlier = [Measured(**each) for each in known["results"] if each["case"] not in anew]
    order = [case.name for case in _cases(quick=False)]
    together = sorted([*earlier, *results], key=lambda each: order.index(each.case))
    return together, taken or [receipts.Taken(**each) for each in known["receipts"]]


def _cases(*, quick: bool) -> list[Case]:
    n = 200 if quick else 1000
    rivals = ("httpx", "without-ledger", "ours-batch", "pywa", "celery-threads", "celery-prefork")
    repeats = 1 if quick else 3
    return [
        Case("tracked", ("floor", "ours", "ours-engine"), n, repeats=repeats),
        Case("tracked-default-server", ("map",), n, tuned=False),
        Case("sends-0ms", rivals, n, repeats=repeats),
        Case("sends-50ms", rivals, n, latency=0.05, repeats=repeats),
        Case("scale", ("floor", "ours"), 2_000 if quick else 20_000),
        Case("scale-postgresql", ("floor", "ours"), 2_000 if quick else 20_000, postgresql=True),
        Case("scale-batch", ("ours-batch",), 1_000),
        Case("scale-batch-large", ("ours-batch",), 2_000 if quick else 20_000),
        Case("scale-batch-100000", ("ours-batch",), 5_000 if quick else 100_000),
        Case("default-server", ("ours",), 500 if quick else 5_000, tuned=False),
        Case("rate-80-two-processes", ("ours-batch",), 800 if quick else 4_800, rate=80.0, processes=2),
        Case("bucket-40-of-80", ("ours-batch",), 400 if quick else 2_400, rate=80.0, bucket=40.0),
    ]


def _missing(case: Case, contender: str) -> str | None:
    if case.postgresql and not find_binaries():
        return NOT_FOUND
    if (module := contender.partition("-")[0]) in {"pywa", "celery"} and importlib.util.find_spec(module) is None:
        return f"{module} is not installed (pip install --group bench)"
    if contender.startswith("celery") and not shutil.which("redis-server"):
        return "no redis-server on this machine"
    return None


def _measure(case: Case, contender: str) -> Measured:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
        sandbox = stack.enter_context(RunningSandbox())
        if case.latency:
            sandbox.faults(kind="latency", seconds=case.latency, on="send")
        if case.bucket:
            sandbox.faults(kind="throttle", per_second=case.bucket, burst=case.bucket, on="send")
        environment = {**os.environ, "PREFECT_HOME": f"{folder}/client", "PREFECT_LOGGING_LEVEL": "ERROR"}
        server: Process | None = None
        if contender in NEEDS_PREFECT:
            settings = {}
            if case.postgresql:
                settings = {
                    "PREFECT_SERVER_DATABASE_CONNECTION_URL": stack.enter_context(Postgres()).empty_database(),
                    "PREFECT_SERVER_DATABASE_TIMEOUT": "30",  # as in deployments/postgresql.env
                }
            server = stack.enter_context(prefect_server(Path(folder) / "server", tuned=case.tuned, settings=settings))
            environment["PREFECT_API_URL"] = f"{server.url}/api"
        if contender.startswith("celery"):
            environment["BENCH_REDIS"] = stack.enter_context(_redis(Path(folder)))
        before = _cpu_when_warm(server) if server else 0.0
        processes = _start(case, contender, sandbox.url, Path(folder), environment)
        runs, ended = _wait_for_runs(server, processes, case, contender) if server else (0, 0.0)
        outputs = [_output(contender, process) for process in processes]
        ended = ended or time.time()
        truth = sandbox.truth()
        sending = max(float(truth["seconds"]), 1e-9)
        first_send = time.time() - (truth["now"] - truth["first_send"])
        tracked = max(ended - first_send, sending)
        return Measured(
            case=case.name,
            contender=contender,
            recipients=case.recipients,
            latency_ms=case.latency * 1000,
            sends_per_second=(case.recipients - 1) / sending,
            recorded_per_second=case.recipients / tracked if server else 0.0,
            runs_recorded=runs,
            accepted=truth["accepted_total"],
            twice=truth["duplicates_total"],
            uploads=truth["uploads"],
            cpu_ms_per_send=sum(o["cpu"] for o in outputs) * 1000 / case.recipients,
            server_cpu_ms_per_send=(_cpu_of_tree(server.popen.pid) - before) * 1000 / case.recipients if server else 0,
            memory_mb=max(o["memory"] for o in outputs) / 1e6,
            seconds=ended - min(float(o["began"]) for o in outputs),
            peak_per_second=truth["peak_per_second"],
            refused_after_10_s=_refused_after_10_s(truth),
            start_seconds=first_send - min(float(o["began"]) for o in outputs),
            tail_seconds=max(float(o["began"]) + o["seconds"] for o in outputs) - first_send - sending,
        )


def _refused_after_10_s(truth: dict[str, Any]) -> float:
    """Part of the sends that were refused as too fast, after the first ten seconds."""
    later = [each for each in truth["by_second"] if each["second"] - truth["by_second"][0]["second"] >= 10]
    return sum(each["throttled"] for each in later) / max(sum(each["sends"] for each in later), 1)


def _start(
    case: Case, contender: str, sandbox: str, folder: Path, environment: dict[str, str]
) -> list[subprocess.Popen[str]]:
    command = [sys.executable, str(HERE / "contender.py"), contender, "--sandbox", sandbox]
    command += ["--recipients", str(case.recipients), "--in-flight", str(case.in_flight), "--rate", str(case.rate)]
    if case.processes > 1:
        command += ["--ledger", str(folder / "shared.db"), "--broadcast", "shared"]
    return [
        subprocess.Popen(command, env=environment, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(case.processes)
    ]


def _output(contender: str, process: subprocess.Popen[str]) -> dict[str, float]:
    out, err = process.communicate(timeout=1_200)
    try:
        answer: dict[str, float] = json.loads(out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise ContenderError(err[-3_000:]) from None
    return answer


def _wait_for_runs(
    server: Process, processes: list[subprocess.Popen[str]], case: Case, contender: str
) -> tuple[int, float]:
    """Wait until the server shows every send's run as COMPLETED; give up when nothing new came for half a minute."""
    wanted = case.recipients if contender != "ours-batch" else -1
    shown, changed, body = (
        0,
        time.time(),
        {"task_runs": {"name": {"like_": "send-"}, "state": {"type": {"any_": ["COMPLETED"]}}}},
    )
    # Counting 20,000 rows five times a second would cost the server more than recording them.
    pause = 0.2 if case.recipients <= 1_000 else 2.0
    with httpx.Client(trust_env=False, timeout=60) as client:
        while True:
            time.sleep(pause)
            now = int(client.post(f"{server.url}/api/task_runs/count", json=body).raise_for_status().json())
            if now != shown:
                shown, changed = now, time.time()
            running = any(process.poll() is None for process in processes)
            if shown == wanted or (not running and time.time() - changed > (30 if wanted > 0 else 3)):
                return shown, changed


def _cpu_when_warm(server: Process) -> float:
    """CPU seconds of a server that has built its routes, which takes 1.5 s with its first request, and has come to rest."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        client.get(f"{server.url}/api/no-such-route")  # so each is looked at
    used, until = 0.0, time.monotonic() + 20
    while (now := _cpu_of_tree(server.popen.pid)) - used > 0.05 and time.monotonic() < until:
        used = now
        time.sleep(1.0)
    return now


def _cpu_of_tree(pid: int) -> float:
    """CPU seconds of a process and its children."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return own + sum(_cpu_of_tree(int(child)) for child in children)
    return 0.0


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[str]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


if __name__ == "__main__":
    main()
