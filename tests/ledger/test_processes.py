"""Several processes on one ledger, some of them killed: nobody twice, nobody forgotten."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from ledgers import begin
from prefect_whatsapp.ledger import LedgerStore, Outcome
from prefect_whatsapp.models import SendState

WORKER = Path(__file__).parents[1] / "support" / "ledger_worker.py"


@asynccontextmanager
async def worker(url: str, mode: str) -> AsyncIterator[Process]:
    """A process that works on the broadcast `weekly`; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(WORKER), url, "weekly", mode, stdin=PIPE, stdout=PIPE, cwd="/"
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def told(process: Process, last: str) -> list[tuple[str, int]]:
    """What a worker says up to a word."""
    assert process.stdout is not None
    said: list[tuple[str, int]] = []
    async with asyncio.timeout(60):
        while line := (await process.stdout.readline()).decode().split():
            if line[0] == last:
                return said
            said.append((line[0], int(line[1])))
    raise AssertionError(f"the worker ended before it said {last}: {said[-5:]}")


async def test_four_processes_work_on_one_broadcast_and_no_row_twice(url: str) -> None:
    async with LedgerStore.open(url) as store:
        record = await begin(store, 1200)
        async with (
            worker(url, "send all") as one,
            worker(url, "send all") as two,
            worker(url, "send all") as three,
            worker(url, "send all") as four,
        ):
            said = await asyncio.gather(*(told(process, "done") for process in (one, two, three, four)))
        claimed = [row for lines in said for word, row in lines if word == "claimed"]
        assert len(claimed) == len(set(claimed)) == 1200
        assert sum(1 for lines in said if lines) >= 2, "the work is shared"
        counts = await store.counts(record)
        assert (counts[SendState.ACCEPTED], sum(counts.values())) == (1200, 1200)


async def test_a_killed_owners_rows_come_back_and_its_claims_are_unknown(url: str) -> None:
    async with LedgerStore.open(url) as store:
        record = await begin(store, 6)
        async with worker(url, "hold") as process:
            said = await told(process, "holding")
            async with store.join(record, messages_per_second=0) as lease:
                assert await lease.recover() == 0
                assert (await lease.outstanding()).held_by_others == 4
                process.send_signal(signal.SIGKILL)
                await process.wait()
                assert await lease.recover() == 4
                claimed = {row for word, row in said if word == "claimed"}
                unknown = [row async for row in store.rows(record, [SendState.UNKNOWN])]
                assert {row.id for row in unknown} == claimed
                assert all("its run was lost before an answer was recorded" in row.error_text for row in unknown)
                taken = {row.id for row in await lease.take(100)}
                assert len(taken) == 4
                assert not taken & claimed


async def test_a_stopped_owner_that_lives_is_never_recovered(url: str) -> None:
    async with LedgerStore.open(url) as store:
        record = await begin(store, 1)
        async with worker(url, "slow") as process:
            await told(process, "holding")
            process.send_signal(signal.SIGSTOP)
            async with store.join(record, messages_per_second=0, lapse_seconds=0.5, beat_seconds=0.05) as lease:
                ends = time.monotonic() + 2
                while time.monotonic() < ends:
                    assert await lease.recover() == 0
                    assert await lease.take(1) == []
                    await asyncio.sleep(0.05)
            process.send_signal(signal.SIGCONT)
            assert process.stdin is not None
            process.stdin.write(b"\n")
            assert await told(process, "done") == [("settled", 1)]
        (row,) = [row async for row in store.rows(record)]
        assert (row.state, row.message_id) == (SendState.ACCEPTED, "late")


@pytest.mark.slow
async def test_killed_again_and_again_nobody_is_claimed_twice_or_forgotten(url: str) -> None:
    """Each round one process is killed at a moment of its work; a claim that was told is settled or unknown at the end."""
    async with LedgerStore.open(url) as store:
        record = await begin(store, 400)
        claimed: list[int] = []
        for number in range(6):
            async with worker(url, "send all") as process:
                assert process.stdout is not None
                for _ in range(5 + 23 * number):
                    if not (line := (await process.stdout.readline()).decode().split()):
                        break
                    if line[0] == "claimed":
                        claimed.append(int(line[1]))
                os.kill(process.pid, signal.SIGKILL)
                rest, _ = await process.communicate()
                whole = rest.decode().rpartition("\n")[0]  # the kill may have cut the last line
                claimed += [int(line.split()[1]) for line in whole.splitlines() if line.startswith("claimed ")]
        assert len(claimed) == len(set(claimed))
        async with store.join(record, messages_per_second=0) as lease:
            while rows := await lease.take(50):
                for row in rows:
                    assert row.id not in claimed
                    await lease.claim(row)
                    await lease.settle(row, Outcome(SendState.ACCEPTED))
        counts = await store.counts(record)
        assert counts[SendState.ACCEPTED] + counts[SendState.UNKNOWN] == 400
        assert counts[SendState.UNKNOWN] <= 6 * 16


async def test_a_store_that_is_opened_beside_another_keeps_the_files_of_both(tmp_path: Path) -> None:
    """A descriptor of the file that this process closes would give up its locks: another process then removes the WAL."""
    path = tmp_path / "ledger.db"
    look = f"import sqlite3; print(*sqlite3.connect({str(path)!r}).execute('SELECT name FROM whatsapp_broadcasts'))"

    def elsewhere() -> str:
        return subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout

    async with LedgerStore.open(str(path)) as first, LedgerStore.open(str(path)) as second:
        await first.find_broadcast("weekly")
        await second.find_broadcast("weekly")
        assert elsewhere() == "\n"
        await begin(first)
        assert "weekly" in elsewhere()
