"""One at a time, among tasks and among processes; the lock dies with its holder."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from prefect_whatsapp.ledger import LedgerStore

HOLDER = """
import asyncio, sys
from prefect_whatsapp.ledger import LedgerStore

async def main():
    async with LedgerStore.open(sys.argv[1]) as store, store.exclusive("upload"):
        print("held", flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


async def test_only_one_task_is_within(store: LedgerStore) -> None:
    within, most = 0, 0

    async def work() -> None:
        nonlocal within, most
        async with store.exclusive("upload"):
            within += 1
            most = max(most, within)
            await asyncio.sleep(0.02)
            within -= 1

    await asyncio.gather(*(work() for _ in range(6)))
    assert most == 1


async def test_other_keys_do_not_wait(store: LedgerStore) -> None:
    async with asyncio.timeout(60), store.exclusive("upload one"), store.exclusive("upload two"):
        pass


async def test_waiting_can_be_cancelled_and_leaves_the_lock_free(store: LedgerStore) -> None:
    async with store.exclusive("upload"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), store.exclusive("upload"):
                raise AssertionError("two are within")
    async with asyncio.timeout(60), store.exclusive("upload"):
        pass


async def test_the_lock_is_given_back_when_the_block_raises(store: LedgerStore) -> None:
    with pytest.raises(ZeroDivisionError):
        async with store.exclusive("upload"):
            raise ZeroDivisionError
    async with asyncio.timeout(60), store.exclusive("upload"):
        pass


async def test_the_lock_of_a_killed_process_is_free(url: str) -> None:
    async with LedgerStore.open(url) as store:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, url, stdout=PIPE, cwd="/")
        try:
            assert process.stdout is not None
            assert await process.stdout.readline() == b"held\n"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3), store.exclusive("upload"):
                    raise AssertionError("two processes are within")
        finally:
            process.kill()
            await process.communicate()
        async with asyncio.timeout(60), store.exclusive("upload"):
            pass


async def test_lock_files_do_not_pile_up(tmp_path: Path) -> None:
    async with LedgerStore.open(str(tmp_path / "ledger.db")) as store:
        for number in range(5):
            async with store.exclusive(f"upload {number}"):
                pass
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".lock")]
