"""The long form of the kill test: `python tests/kill/rounds.py --rounds 240`, as `make kill-test` runs it.

It prints a line a round and a table, writes both as figures, and exits 0 only where no promise was broken.
"""

import argparse
import os
import platform
import shutil
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

from kill_processes import Runner  # noqa: E402
from kill_rounds import KINDS, RECIPIENTS, Rig, Round, as_json, table  # noqa: E402
from postgres import NOT_FOUND, Postgres, find_binaries  # noqa: E402
from prefect_whatsapp.cli.prefect_server import prefect_server  # noqa: E402
from prefect_whatsapp.sandbox.server import RunningSandbox  # noqa: E402


def main() -> int:
    """Play the rounds."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=240)
    asked.add_argument("--workers", type=int, default=4, help="rounds at a time")
    asked.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    asked.add_argument("--kind", default="", help="only kinds whose name holds this")
    asked.add_argument("--outage-scale", type=float, default=0.1, help="of 2 to 30 seconds; 1 plays them in full")
    asked.add_argument("--figures", type=Path, help="folder for kill-test.md and kill-test.json")
    asked.add_argument("--keep", action="store_true", help="keep ledgers, logs and witnesses, and say where")
    options = asked.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="prefect-whatsapp-kill-"))
    os.environ["PREFECT_HOME"] = str(folder / "home")
    began, played = time.monotonic(), list[Round]()
    with ExitStack() as stack:
        if not options.keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = stack.enter_context(prefect_server(folder / "server"))
        sandbox = stack.enter_context(RunningSandbox())
        postgres = None
        if find_binaries():
            postgres = Postgres().start()
            stack.callback(postgres.remove)
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
            seed=options.seed,
            outage_scale=options.outage_scale,
        )
        kinds = [kind for kind in KINDS if options.kind in kind.name]
        print(f"{options.rounds} rounds of {RECIPIENTS} recipients on {' and '.join(rig.databases)}, seed {rig.seed}")
        for number, each in enumerate(rig.play_all(options.rounds, workers=options.workers, kinds=kinds), 1):
            played.append(each)
            print(
                f"{number:4} {each.database:10} {each.kind:46} killed {each.killed} accepted {each.accepted:3}"
                f" unknown {each.unknown:2} twice {each.twice} forgotten {each.forgotten} {each.seconds:5.1f} s"
                + "".join(f"\n     VIOLATED: {what}" for what in each.violations),
                flush=True,
            )
        if options.keep:
            print(f"kept in {folder}")
    seconds, broken = time.monotonic() - began, sum(bool(each.violations) for each in played)
    conclusion = (
        f"{len(played)} rounds of {RECIPIENTS} recipients on {' and '.join(rig.databases)} in {seconds:.0f} s, seed"
        f" {rig.seed}, Python {platform.python_version()}, {os.cpu_count()} cores: {broken} rounds broke a promise."
    )
    print(f"\n{table(played)}\n\n{conclusion}")
    if options.figures:
        options.figures.mkdir(parents=True, exist_ok=True)
        text = "# The kill test\n\nBy `make kill-test`; what is compared is said in `tests/support/kill_rounds.py`.\n"
        (options.figures / "kill-test.md").write_text(f"{text}\n{table(played)}\n\n{conclusion}\n")
        facts = {"rounds": len(played), "recipients_a_round": RECIPIENTS, "seed": rig.seed, "seconds": round(seconds)}
        (options.figures / "kill-test.json").write_text(as_json(played, **facts))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
