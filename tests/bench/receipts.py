"""How many statuses the receiver takes: each one signed, matched to its row and durable before it is answered with 200.

`python tests/bench/receipts.py` measures this alone, on SQLite and PostgreSQL, for bodies of several sizes. What counts is
statuses a CPU second of the receiver and, on PostgreSQL, of the database with it: a second and core.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "support"))

from postgres import Postgres, find_binaries
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore
from prefect_whatsapp.models import SendState
from receipt_order import ACCOUNT, Broadcast, Life
from receiver_process import ReceiverProcess, graph_body, signature, status

_STATES = (SendState.SENT, SendState.DELIVERED, SendState.READ)
_CONNECTIONS = 16


@dataclass(frozen=True)
class Taken:
    """One run.

    Attributes:
        database: `sqlite` or `postgresql`.
        in_a_body: Statuses a webhook.
        statuses: How many in all.
        per_second: A second on the clock.
        per_core: A CPU second of the receiver.
        with_database: A CPU second of receiver and database together; SQLite is within the receiver.
    """

    database: str
    in_a_body: int
    statuses: int
    per_second: float
    per_core: float
    with_database: float


def measure_all(*, quick: bool) -> list[Taken]:
    """Measure each database and size of body."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
        servers: list[Postgres | None] = [None]
        if find_binaries():
            servers.append(stack.enter_context(Postgres()))  # with fsync, as durable is what is measured
        found = []
        for server, in_a_body in itertools.product(servers, (1_000, 100, 1)):
            messages = (300 if quick else 2_000) if in_a_body == 1 else (2_000 if quick else 20_000)
            place = Path(folder) / f"{'sqlite' if server is None else 'postgresql'}-{in_a_body}"
            place.mkdir()
            found.append(asyncio.run(_measure(server, place, messages, in_a_body)))
            print("  " + line(found[-1]), flush=True)
        return found


def line(taken: Taken) -> str:
    """One run in a line."""
    return (
        f"receiver, {taken.database:10s} {taken.in_a_body:5,} a body  {taken.per_second:8,.0f} statuses/s  "
        f"{taken.per_core:8,.0f} a core, {taken.with_database:8,.0f} with the database's CPU"
    )


def table(found: Sequence[Taken]) -> str:
    """All runs as a table."""
    head = ["| database | statuses a webhook | statuses | statuses/s | a second and core | with the database's CPU |"]
    rows = [
        f"| {t.database} | {t.in_a_body:,} | {t.statuses:,} | {t.per_second:,.0f} | {t.per_core:,.0f} | {t.with_database:,.0f} |"
        for t in found
    ]
    return "\n".join([*head, "|---|--:|--:|--:|--:|--:|", *rows])


async def _measure(server: Postgres | None, folder: Path, messages: int, in_a_body: int) -> Taken:
    url = server.empty_database() if server else str(folder / "ledger.db")
    async with LedgerStore.open(url) as store:
        broadcast = Broadcast(store, "bench", [Life(_STATES)] * messages)
        record = await broadcast.begin()
        requests = _requests(record, messages, in_a_body)
        with ReceiverProcess(url, folder) as receiver:
            assert receiver.process
            pids = [receiver.process.pid, *([server.pid] if server else [])]
            cpu, began = [_cpu(pid) for pid in pids], time.monotonic()
            await _post(receiver.port, requests)
            seconds = time.monotonic() - began
            used = [_cpu(pid) - before for pid, before in zip(pids, cpu, strict=True)]
        counts = await store.counts(record)
        assert counts[SendState.READ] == messages, counts
    statuses = messages * len(_STATES)
    name = "postgresql" if server else "sqlite"
    return Taken(name, in_a_body, statuses, statuses / seconds, statuses / used[0], statuses / sum(used))


def _requests(record: BroadcastRecord, messages: int, in_a_body: int) -> Iterator[bytes]:
    """Whole HTTP requests, signed: each message's three statuses, the messages of a thousand in any order."""
    chance, told = random.Random(1), []
    for state in _STATES:
        events = [status(f"wamid.bench.{n}", state.value, recipient_id="16505550123") for n in range(messages)]
        for start in range(0, messages, 1_000):
            part = events[start : start + 1_000]
            chance.shuffle(part)
            told += part
    bodies = [graph_body(ACCOUNT, statuses=told[start : start + in_a_body]) for start in range(0, len(told), in_a_body)]
    requests = []
    for body in bodies:
        headers = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **signature(body)}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        requests.append(f"POST /graph/weekly HTTP/1.1\r\n{head}\r\n".encode() + body)
    return iter(requests)


async def _post(port: int, requests: Iterator[bytes]) -> None:
    """Post over kept connections, each its next request after the answer to the last: plain sockets, as they cost least."""

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in requests:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
            await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(_CONNECTIONS)))


def _cpu(pid: int) -> float:
    """CPU seconds of a process, its children and what they waited for."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return own + sum(_cpu(int(child)) for child in children)
    return 0.0


if __name__ == "__main__":
    runs = measure_all(quick="--quick" in sys.argv)
    print(table(runs))
    print(json.dumps([asdict(run) for run in runs]))
