"""Giving way to a service's throttle: how little is refused, and how much of what is granted is used."""

import asyncio
import math
import random
from itertools import pairwise

import pytest
from paced_sends import keep_sending
from prefect_whatsapp.sending.backoff import ThrottleBackoff
from prefect_whatsapp.sending.pace import Pace
from virtual_time import clock, run


class Bucket:
    """A service's token bucket."""

    def __init__(self, rate: float, size: float) -> None:
        self.rate, self.size, self._tokens, self._since = rate, size, size, clock()

    def takes(self) -> bool:
        now = clock()
        self._tokens, self._since = min(self.size, self._tokens + (now - self._since) * self.rate), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


async def against(
    bucket: Bucket, paces: list[Pace], *, latency: float, retry_after: float | None, seconds: float, in_flight: int = 64
) -> list[tuple[float, bool]]:
    """Send through the paces without pause; when each call reached the bucket, and whether it was taken."""
    start, rng, calls = clock(), random.Random(4829), list[tuple[float, bool]]()

    async def sender(pace: Pace) -> None:
        while clock() < start + seconds:
            await pace.turn()
            sent_at = clock()
            await asyncio.sleep(latency / 2 * rng.uniform(0.8, 1.2))
            taken = bucket.takes()
            calls.append((clock() - start, taken))
            await asyncio.sleep(latency / 2 * rng.uniform(0.8, 1.2))
            pace.accepted() if taken else pace.throttled(retry_after, sent_at)

    await asyncio.gather(*(sender(pace) for pace in paces for _ in range(in_flight // len(paces))))
    return calls


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("size", [10, 40, 80])
@pytest.mark.parametrize("latency", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("retry_after", [None, 1.0])
def test_a_bucket_at_half_the_rate_refuses_2_percent_at_most_and_gives_90(
    processes: int, size: int, latency: float, retry_after: float | None
) -> None:
    async def main() -> list[tuple[float, bool]]:
        paces = [Pace(lambda: 80 / processes, clock=clock) for _ in range(processes)]
        return await against(Bucket(40, size), paces, latency=latency, retry_after=retry_after, seconds=100)

    later = [taken for moment, taken in run(main()) if moment > 10]
    assert later.count(False) <= 0.02 * len(later)
    assert later.count(True) >= 0.90 * 90 * 40


def test_without_a_rate_of_ones_own_the_services_limit_is_found() -> None:
    async def main() -> list[tuple[float, bool]]:
        pace = Pace(lambda: math.inf, clock=clock)
        return await against(Bucket(40, 40), [pace], latency=0.05, retry_after=None, seconds=100, in_flight=16)

    later = [taken for moment, taken in run(main()) if moment > 20]
    assert later.count(False) <= 0.02 * len(later)
    assert later.count(True) >= 0.90 * 80 * 40


def test_when_the_service_grants_all_again_the_full_rate_comes_back() -> None:
    async def main() -> int:
        bucket, pace = Bucket(10, 10), Pace(lambda: 80.0, clock=clock)
        await against(bucket, [pace], latency=0.05, retry_after=None, seconds=30)
        assert pace.rate < 20
        bucket.rate = bucket.size = 200
        await against(bucket, [pace], latency=0.05, retry_after=None, seconds=90)
        assert pace.rate == 80
        calls = await against(bucket, [pace], latency=0.05, retry_after=None, seconds=10)
        return sum(taken for _, taken in calls)

    assert run(main()) >= 0.97 * 800


def test_a_pause_that_the_service_asks_for_is_kept_by_those_who_wait_already() -> None:
    async def main() -> list[float]:
        pace, start = Pace(lambda: 10.0, clock=clock), clock()
        waiting = [asyncio.create_task(keep_sending(pace, start + 61)) for _ in range(3)]
        await asyncio.sleep(1)
        pace.throttled(60.0, clock() - 0.05)
        pace.throttled(5.0, clock() - 0.06)  # a lesser one doesn't shorten it
        return [moment - start for sends in await asyncio.gather(*waiting) for moment in sends]

    assert not [moment for moment in run(main()) if 1.001 < moment < 61]


@pytest.mark.parametrize("retry_after", [None, 0.0, -5.0, math.nan, math.inf])
def test_no_pause_where_none_can_be_read(retry_after: float | None) -> None:
    async def main() -> float:
        pace = Pace(lambda: 80.0, clock=clock)
        sends = await keep_sending(pace, clock() + 2)
        pace.throttled(retry_after, clock())
        await pace.turn()
        return clock() - sends[-1]

    assert run(main()) < 0.1


def test_refusals_of_what_left_before_slowing_down_are_one_episode() -> None:
    async def main() -> tuple[float, float]:
        pace = Pace(lambda: 80.0, clock=clock)
        await keep_sending(pace, clock() + 2)
        sent_at = clock()
        for _ in range(40):
            await asyncio.sleep(0.01)
            pace.throttled(None, sent_at)
        once = pace.rate
        await keep_sending(pace, clock() + 2)
        pace.throttled(None, clock())
        return once, pace.rate

    once, twice = run(main())
    assert once == pytest.approx(0.7 * 78, rel=0.05)
    assert twice == pytest.approx(0.7 * once, rel=0.05)


def test_the_way_up_begins_with_an_accepted_message_and_is_slow_near_the_last_ceiling() -> None:
    backoff = ThrottleBackoff()
    backoff.throttled(100.0, 99.9, share=80.0, reached=40.0)
    assert backoff.rate(500.0, 80.0) == pytest.approx(28.0)
    backoff.accepted(500.0)
    rates = [backoff.rate(500.0 + second, 80.0) for second in range(60)]
    assert rates == sorted(rates)
    steps = [later - earlier for earlier, later in pairwise(rates[:41])]
    assert min(steps) < steps[0] / 50
    assert steps.index(min(steps)) in {19, 20}
    assert rates[20] == pytest.approx(39.2)
    assert backoff.rate(600.0, 80.0) == 80.0
    assert not backoff.active


def test_what_is_known_of_the_limit_is_shared_with_a_process_that_comes() -> None:
    backoff = ThrottleBackoff()
    backoff.throttled(100.0, 99.9, share=80.0, reached=40.0)
    assert backoff.rate(101.0, 40.0) == pytest.approx(14.0)
    assert backoff.rate(102.0, 80.0) == pytest.approx(28.0)


def test_a_sender_is_never_slowed_to_a_standstill() -> None:
    backoff = ThrottleBackoff()
    for moment in range(1, 200):
        backoff.throttled(moment, moment, share=80.0, reached=backoff.rate(moment, 80.0))
    assert backoff.rate(200.0, 80.0) == pytest.approx(1.0)
