"""What an encrypted ledger costs: rows planned, sent and told of by receipts, with a key and without.

`python tests/bench/encryption.py --figures docs/figures` writes the table. Runs with and without a key take turns, and the
median of each counts, so that what else the machine does at the time weighs on both.
"""

import argparse
import asyncio
import base64
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests" / "support"))
os.environ.update(PREFECT_SERVER_ANALYTICS_ENABLED="false", DO_NOT_TRACK="1")

from postgres import NOT_FOUND, Postgres, find_binaries  # noqa: E402 - the paths and settings above go first
from prefect_whatsapp.ledger import LedgerStore, Outcome, Row  # noqa: E402
from prefect_whatsapp.models import Recipient, SendState  # noqa: E402
from prefect_whatsapp.models.updates import StatusUpdate  # noqa: E402
from prefect_whatsapp.sandbox.samples import sample_numbers  # noqa: E402

STEPS = ("planned", "sent", "receipts")
AT_ONCE, IN_A_WEBHOOK = 200, 500


@contextmanager
def timed(seconds: dict[str, tuple[float, float]], step: str) -> Iterator[None]:
    """Keep the seconds on the clock and of this process's CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    seconds[step] = time.perf_counter() - wall, time.process_time() - cpu


async def measure(url: str, key: str, rows: int) -> dict[str, tuple[float, float]]:
    """Plan, send and receive so many rows in an empty ledger; seconds of each step, on the clock and of CPU."""
    people = [Recipient(to=number, name=f"Name {place}") for place, number in enumerate(sample_numbers(rows))]
    seconds: dict[str, tuple[float, float]] = {}
    async with LedgerStore.open(url, encryption_key=key) as store:
        record = await store.start_broadcast("b", kind="audio", provider="graph", account="1", content="c")
        with timed(seconds, "planned"):
            for start in range(0, rows, 2_000):
                await store.plan(record, people[start : start + 2_000])
        with timed(seconds, "sent"):
            async with store.join(record, messages_per_second=0) as lease:

                async def send(row: Row) -> None:
                    await lease.claim(row)
                    await lease.settle(
                        row, Outcome(SendState.ACCEPTED, message_id=f"wamid.HBgLMTY1MDU1NTAxMjMVAg{row.id}")
                    )

                while taken := await lease.take(AT_ONCE):
                    await asyncio.gather(*map(send, taken))
        messages = [row.message_id async for row in store.rows(record)]
        now = record.created_at
        with timed(seconds, "receipts"):
            for start in range(0, rows, IN_A_WEBHOOK):
                some = messages[start : start + IN_A_WEBHOOK]
                await store.receipts.record("graph", [StatusUpdate("1", each, SendState.READ, now) for each in some])
        counts = await store.counts(record)
        assert counts[SendState.READ] == rows, counts
    return seconds


def main() -> None:
    """Measure, and print or write the table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rows", type=int, default=10_000)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--figures", type=Path, help="folder for encryption.md")
    options = asked.parse_args()
    key = base64.b64encode(os.urandom(32)).decode()
    lines = [
        "| ledger | step | rows/s without a key | with a key | time | CPU a row without a key | with a key |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        databases = ["sqlite"]
        postgres = None
        if find_binaries():
            postgres = stack.enter_context(Postgres())
            databases.append("postgresql")
        else:
            print(f"{NOT_FOUND}: SQLite alone")
        for database in databases:
            found: dict[str, list[dict[str, tuple[float, float]]]] = {"": [], key: []}
            for number in range(options.rounds):
                for each, runs in found.items():
                    path = folder / f"{number}-{bool(each)}.db"
                    url = postgres.empty_database() if postgres and database == "postgresql" else str(path)
                    runs.append(asyncio.run(measure(url, each, options.rows)))
                    for file in folder.glob(f"{path.name}*"):
                        file.unlink()
            for step in STEPS:
                (wall, cpu), (wall_with, cpu_with) = (
                    (statistics.median(run[step][0] for run in runs), statistics.median(run[step][1] for run in runs))
                    for runs in found.values()
                )
                cells = [
                    f"{options.rows / wall:,.0f}",
                    f"{options.rows / wall_with:,.0f}",
                    f"{100 * (wall_with / wall - 1):+.0f} %",
                ]
                cells += [f"{1e6 * each / options.rows:.0f} µs" for each in (cpu, cpu_with)]
                lines.append(f"| {database} | {step} | {' | '.join(cells)} |")
                print(lines[-1], flush=True)
    rows, rounds = f"{options.rows:,}", options.rounds
    how = (
        f"By `python tests/bench/encryption.py`: {rows} rows planned, claimed and settled ({AT_ONCE} at once, no request),",
        f"and told of by receipts ({IN_A_WEBHOOK} in a webhook); the median of {rounds} rounds, with and without a key by turns.",
        f"{platform.system()}, Python {platform.python_version()}, {os.cpu_count()} cores. CPU is this process's own, without",
        "the database server's.",
    )
    text = "\n".join(["# Encryption of the ledger", "", *how, "", *lines])
    if options.figures:
        (options.figures / "encryption.md").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
