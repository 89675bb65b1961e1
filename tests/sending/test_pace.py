"""A process keeps to its share in every second, gives way to a throttle, and finds back to what the service grants."""

import asyncio
import contextlib
import math
import random
import time
from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory import traced_peak
from paced_sends import keep_sending
from prefect_whatsapp.sending.pace import EVEN_SECONDS, Departures, Pace
from virtual_time import clock, run


def fullest_second(times: list[float]) -> int:
    """The most sends in any second, wherever it begins."""
    times = sorted(times)
    return max(bisect_left(times, start + 1.0) - place for place, start in enumerate(times))


async def late_sleep(seconds: float) -> None:
    """As real timers do: never early, up to 2 ms late."""
    await asyncio.sleep(seconds + random.Random(seconds).uniform(0, 0.002))


# --- the rate


@pytest.mark.parametrize("rate", [2, 10, 40, 80, 250, 1000])
@pytest.mark.parametrize("senders", [1, 16])
def test_no_second_holds_more_than_the_rate_and_97_percent_of_it_is_reached(rate: int, senders: int) -> None:
    async def main() -> list[list[float]]:
        pace = Pace(lambda: float(rate), clock=clock, sleep=late_sleep)
        return await asyncio.gather(*(keep_sending(pace, clock() + 20) for _ in range(senders)))

    times = [moment for sender in run(main()) for moment in sender]
    assert fullest_second(times) <= rate
    assert len(times) >= 0.97 * 20 * rate


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_by_the_receivers_clock_too_whatever_the_way_there_takes(processes: int) -> None:
    """Each send arrives up to 10 ms later than another; the processes' shares are whole and add up to 80."""

    async def main() -> list[float]:
        rng, shares = random.Random(4829), [80 // processes + (place < 80 % processes) for place in range(processes)]
        paces = [Pace(lambda share=share: share, clock=clock, sleep=late_sleep) for share in shares]  # type: ignore[misc]
        sent = await asyncio.gather(*(keep_sending(pace, clock() + 60) for pace in paces for _ in range(8)))
        return [moment + rng.uniform(0.001, 0.001 + 0.010 / processes) for sender in sent for moment in sender]

    arrived = run(main())
    assert fullest_second(arrived) <= 80
    assert len(arrived) >= 0.97 * 60 * 80


def test_what_a_stall_held_up_is_caught_up_within_the_bound_of_each_second() -> None:
    async def stalling(seconds: float) -> None:
        stalls = 0.3 if random.Random(clock()).random() < 0.005 else 0.0
        await asyncio.sleep(seconds + stalls)

    async def main() -> list[float]:
        return await keep_sending(Pace(lambda: 80.0, clock=clock, sleep=stalling), clock() + 60)

    times = run(main())
    assert max(later - earlier for earlier, later in pairwise(times)) > 0.3
    assert fullest_second(times) <= 80
    assert len(times) >= 0.97 * 60 * 80


def test_a_stall_between_turn_and_request_bunches_no_second_beyond_the_rate() -> None:
    """The claim's commit hangs for a tenth of a second now and then: ten turns' requests are then ready at once."""

    async def main(with_departure: bool) -> list[float]:
        pace, rng = Pace(lambda: 80.0, clock=clock), random.Random(7)
        left: list[float] = []
        hang = asyncio.Event()
        hang.set()

        async def one() -> None:
            await hang.wait()
            if with_departure:
                await pace.departure()
            left.append(clock())

        async def disk() -> None:
            while clock() < until:
                await asyncio.sleep(rng.uniform(0.2, 1.0))
                hang.clear()
                await asyncio.sleep(0.1)
                hang.set()

        until = clock() + 30
        stalls, sends = asyncio.create_task(disk()), []
        while clock() < until:
            await pace.turn()
            sends.append(asyncio.create_task(one()))
        await asyncio.gather(stalls, *sends)
        return left

    assert fullest_second(run(main(False))) > 80  # what `departure` is there for
    times = run(main(True))
    assert fullest_second(times) <= 80
    assert len(times) >= 0.97 * 30 * 80


def test_sends_go_evenly_not_in_bursts() -> None:
    async def main() -> list[float]:
        return await keep_sending(Pace(lambda: 10.0, clock=clock), clock() + 10)

    gaps = [later - earlier for earlier, later in pairwise(run(main()))]
    assert min(gaps) == pytest.approx(EVEN_SECONDS / 10)
    assert max(gaps) == pytest.approx(EVEN_SECONDS / 10)


def test_after_idleness_nothing_is_owed() -> None:
    async def main() -> list[float]:
        pace = Pace(lambda: 10.0, clock=clock)
        await pace.turn()
        await asyncio.sleep(60)
        return await keep_sending(pace, clock() + 2)

    gaps = [later - earlier for earlier, later in pairwise(run(main()))]
    assert min(gaps) == pytest.approx(EVEN_SECONDS / 10)


@pytest.mark.parametrize(("share", "seconds"), [(0.5, 2.0), (0.1, 10.0), (1.0, 1.0)])
def test_less_than_one_a_second_is_one_in_so_many_seconds(share: float, seconds: float) -> None:
    async def main() -> list[float]:
        return await keep_sending(Pace(lambda: share, clock=clock), clock() + 100 * seconds)

    gaps = [later - earlier for earlier, later in pairwise(run(main()))]
    assert min(gaps) >= seconds
    assert max(gaps) <= seconds * 1.03


@pytest.mark.parametrize("share", [1.5, 2.5, 26.67])
def test_a_fraction_above_one_is_left_out_for_no_second_to_hold_more(share: float) -> None:
    async def main() -> list[float]:
        return await keep_sending(Pace(lambda: share, clock=clock), clock() + 30)

    times = run(main())
    assert fullest_second(times) == math.floor(share)
    assert len(times) >= 0.97 * 30 * math.floor(share)


def test_a_share_that_changes_is_followed_at_once() -> None:
    async def main() -> tuple[list[float], float]:
        start = clock()
        shares = [80.0, 40.0, 0.0, 80.0]
        pace = Pace(lambda: shares[min(int(clock() - start) // 10, 3)], clock=clock)
        return await keep_sending(pace, start + 40), start

    times, start = run(main())
    by_phase = [sum(int(moment - start) // 10 == phase for moment in times) for phase in range(4)]
    assert by_phase == [790, 392, 0, pytest.approx(770, abs=25)]
    assert fullest_second(times) <= 80


@pytest.mark.parametrize("share", [0.0, -1.0, math.nan])
def test_without_a_share_nothing_goes(share: float) -> None:
    async def main() -> bool:
        pace = Pace(lambda: share, clock=clock)
        assert pace.rate == 0
        turn = asyncio.create_task(pace.turn())
        await asyncio.sleep(100)
        return turn.cancel()

    assert run(main())


def test_without_a_limit_nothing_waits() -> None:
    async def main() -> float:
        pace, start = Pace(lambda: math.inf, clock=clock), clock()
        for _ in range(10_000):
            await pace.turn()
            await pace.departure()
        assert pace.rate == math.inf
        return clock() - start

    assert run(main()) == 0


@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from([0.0, 0.5, 1.0, 3.0, 7.5, 20.0])), max_size=30))
@settings(max_examples=60)
def test_no_second_holds_more_than_the_highest_share_of_its_time(phases: list[tuple[float, float]]) -> None:
    async def main() -> tuple[list[float], list[tuple[float, float]]]:
        shares: list[tuple[float, float]] = []
        share = [0.0]
        pace = Pace(lambda: share[0], clock=clock, sleep=late_sleep)
        sending = keep_sending(pace, clock() + sum(seconds for seconds, _ in phases))
        sender = asyncio.create_task(sending)
        for seconds, value in phases:
            share[0] = value
            shares.append((clock(), value))
            await asyncio.sleep(seconds)
        share[0] = math.inf
        return await sender, shares

    times, shares = run(main())
    for start in times[:-1]:
        before = [share for since, share in shares if since <= start]
        within = [share for since, share in shares if start < since < start + 1]
        assert sum(start <= moment < start + 1 for moment in times[:-1]) <= max(
            1, *map(math.ceil, before[-1:] + within)
        )


# --- order and cancellation


def test_first_come_first_served() -> None:
    async def main() -> list[int]:
        pace, served = Pace(lambda: 5.0, clock=clock), list[int]()

        async def sender(number: int) -> None:
            await pace.turn()
            served.append(number)

        await asyncio.gather(*map(sender, range(20)))
        return served

    assert run(main()) == list(range(20))


def test_a_cancelled_waiter_leaves_its_slot_to_the_next() -> None:
    async def main() -> float:
        pace, start = Pace(lambda: 1.0, clock=clock), clock()
        await pace.turn()
        waiting = [asyncio.create_task(pace.turn()) for _ in range(5)]
        await asyncio.sleep(0.5)
        for waiter in waiting[:4]:
            waiter.cancel()
        await waiting[4]
        return clock() - start

    assert run(main()) == pytest.approx(EVEN_SECONDS)


# --- spacing


def test_spacing_is_random_between_its_bounds() -> None:
    async def main() -> list[float]:
        pace = Pace(lambda: math.inf, spacing=(30, 60), clock=clock, rng=random.Random(1))
        assert pace.rate == pytest.approx(1 / 45)
        return await keep_sending(pace, clock() + 4_500)

    gaps = [later - earlier for earlier, later in pairwise(run(main()))]
    assert 30 <= min(gaps) < 35 < 55 < max(gaps) <= 60.001
    assert len({round(gap, 3) for gap in gaps}) > 90


def test_spacing_of_nothing_is_none_and_nonsense_is_refused() -> None:
    assert Pace(lambda: 80.0, spacing=(0, 0)).rate == 80
    for spacing in ((60, 30), (-1, 5), (0, math.inf), (math.nan, 1)):
        with pytest.raises(ValueError, match="seconds"):
            Pace(lambda: 80.0, spacing=spacing)


# --- stopping, and pauses


@pytest.mark.parametrize("share", [0.0, 1 / 30, 1.0])
def test_who_waits_for_its_turn_or_its_departure_hears_of_a_stop_at_once(share: float) -> None:
    async def main() -> float:
        stopped, start = False, clock()
        pace = Pace(lambda: share, clock=clock)
        if share:
            await pace.turn()
            await pace.departure()
        waiting = [asyncio.create_task(pace.turn(unless=lambda: stopped)) for _ in range(4)]
        waiting.append(asyncio.create_task(pace.departure(unless=lambda: stopped)))
        await asyncio.sleep(0.1)
        stopped = True
        await asyncio.gather(*waiting)
        return clock() - start

    assert run(main()) <= 0.5


def test_random_spacing_is_what_it_says_under_the_share_that_goes_with_it() -> None:
    async def main() -> list[float]:
        pace = Pace(lambda: 1 / 30, spacing=(30.0, 60.0), clock=clock, rng=random.Random(7))
        return await keep_sending(pace, clock() + 3_600 * 4)

    gaps = [later - earlier for earlier, later in pairwise(run(main()))]
    assert min(gaps) >= 30
    assert max(gaps) <= 60.5
    assert sum(gaps) / len(gaps) == pytest.approx(45, rel=0.05)
    assert len({round(gap) for gap in gaps}) > 25


def test_a_pause_that_the_service_asked_for_is_known() -> None:
    async def main() -> list[bool]:
        pace = Pace(lambda: 80.0, clock=clock)
        before = pace.paused
        pace.throttled(5.0, clock())
        during = pace.paused
        await asyncio.sleep(5.1)
        return [before, during, pace.paused]

    assert run(main()) == [False, True, False]


# --- what it costs


@pytest.mark.parametrize("share", [math.inf, 1e9])
def test_a_turn_that_need_not_wait_never_gives_way_and_keeps_no_memory(share: float) -> None:
    async def never(_: float) -> None:
        raise AssertionError("it slept")

    def work() -> None:
        pace = Pace(lambda: share, sleep=never)
        for _ in range(10_000):
            with contextlib.suppress(StopIteration):
                pace.turn().send(None)
                raise AssertionError("it gave way to the loop")

    assert traced_peak(work) < 1_000_000


async def test_by_a_real_clock_the_rate_is_kept_and_reached() -> None:
    pace, times = Pace(lambda: 80.0), list[float]()

    async def sender() -> None:
        while len(times) < 120:
            await pace.turn()
            await pace.departure()
            times.append(time.monotonic())

    await asyncio.gather(*(sender() for _ in range(4)))
    assert fullest_second(times) <= 80
    assert times[-1] - times[0] < 60


def test_departures_are_measured_over_the_last_second() -> None:
    departures = Departures()
    assert departures.rate(0.0, 80.0) == 80.0
    assert departures.rate(0.0, math.inf) == 1
    for place in range(100):
        departures.add(10.0 + place / 50)
    assert departures.rate(12.0, 80.0) == pytest.approx(50, rel=0.05)
    assert departures.rate(12.0, 30.0) == 30.0


@pytest.mark.parametrize(("idle", "least", "most"), [(math.inf, 0, 0), (5.0, 25, 55), (29.0, 1, 31), (1e6, 0, 0)])
def test_the_first_send_waits_for_the_pause_since_what_another_run_sent(idle: float, least: float, most: float) -> None:
    async def first() -> float:
        began = clock()
        pace = Pace(lambda: math.inf, spacing=(30, 60), idle=lambda: idle + clock() - began, clock=clock)
        await pace.turn()
        return clock() - began

    assert least <= run(first()) <= most + 1


def test_a_slow_rate_goes_on_from_the_run_before() -> None:
    async def first() -> float:
        began = clock()
        await Pace(lambda: 0.1, idle=lambda: 4.0 + clock() - began, clock=clock).turn()
        return clock() - began

    assert 6 <= run(first()) <= 6.5


def test_after_others_had_the_whole_rate_the_pause_is_kept_to_their_last_send() -> None:
    async def again() -> float:
        began, share = clock(), 0.0
        pace = Pace(lambda: share, spacing=(30, 60), idle=lambda: clock() - began - 20.0, clock=clock)
        turn = asyncio.create_task(pace.turn())
        await asyncio.sleep(20)  # another run sends at this moment, and leaves
        share = math.inf
        await turn
        return clock() - began

    assert 50 <= run(again()) <= 81
