"""Group commit: few transactions, durable, safe to repeat, and clear when the ledger can't be written."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from ledgers import begin
from prefect_whatsapp.ledger import LedgerStore, Outcome
from prefect_whatsapp.ledger.engines import Claim, Settlement
from prefect_whatsapp.ledger.engines import sqlite as sqlite_engine
from prefect_whatsapp.models import SendState
from prefect_whatsapp.models.errors import LedgerAwayError, LedgerError

ACCEPTED = Outcome(SendState.ACCEPTED, message_id="wamid.1")


@contextmanager
def counted(store: LedgerStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The sizes of the groups that are committed within."""
    sizes: list[int] = []
    commit = store._writer._commits.commit

    async def counting(group: Sequence[object]) -> set[str]:
        sizes.append(len(group))
        return await commit(group)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(store._writer._commits, "commit", counting)
        yield sizes


async def test_what_waits_together_is_committed_together(store: LedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    record = await begin(store, 64)
    async with store.join(record, messages_per_second=0) as lease:
        rows = await lease.take(64)
        with counted(store, monkeypatch) as sizes:
            await asyncio.gather(*(lease.claim(row) for row in rows))
            await asyncio.gather(*(lease.settle(row, ACCEPTED) for row in rows))
        assert sum(sizes) == 128
        assert len(sizes) <= 4


async def test_a_commit_whose_answer_was_lost_is_repeated_without_harm(
    store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await begin(store, 8)
    commit = store._writer._commits.commit
    lost = 0

    async def unheard_every_other_time(group: Sequence[object]) -> set[str]:
        nonlocal lost
        matched = await commit(group)  # type: ignore[arg-type]
        lost += 1
        if lost % 2:
            raise ConnectionResetError("the answer was lost")
        return matched

    monkeypatch.setattr(store._writer._commits, "commit", unheard_every_other_time)
    async with store.join(record, messages_per_second=0) as lease:
        rows = await lease.take(8)
        await asyncio.gather(*(lease.claim(row) for row in rows))
        await lease.settle(rows[0], Outcome(SendState.QUEUED))
        await lease.claim(rows[0])
        await asyncio.gather(*(lease.settle(row, ACCEPTED) for row in rows))
    seen = [row async for row in store.rows(record)]
    assert [row.state for row in seen] == [SendState.ACCEPTED] * 8
    assert [row.attempts for row in seen] == [2] + [1] * 7
    assert lost >= 6


async def test_a_failure_that_stays_is_told_to_all_that_wait_and_the_writer_goes_on(
    store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await begin(store, 8)
    store._database.patience_seconds = 0.3
    async with store.join(record, messages_per_second=0) as lease:
        rows = await lease.take(8)
        with monkeypatch.context() as broken:

            async def away(group: Sequence[object]) -> set[str]:
                raise ConnectionRefusedError(111, "connection refused")

            broken.setattr(store._writer._commits, "commit", away)
            results = await asyncio.gather(*(lease.claim(row) for row in rows[:4]), return_exceptions=True)
        for result in results:
            assert isinstance(result, LedgerError)
            assert "could not record sends" in str(result)
            assert "connection refused" in str(result)
        await lease.claim(rows[5])
        await lease.settle(rows[5], ACCEPTED)
    # None of the four was sent, so none of them is in doubt.
    counts = await store.counts(record)
    assert (counts[SendState.QUEUED], counts[SendState.ACCEPTED]) == (7, 1)


async def test_an_unforeseen_failure_reaches_who_waits(store: LedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    record = await begin(store, 1)
    async with store.join(record, messages_per_second=0) as lease:
        (row,) = await lease.take(1)
        with monkeypatch.context() as broken:

            async def bug(group: Sequence[object]) -> set[str]:
                raise ZeroDivisionError

            broken.setattr(store._writer._commits, "commit", bug)
            with pytest.raises(LedgerError, match="ZeroDivisionError"):
                await asyncio.wait_for(lease.claim(row), 30)


def _pages_with_room_for_claims(path: Path) -> int:
    """So many pages that 40 claims fit, and 40 outcomes of 2,000 characters do not."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    return int(pages) + 8


async def test_a_full_disk_holds_sends_up_until_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with LedgerStore.open(str(tmp_path / "ledger.db"), patience_seconds=20) as store:
        record = await begin(store, 40)
        connect, full, room = sqlite3.connect, True, _pages_with_room_for_claims(tmp_path / "ledger.db")

        def small_disk(*args: object, **kwargs: object) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **kwargs)  # type: ignore[call-overload]
            if full:
                connection.execute(f"PRAGMA max_page_count={room}")
            return connection

        monkeypatch.setattr(sqlite_engine.sqlite3, "connect", small_disk)
        async with store.join(record, messages_per_second=0) as lease:
            rows = await lease.take(40)
            await asyncio.gather(*(lease.claim(row) for row in rows))
            long = Outcome(SendState.FAILED, error_text="x" * 2000)
            settling = asyncio.gather(*(lease.settle(row, long) for row in rows))
            await asyncio.sleep(0.5)
            assert not settling.done()
            full = False
            await settling
        assert (await store.counts(record))[SendState.FAILED] == 40


async def test_a_disk_that_stays_full_is_told_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "ledger.db")
    async with LedgerStore.open(path, patience_seconds=0.5) as store:
        record = await begin(store, 40)
        connect, room = sqlite3.connect, _pages_with_room_for_claims(tmp_path / "ledger.db")

        def small_disk(*args: object, **kwargs: object) -> sqlite3.Connection:
            connection: sqlite3.Connection = connect(*args, **kwargs)  # type: ignore[call-overload]
            connection.execute(f"PRAGMA max_page_count={room}")
            return connection

        with monkeypatch.context() as disk:
            disk.setattr(sqlite_engine.sqlite3, "connect", small_disk)
            async with store.join(record, messages_per_second=0) as lease:
                rows = await lease.take(40)
                await asyncio.gather(*(lease.claim(row) for row in rows))
                long = Outcome(SendState.FAILED, error_text="x" * 2000)
                results = await asyncio.gather(*(lease.settle(row, long) for row in rows), return_exceptions=True)
        assert {type(result) for result in results} == {LedgerAwayError}
        assert "database or disk is full" in str(results[0])
    async with LedgerStore.open(path) as store:
        counts = await store.counts(record)
    # Sent, and their outcome not recorded: that is what unknown means.
    assert counts[SendState.UNKNOWN] == 40


async def test_a_locked_file_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with LedgerStore.open(str(path), patience_seconds=20) as store:
        record = await begin(store, 4)
        async with store.join(record, messages_per_second=0) as lease:
            (row,) = await lease.take(1)
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            claim = asyncio.create_task(lease.claim(row))
            await asyncio.sleep(0.3)
            assert not claim.done()
            other.execute("ROLLBACK")
            other.close()
            await asyncio.wait_for(claim, 60)
            await lease.settle(row, ACCEPTED)


async def test_sends_at_once_share_their_commits(store: LedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """16 at once need at most a quarter of the commits of one after another."""
    record, commits, commit = await begin(store, 400), 0, store._writer._commits.commit

    async def counting(group: Sequence[Claim | Settlement]) -> set[str]:
        nonlocal commits
        commits += 1
        return await commit(group)

    monkeypatch.setattr(store._writer._commits, "commit", counting)
    async with store.join(record, messages_per_second=0) as lease:
        rows = await lease.take(400)

        async def work() -> None:
            while rows:
                row = rows.pop()
                await lease.claim(row)
                await lease.settle(row, ACCEPTED)

        await asyncio.gather(*(work() for _ in range(16)))
    assert 400 * 2 / 16 <= commits <= 400 * 2 / 4
