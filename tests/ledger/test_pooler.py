"""A ledger behind PgBouncer, and on a server whose defaults are not the usual ones."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledgers import begin, people
from pgbouncer import NO_PGBOUNCER, PGBOUNCER, PgBouncer
from postgres import Postgres, postgres_or_skip
from prefect_whatsapp.ledger import LedgerStore, Outcome
from prefect_whatsapp.ledger.engines import PostgresEngine, postgresql
from prefect_whatsapp.ledger.failures import passes
from prefect_whatsapp.models import SendState
from sqlalchemy.exc import DBAPIError

ACCEPTED = Outcome(SendState.ACCEPTED, message_id="wamid.1")


@pytest.fixture(scope="module")
def odd_postgres() -> Iterator[Postgres]:
    """A server of this file's own, with defaults that a ledger must not depend on."""
    settings = ("fsync=off", "default_transaction_isolation=repeatable read", "synchronous_commit=off")
    with postgres_or_skip(*settings) as server:
        yield server


@pytest.fixture(scope="module", params=["transaction", "session"])
def pooler(request: pytest.FixtureRequest, odd_postgres: Postgres) -> Iterator[PgBouncer]:
    """PgBouncer before it."""
    if PGBOUNCER is None:
        pytest.skip(NO_PGBOUNCER)
    with tempfile.TemporaryDirectory() as folder:
        # In session mode each client keeps a connection of the server.
        pgbouncer = PgBouncer(odd_postgres, Path(folder), request.param, 4 if request.param == "transaction" else 60)
        try:
            yield pgbouncer.start()
        finally:
            pgbouncer.stop()


@pytest.fixture
def pooled_url(pooler: PgBouncer, odd_postgres: Postgres) -> str:
    """An empty ledger behind it."""
    odd_postgres.empty_database()
    return pooler.url()


async def test_a_pooler_is_found_out_and_a_server_of_ones_own_too(pooled_url: str, odd_postgres: Postgres) -> None:
    for url, direct in ((pooled_url, False), (odd_postgres.url(), True)):
        async with LedgerStore.open(url) as store:
            engine = store._database.engine
            assert isinstance(engine, PostgresEngine)
            assert engine._direct is direct


async def test_a_process_that_is_suspended_within_a_transaction_holds_the_others_up_for_seconds_only(
    pooled_url: str, odd_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender's lock goes with the transaction, which then fails as one that may be tried again."""
    monkeypatch.setattr(postgresql, "_LONGEST_PAUSE", {"idle_in_transaction_session_timeout": "500ms"})
    for url in (odd_postgres.url(), pooled_url):
        async with LedgerStore.open(url) as suspended, LedgerStore.open(odd_postgres.url()) as other:

            async def hold() -> None:
                async with suspended._database.writing() as held:
                    await suspended._database.engine.lock_sender(held, "graph:1")
                    async with asyncio.timeout(20), other._database.writing() as connection:
                        await other._database.engine.lock_sender(connection, "graph:1")
                    await held.execute(sa.text("SELECT 1"))

            with pytest.raises(DBAPIError) as failed:
                await hold()
            assert passes(failed.value)


async def test_several_runs_send_through_a_pooler_and_no_row_twice(pooled_url: str) -> None:
    """Six stores with more connections than the pooler has: each transaction may come to another one."""
    sent: list[int] = []

    async def work(store: LedgerStore) -> None:
        record = await store.find_broadcast("weekly")
        assert record is not None
        async with store.join(record, messages_per_second=0, beat_seconds=0.05) as lease:
            while rows := await lease.take(5):
                for row in rows:
                    await lease.claim(row)
                    sent.append(row.id)
                    await lease.settle(row, ACCEPTED)

    async def open_and_work() -> None:
        async with LedgerStore.open(pooled_url) as store:
            await asyncio.gather(work(store), work(store))

    async with LedgerStore.open(pooled_url) as store:
        record = await begin(store, 400)
        assert await store.plan(record, people(410)) == 10
        await asyncio.gather(*(open_and_work() for _ in range(3)))
        assert len(sent) == len(set(sent)) == 410
        assert (await store.counts(record))[SendState.ACCEPTED] == 410


async def test_only_one_is_within_the_lock_behind_a_pooler(pooled_url: str) -> None:
    within, most = 0, 0

    async def work(store: LedgerStore) -> None:
        nonlocal within, most
        async with store.exclusive("upload"):
            within += 1
            most = max(most, within)
            await store.media_id("aa", "graph:1")
            await asyncio.sleep(0.02)
            within -= 1

    async with LedgerStore.open(pooled_url) as one, LedgerStore.open(pooled_url) as two:
        await asyncio.gather(*(work(store) for store in (one, two, one)))
        await asyncio.gather(*(work(store) for store in (one, two, one)))
    assert most == 1


@pytest.mark.parametrize("through_pooler", [False, True])
async def test_three_runs_share_a_rate_though_the_server_defaults_to_repeatable_read(
    odd_postgres: Postgres, pooled_url: str, through_pooler: bool
) -> None:
    """A heartbeat that waited for another sees what that one wrote."""
    url = pooled_url if through_pooler else odd_postgres.url()
    most = 0.0
    async with LedgerStore.open(url) as one, LedgerStore.open(url) as two, LedgerStore.open(url) as three:
        record = await begin(one, 3)

        async def share(store: LedgerStore) -> None:
            nonlocal most
            async with store.join(record, messages_per_second=80, beat_seconds=0.05) as lease:
                shares[store] = lambda: lease.share
                for _ in range(60):
                    most = max(most, sum(each() for each in shares.values()))
                    await asyncio.sleep(0.02)
                del shares[store]

        shares: dict[LedgerStore, Callable[[], float]] = {}
        await asyncio.gather(*(share(store) for store in (one, two, three)))
    assert 0 < most <= 80


async def test_a_commit_is_durable_whatever_the_server_defaults_to(odd_postgres: Postgres, pooled_url: str) -> None:
    for url in (odd_postgres.url(), pooled_url):
        async with LedgerStore.open(url) as store, store._database.writing() as connection:
            for setting, value in (("synchronous_commit", "on"), ("transaction_isolation", "read committed")):
                assert (await connection.execute(sa.text(f"SHOW {setting}"))).scalar_one() == value
