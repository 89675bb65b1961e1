"""Who lives, who is gone, and how the pace is shared: without comparing two clocks."""

import asyncio
import datetime
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from ledgers import begin
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.ledger import heartbeat as heartbeat_module
from prefect_whatsapp.ledger import liveness as liveness_module
from prefect_whatsapp.ledger.liveness import (
    LeaseRecord,
    Watch,
    enter,
    host_identity,
    leave,
    process_exists,
    process_identity,
)
from prefect_whatsapp.ledger.rate_shares import HURRIED_BEAT_SECONDS, HURRY_SECONDS, SETTLING_SECONDS, Share, split
from prefect_whatsapp.models import SendState

ELSEWHERE = LeaseRecord(
    id=1,
    key="k",
    broadcast=1,
    sender="graph:1",
    host="another/host",
    process="7:7",
    beat=0,
    rate=80,
    share=80,
    left=False,
    left_tick=None,
)


@pytest.mark.parametrize(
    ("rate", "owners_count", "shares"),
    [
        (80, 1, [80]),
        (80, 3, [27, 27, 26]),
        (80.5, 2, [40.5, 40]),
        (5, 3, [5, 0, 0]),
        (6, 3, [2, 2, 2]),
        (0.05, 1, [0.05]),
        (0.05, 2, [0.05, 0]),
        (math.inf, 2, [math.inf, math.inf]),
    ],
)
def test_a_rate_is_split_without_loss(rate: float, owners_count: int, shares: list[float]) -> None:
    assert split(rate, owners_count) == shares
    assert sum(split(rate, owners_count)) == rate


def test_this_process_is_known_by_its_id_and_start() -> None:
    assert process_identity().startswith(f"{os.getpid()}:")
    assert process_exists(process_identity()) is True
    assert process_exists(f"{os.getpid()}:1") is False  # the id is used again by a later process


def test_a_killed_process_is_gone_before_and_after_it_is_reaped() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        identity = process_identity(child.pid)
        assert process_exists(identity) is True
        child.kill()
        deadline = time.monotonic() + 60
        while process_exists(identity) is not False:
            assert time.monotonic() < deadline
        assert child.wait() == -9
    assert process_exists(identity) is False


def test_an_owner_of_another_host_is_gone_only_when_its_beat_stood_still_while_watched() -> None:
    watch = Watch(lapse_seconds=30)
    beats = 0
    for second in range(200):  # it beats every 25 s: slow, but alive
        beats += second % 25 == 0
        assert not watch.is_gone(replace(ELSEWHERE, beat=beats), 1000.0 + second)
    still = replace(ELSEWHERE, beat=beats)
    gone_after = next(second for second in range(1, 100) if watch.is_gone(still, 1200.0 + second))
    assert 5 <= gone_after <= 31


def test_time_in_which_the_watcher_itself_saw_nothing_does_not_count() -> None:
    watch = Watch(lapse_seconds=30)
    assert not watch.is_gone(ELSEWHERE, 0.0)
    assert not watch.is_gone(ELSEWHERE, 3600.0)  # the database was away for an hour, for both
    assert not watch.is_gone(replace(ELSEWHERE, beat=1), 3601.0)


def test_an_owner_of_this_host_lives_as_long_as_its_process() -> None:
    watch = Watch(lapse_seconds=30)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner = replace(ELSEWHERE, host=host_identity(), process=process_identity(child.pid))
        for second in range(0, 250, 2):  # it is stopped, or has not said a word for minutes
            assert not watch.is_gone(owner, float(second))
        child.kill()
        child.wait()
    assert watch.is_gone(owner, 250.0)


def test_a_process_that_outlived_its_lease_by_minutes_does_not_keep_its_rows() -> None:
    watch = Watch(lapse_seconds=30)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner = replace(ELSEWHERE, host=host_identity(), process=process_identity(child.pid))
        assert any(watch.is_gone(owner, float(second)) for second in range(0, 400, 2))
        child.kill()


def test_a_lease_of_this_process_lives_while_it_is_joined() -> None:
    owner = replace(ELSEWHERE, key="here", host=host_identity(), process=process_identity())
    enter("here")
    assert not Watch(30).is_gone(owner, 0.0)
    leave("here")
    assert Watch(30).is_gone(owner, 0.0)


def test_without_proc_only_the_heartbeat_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness_module, "host_identity", lambda: "")
    watch = Watch(lapse_seconds=3)
    owner = replace(ELSEWHERE, host="", process="")
    assert not watch.is_gone(owner, 0.0)
    assert any(watch.is_gone(owner, second / 2) for second in range(1, 20))


@dataclass
class Written:
    """One owner's line in the ledger of the simulation."""

    rate: float
    share: float = 0.0
    left_at: float | None = None
    lease: Share = field(default_factory=Share)


@pytest.mark.parametrize("seed", range(40))
def test_the_obeyed_shares_of_any_second_never_exceed_the_rate(seed: int) -> None:
    """Owners join, leave, are killed, beat late and lose commits at random; their obeyed shares stay within the rate."""
    rng = random.Random(seed)
    rate = rng.choice([80.0, 1000.0, 7.0, 0.5, 80.5])
    written_down: dict[int, Written] = {}
    obeyed: list[tuple[float, dict[int, float]]] = []
    now = 0.0

    def beat(mine: int) -> None:
        lingering = 0.0
        for entry in written_down.values():
            if entry.left_at is not None:
                if now - entry.left_at >= SETTLING_SECONDS:
                    entry.share = 0.0
                lingering += entry.share
        living = {owner: entry.rate for owner, entry in written_down.items() if entry.left_at is None}
        others = sum(written_down[owner].share for owner in living if owner != mine)
        me = written_down[mine]
        written = me.lease.next_written(living, mine, written=me.share, lingering=lingering, others=others, now=now)
        fate = rng.random()
        if fate > 0.05:  # else the transaction failed
            me.share = written
            if fate > 0.1:  # else its answer was lost
                me.lease.obey(written)
        total = sum(entry.share for entry in written_down.values())
        assert total <= rate + 1e-9

    for number in range(600):
        now += rng.uniform(0.0, 0.3)
        alive = [owner for owner, entry in written_down.items() if entry.left_at is None]
        event = rng.random()
        if event < 0.04 and len(alive) < 5:
            written_down[number] = Written(rate)
            beat(number)
        elif event < 0.07 and alive:
            written_down[rng.choice(alive)].left_at = now
        elif alive:
            beat(rng.choice(alive))
        obeyed.append((now, {o: e.lease.obeyed for o, e in written_down.items() if e.left_at is None}))
        # The most that each could have sent in the last second.
        most: dict[int, float] = {}
        for at, shares in obeyed[-60:]:
            if at > now - 1.0:
                for owner, share in shares.items():
                    most[owner] = max(most.get(owner, 0.0), share)
        assert sum(most.values()) <= rate + 1e-9, (number, most)


def test_the_whole_rate_is_used_when_nobody_joins_or_leaves() -> None:
    written_down = {owner: Written(80.0) for owner in (1, 2, 3)}
    for step in range(60):
        for mine, me in written_down.items():
            others = sum(entry.share for owner, entry in written_down.items() if owner != mine)
            rates = {owner: entry.rate for owner, entry in written_down.items()}
            me.share = me.lease.next_written(rates, mine, written=me.share, lingering=0, others=others, now=step * 0.3)
            me.lease.obey(me.share)
    assert [entry.lease.obeyed for entry in written_down.values()] == [27, 27, 26]


async def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.02)


async def test_a_lone_owner_has_the_full_rate_at_once_and_two_share_it(store: LedgerStore) -> None:
    record, other = await begin(store, 5), await begin(store, 5, "other")
    async with store.join(record, messages_per_second=80, beat_seconds=0.1) as first:
        assert first.share == 80
        async with store.join(other, messages_per_second=80, beat_seconds=0.1) as second:
            assert second.share == 0
            assert await second.take(1) == []
            await until(lambda: (first.share, second.share) == (40, 40), "the rate is shared")
            async with store.join(record, sender="graph:another", messages_per_second=5, beat_seconds=0.1) as stranger:
                assert stranger.share == 5
        await until(lambda: first.share == 80, "the rate comes back")


async def test_the_next_run_leaves_to_the_one_before_what_that_may_have_sent_within_the_last_second(
    store: LedgerStore,
) -> None:
    record = await begin(store, 5)
    async with store.join(record, messages_per_second=80, beat_seconds=0.1) as lease:
        for row in await lease.take(3):
            await lease.claim(row)
    left = time.monotonic()
    async with store.join(record, messages_per_second=80, beat_seconds=0.1) as lease:
        assert lease.share == 77 or time.monotonic() - left > 1
        await until(lambda: lease.share == 80, "the rate is free")
        assert time.monotonic() - left > 0.9
    async with store.join(record, messages_per_second=80) as lease:  # that one claimed nothing
        assert lease.share == 80


async def test_no_limit_is_no_limit(store: LedgerStore) -> None:
    record = await begin(store, 5)
    async with (
        store.join(record, messages_per_second=0) as first,
        store.join(record, messages_per_second=0) as second,
    ):
        assert first.share == second.share == math.inf


async def test_a_lower_rate_counts_for_all_of_the_sender(store: LedgerStore) -> None:
    record = await begin(store, 5)
    async with (
        store.join(record, messages_per_second=0, beat_seconds=0.1) as first,
        store.join(record, messages_per_second=10, beat_seconds=0.1) as second,
    ):
        await until(lambda: (first.share, second.share) == (5, 5), "the lower rate is shared")


async def test_rows_of_one_that_may_send_nothing_go_to_the_one_that_may(store: LedgerStore) -> None:
    record = await begin(store, 6)
    pace = {"messages_per_second": 4.0, "beat_seconds": 0.1}
    async with store.join(record, **pace) as first, store.join(record, **pace) as second:  # type: ignore[arg-type]
        await until(lambda: second.share == 2, "two share four")
        assert len(await second.take(6)) == 6
        async with store.join(record, **pace):  # type: ignore[arg-type]
            await until(lambda: second.share == 0, "three can't share four")
            taken: list[int] = []

            async def take() -> None:
                while len(taken) < 6:
                    taken.extend(row.id for row in await first.take(6))
                    await asyncio.sleep(0.05)

            await asyncio.wait_for(take(), 60)


@pytest.mark.parametrize("days", [-3650, 3650])
async def test_clocks_do_not_decide_who_lives(store: LedgerStore, days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    record = await begin(store, 4)
    async with store.join(record, messages_per_second=0, beat_seconds=0.05, lapse_seconds=1) as slow:
        (row,) = await slow.take(1)
        await slow.claim(row)
        shifted = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        monkeypatch.setattr(heartbeat_module, "_now", lambda: shifted)
        # Seen as from another host, where only the beat counts.
        monkeypatch.setattr(liveness_module, "host_identity", lambda: "another/host")
        async with store.join(record, messages_per_second=0, beat_seconds=0.05, lapse_seconds=1) as other:
            for _ in range(30):
                assert await other.recover() == 0
                await asyncio.sleep(0.05)
            assert (await other.outstanding()).held_by_others == 1
            # Its beat stands still: then it is gone, whatever the clocks say.
            async with slow._heartbeat.beating:
                await asyncio.sleep(0.1)
                deadline = time.monotonic() + 60
                while (await store.counts(record))[SendState.UNKNOWN] == 0:
                    assert time.monotonic() < deadline
                    await other.recover()  # or its own heartbeat was quicker
                    await asyncio.sleep(0.05)
    assert (await store.counts(record))[SendState.UNKNOWN] == 1


def test_a_share_that_is_to_change_hands_is_looked_after_soon_and_not_for_ever() -> None:
    """Half of a rate that lies idle for a regular beat or two is what a minute's 97 % hangs on."""
    giving, getting = Share(), Share()
    giving.obey(giving.next_written({1: 80.0}, 1, written=0.0, lingering=0, others=0, now=0.0))
    assert giving.seconds_to_next_beat(1.0, 0.0) == 1.0
    rates = {1: 80.0, 2: 80.0}
    giving.obey(giving.next_written(rates, 1, written=80.0, lingering=0, others=0, now=10.0))
    assert giving.seconds_to_next_beat(5.0, 10.3) == pytest.approx(SETTLING_SECONDS - 0.3)
    getting.obey(getting.next_written(rates, 2, written=0.0, lingering=0, others=80.0, now=10.0))
    assert getting.seconds_to_next_beat(1.0, 10.1) == HURRIED_BEAT_SECONDS
    assert getting.seconds_to_next_beat(1.0, 10.0 + HURRY_SECONDS) == 1.0
    getting.obey(getting.next_written(rates, 2, written=0.0, lingering=0, others=40.0, now=11.2))
    assert getting.obeyed == 40
    getting.obey(getting.next_written(rates, 2, written=40.0, lingering=0, others=40.0, now=11.3))
    assert getting.seconds_to_next_beat(1.0, 11.4) == 1.0


async def test_the_next_run_knows_when_its_sender_last_sent(store: LedgerStore) -> None:
    record, other = await begin(store, 3), await begin(store, 3, "other")
    async with store.join(record, messages_per_second=0.5, remembers_departures=True) as lease:
        assert lease.seconds_since_departure == math.inf
        (row,) = await lease.take(1)
        await lease.claim(row)
        assert 0 <= lease.seconds_since_departure < 2
    async with store.join(other, messages_per_second=0.5, remembers_departures=True) as lease:
        assert 0 < lease.seconds_since_departure < 30
    async with store.join(other, sender="graph:another", remembers_departures=True) as lease:
        assert lease.seconds_since_departure == math.inf


async def test_a_departure_of_another_host_is_told_by_the_wall_clock(
    store: LedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await begin(store, 3)
    async with store.join(record, messages_per_second=0.5, remembers_departures=True) as lease:
        (row,) = await lease.take(1)
        await lease.claim(row)
    monkeypatch.setattr("prefect_whatsapp.ledger.departures.host_identity", lambda: "another/host")
    async with store.join(record, messages_per_second=0.5, remembers_departures=True) as lease:
        assert 0 <= lease.seconds_since_departure < 30
