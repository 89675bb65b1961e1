"""The long form of the kill test: `python tests/kill/rounds.py --rounds 240`, as `make kill-test` runs it.

It prints a line a round and a table, writes both as figures, and exits 0 only where no promise was broken. What was
played is kept in a journal: interrupted and asked for once more, it goes on where it stopped, with the same seed. What
happens in a round hangs on the seed and the round's place alone: `--only 17 --seed …` plays one again.
"""

import argparse
import os
import platform
import resource
import shutil
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "support"))
os.environ.update(PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1", PREFECT_LOGGING_TO_API_ENABLED="false")
for _name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "PREFECT_API_URL"):
    os.environ.pop(_name, None)

from kill_figures import Journal, Round, as_json, table, unknown_a_kill  # noqa: E402
from kill_processes import Runner  # noqa: E402
from kill_rounds import AT_80_A_SECOND, KINDS, RECIPIENTS, Rig  # noqa: E402
from postgres import NOT_FOUND, Postgres, find_binaries  # noqa: E402
from prefect_whatsapp.cli.prefect_server import prefect_server  # noqa: E402
from prefect_whatsapp.sandbox.server import RunningSandbox  # noqa: E402

# What a Prefect server does besides: none of it is asked for here. Only the task run recorder is.
SERVER_SETTINGS = {
    f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false"
    for name in (
        "CANCELLATION_CLEANUP",
        "CLEANUP_RECONCILER",
        "EVENT_PERSISTER",
        "FOREMAN",
        "LATE_RUNS",
        "PAUSE_EXPIRATIONS",
        "REPOSSESSOR",
        "SCHEDULER",
        "TRIGGERS",
    )
}


def main() -> int:
    """Play the rounds."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=240)
    asked.add_argument("--workers", type=int, default=6, help="rounds at a time")
    asked.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    asked.add_argument("--kind", default="", help="only kinds whose name holds this")
    asked.add_argument("--only", type=int, help="only the round of this place")
    asked.add_argument("--outage-scale", type=float, default=1.0, help="of 2 to 30 seconds; 0.1 for a quick look")
    asked.add_argument("--figures", type=Path, help="folder for kill-test.md and kill-test.json")
    asked.add_argument(
        "--journal", type=Path, default=REPOSITORY / "build" / "kill-test.jsonl", help="of what was played"
    )
    asked.add_argument("--anew", action="store_true", help="forget what an interrupted test has played")
    asked.add_argument("--keep", action="store_true", help="keep ledgers, logs and witnesses, and say where")
    options = asked.parse_args()
    if options.anew:
        options.journal.unlink(missing_ok=True)
    same = {name: getattr(options, name) for name in ("rounds", "kind", "only", "outage_scale")}
    journal = Journal(options.journal, same, options.seed)
    before = len(journal.played)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began, interrupted = time.monotonic(), False
    try:
        play(options, journal)
    except KeyboardInterrupt:
        interrupted = True
    played, seconds = journal.played, time.monotonic() - began
    if not played:
        return 1
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(each.ru_utime + each.ru_stime for each in used) / max(len(played) - before, 1)
    broken = sum(bool(each.violations) for each in played)
    databases = " and ".join(sorted({each.database for each in played}, reverse=True))
    conclusion = (
        f"{len(played)} of {1 if options.only is not None else options.rounds} rounds of {RECIPIENTS} recipients on"
        f" {databases} in {seconds:.0f} s, {cpu:.1f} CPU seconds a round, seed {journal.seed}, Python"
        f" {platform.python_version()}, {os.cpu_count()} cores: {broken} rounds broke a promise."
    )
    if left := unknown_a_kill(each for each in played if each.kind == AT_80_A_SECOND):
        conclusion += (
            f"\n\nAt 80 messages a second and 25 ms an answer a kill left {statistics.mean(left):.1f} sends unknown on"
            f" average (median {statistics.median(left):g}); while it sends, 2.0 requests are on their way at a time."
        )
    figures = table(played, [kind.name for kind in KINDS])
    print(f"\n{figures}\n\n{conclusion}")
    if interrupted or len(played) < (1 if options.only is not None else options.rounds):
        print(
            f"\nNot all were played: ask for the same once more, and it goes on (what was played is in {options.journal})."
        )
        return 1
    if options.figures:
        options.figures.mkdir(parents=True, exist_ok=True)
        text = (
            "# The kill test\n\nBy `make kill-test`; what is compared is said in `tests/support/kill_rounds.py`. *a kill* and"
            " *median*: sends that a killed run\nleft unknown, those of its outage among them; *s*: median seconds of a round.\n"
        )
        (options.figures / "kill-test.md").write_text(f"{text}\n{figures}\n\n{conclusion}\n")
        facts = {"rounds": len(played), "recipients_a_round": RECIPIENTS, "seed": journal.seed}
        facts |= {"seconds": round(seconds), "cpu_seconds_a_round": round(cpu, 1)}
        (options.figures / "kill-test.json").write_text(as_json(played, **facts))
    journal.close()
    return 1 if broken else 0


def play(options: argparse.Namespace, journal: Journal) -> None:
    """Play what is missing in the journal."""
    folder = Path(tempfile.mkdtemp(prefix="prefect-whatsapp-kill-"))
    os.environ["PREFECT_HOME"] = str(folder / "home")
    with ExitStack() as stack:
        if not options.keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = stack.enter_context(prefect_server(folder / "server", settings=SERVER_SETTINGS))
        sandbox = stack.enter_context(RunningSandbox())
        postgres = None
        if find_binaries():
            postgres = stack.enter_context(Postgres())
        else:
            print(f"{NOT_FOUND}: SQLite alone")
        runner = stack.enter_context(Runner(folder / "runs", f"{server.url}/api"))
        samples = REPOSITORY / "tests" / "data" / "audio"
        rig = Rig(
            folder,
            runner,
            sandbox,
            postgres,
            audio=samples / "speech_voice.ogg",
            source=samples / "speech_cover.mp3",
            seed=journal.seed,
            outage_scale=options.outage_scale,
        )
        kinds = [kind for kind in KINDS if options.kind in kind.name]
        done = {each.place for each in journal.played}
        print(
            f"{options.rounds} rounds of {RECIPIENTS} recipients on {' and '.join(rig.databases)}, seed {rig.seed}"
            + (f", {len(done)} of them played before" if done else ""),
            flush=True,
        )
        if options.only is not None:
            done |= {place for place in range(options.rounds) if place != options.only}
        for each in rig.play_all(options.rounds, workers=options.workers, kinds=kinds, without=done):
            journal.add(each)
            print(_line(len(journal.played), each), flush=True)
        if options.keep:
            print(f"kept in {folder}")


def _line(number: int, played: Round) -> str:
    return (
        f"{number:4} at {played.place:4} {played.database:10} {played.kind:48} killed {played.killed} accepted"
        f" {played.accepted:3} unknown {played.unknown:2} twice {played.twice} forgotten {played.forgotten}"
        f" {played.seconds:5.1f} s" + "".join(f"\n     VIOLATED: {what}" for what in played.violations)
    )


if __name__ == "__main__":
    sys.exit(main())
