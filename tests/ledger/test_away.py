"""PostgreSQL stopped under a running broadcast: the sends wait, and nobody is sent to twice or forgotten."""

import asyncio
from collections.abc import Iterator

import pytest
from ledgers import begin, people
from postgres import Postgres, postgres_or_skip
from prefect_whatsapp.ledger import LedgerStore, Outcome
from prefect_whatsapp.models import SendState
from prefect_whatsapp.models.errors import LedgerError


@pytest.fixture(scope="module")
def mortal() -> Iterator[Postgres]:
    """A server of this file's own, to be stopped."""
    with postgres_or_skip("fsync=off") as server:
        yield server


async def test_a_restart_under_way_is_waited_for_and_nothing_is_sent_twice(mortal: Postgres) -> None:
    url = mortal.create_database("restarted")
    sent: list[int] = []
    async with LedgerStore.open(url, patience_seconds=30) as store:
        record = await begin(store, 600)
        async with store.join(record, messages_per_second=0, beat_seconds=0.1) as lease:

            async def work() -> None:
                while rows := await lease.take(4):
                    for row in rows:
                        await lease.claim(row)
                        sent.append(row.id)
                        await asyncio.sleep(0.002)
                        await lease.settle(row, Outcome(SendState.ACCEPTED))

            async def restart() -> None:
                await asyncio.sleep(0.1)
                await asyncio.to_thread(mortal.stop)
                reached = len(sent)
                await asyncio.sleep(1.5)
                assert len(sent) == reached, "nothing is sent while it can't be recorded"
                await asyncio.to_thread(mortal.start)

            await asyncio.gather(restart(), *(work() for _ in range(8)))
        assert len(sent) == len(set(sent)) == 600
        assert (await store.counts(record))[SendState.ACCEPTED] == 600


async def test_a_database_that_stays_away_is_told_and_its_rows_are_named_afterwards(mortal: Postgres) -> None:
    url = mortal.create_database("gone")
    async with LedgerStore.open(url, patience_seconds=1) as store:
        record = await begin(store, 10)
        async with store.join(record, messages_per_second=0, beat_seconds=0.1) as lease:
            rows = await lease.take(4)
            await lease.claim(rows[0])
            await asyncio.to_thread(mortal.stop)
            with pytest.raises(LedgerError, match="within 1 s"):
                await lease.settle(rows[0], Outcome(SendState.ACCEPTED))
            with pytest.raises(LedgerError, match="within 1 s"):
                await lease.claim(rows[1])
            with pytest.raises(LedgerError, match="within 1 s"):
                await lease.take(1)
    await asyncio.to_thread(mortal.start)
    async with LedgerStore.open(url) as store, store.join(record, messages_per_second=0) as lease:
        counts = await store.counts(record)
        assert (counts[SendState.UNKNOWN], counts[SendState.QUEUED]) == (1, 9)
        assert len(await lease.take(10)) == 9


@pytest.mark.parametrize(
    ("begun", "ended"),
    [
        ("ALTER DATABASE {name} SET default_transaction_read_only = on", "ALTER DATABASE {name} RESET ALL"),
        ("ALTER ROLE pack SET statement_timeout = 1", "ALTER ROLE pack RESET ALL"),
    ],
)
async def test_a_failover_to_a_server_that_only_reads_and_a_canceled_statement_are_waited_for(
    mortal: Postgres, begun: str, ended: str
) -> None:
    """25006, as the old primary says until the connections are cut, and 57014."""
    name = f"failover_{abs(hash(begun))}"
    url = mortal.create_database(name)
    async with LedgerStore.open(url, patience_seconds=20) as store:
        record = await begin(store, 3000)
        async with store.join(record, messages_per_second=0, beat_seconds=0.1) as lease:
            row, *_ = await lease.take(3)
            mortal.ask("psql", "-qc", begun.format(name=name), "postgres")
            await store._database.engine.pool.dispose()
            await store._writer._commits._drop()  # type: ignore[attr-defined]

            async def work() -> None:
                await lease.claim(row)
                await lease.settle(row, Outcome(SendState.ACCEPTED))
                await store.plan(record, people(3000, start=5000))

            working = asyncio.create_task(work())
            await asyncio.sleep(1.0)
            assert not working.done()
            mortal.ask("psql", "-qc", ended.format(name=name), "postgres")
            await asyncio.wait_for(working, 60)
        assert (await store.counts(record))[SendState.QUEUED] == 5999
