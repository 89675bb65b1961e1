"""The long form of the rounds with receipts: `python tests/kill/receipts.py --rounds 200`, as `make
receipts-test` runs it.

It prints a line a round and a table, writes both as figures, and exits 0 only where no promise was broken.
"""

import argparse
import math
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
from postgres import NOT_FOUND, Postgres, find_binaries  # noqa: E402
from prefect_whatsapp.cli.prefect_server import prefect_server  # noqa: E402
from receipt_rounds import KILLS, LOST_ANSWERS, RECIPIENTS, ReceiptRig, Round, as_json, table  # noqa: E402


def main() -> int:
    """Play the rounds."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=200)
    asked.add_argument("--workers", type=int, default=4, help="rounds at a time")
    asked.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    asked.add_argument("--minutes", type=float, default=math.inf, help="begin no round after so long")
    asked.add_argument("--figures", type=Path, help="folder for receipts-test.md and receipts-test.json")
    asked.add_argument("--keep", action="store_true", help="keep ledgers and logs, and say where")
    options = asked.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="prefect-whatsapp-receipts-"))
    os.environ["PREFECT_HOME"] = str(folder / "home")
    began, played = time.monotonic(), list[Round]()
    with ExitStack() as stack:
        if options.keep:
            print(f"kept in {folder}")
        else:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = stack.enter_context(prefect_server(folder / "server"))
        postgres = None
        if find_binaries():
            postgres = stack.enter_context(Postgres())
        else:
            print(f"{NOT_FOUND}: SQLite alone")
        runner = stack.enter_context(Runner(folder / "runs", f"{server.url}/api"))
        audio = REPOSITORY / "tests" / "data" / "audio" / "speech_voice.ogg"
        rig = stack.enter_context(ReceiptRig(folder, runner, postgres, audio=audio, seed=options.seed))
        databases = " and ".join(rig.databases)
        print(f"{options.rounds} rounds of {RECIPIENTS} recipients on {databases}, seed {rig.seed}")
        for number, each in enumerate(
            rig.play_all(options.rounds, workers=options.workers, seconds=options.minutes * 60), 1
        ):
            played.append(each)
            print(
                f"{number:4} {each.provider:8} {each.kind:8} {each.database:10} killed {each.killed} accepted"
                f" {each.accepted:3} in doubt {each.in_doubt:2} resolved {each.resolved:2} unknown {each.unknown:2}"
                f" twice {each.twice} slowest {each.slowest:4.1f} s, {each.seconds:5.1f} s"
                + "".join(f"\n     VIOLATED: {what}" for what in each.violations),
                flush=True,
            )
    seconds, broken = time.monotonic() - began, sum(bool(each.violations) for each in played)
    conclusion = (
        f"{len(played)} rounds of {RECIPIENTS} recipients on {databases} in {seconds:.0f} s, seed {rig.seed}, Python"
        f" {platform.python_version()}, {os.cpu_count()} cores. Each run is killed {KILLS} times, {LOST_ANSWERS:.0%} of the"
        f" answers are lost; webhooks come early, twice, in any order, and 1 % never: {broken} rounds broke a promise."
    )
    print(f"\n{table(played)}\n\n{conclusion}")
    if options.figures:
        options.figures.mkdir(parents=True, exist_ok=True)
        text = "# Kills and lost answers while receipts flow\n\nBy `make receipts-test`; what is compared is said in"
        text += " `tests/support/receipt_rounds.py`.\n"
        (options.figures / "receipts-test.md").write_text(f"{text}\n{table(played)}\n\n{conclusion}\n")
        facts = {"rounds": len(played), "recipients_a_round": RECIPIENTS, "seed": rig.seed, "seconds": round(seconds)}
        (options.figures / "receipts-test.json").write_text(as_json(played, **facts))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
