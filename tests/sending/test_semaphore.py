"""A semaphore whose size may change: first come, first served, and nothing lost by a cancellation."""

import asyncio

import pytest
from prefect_whatsapp.sending.semaphore import ResizableSemaphore


async def test_it_lets_in_as_many_as_its_size_and_more_when_that_grows() -> None:
    semaphore, let_in = ResizableSemaphore(1), list[int]()

    async def enter(number: int) -> None:
        await semaphore.acquire()
        let_in.append(number)

    waiting = [asyncio.ensure_future(enter(number)) for number in range(4)]
    await asyncio.sleep(0.01)
    assert let_in == [0]
    semaphore.resize(3)
    await asyncio.sleep(0.01)
    assert let_in == [0, 1, 2]
    semaphore.resize(1)
    semaphore.release()
    semaphore.release()
    await asyncio.sleep(0.01)
    assert (let_in, semaphore.used) == ([0, 1, 2], 1)
    semaphore.release()
    await asyncio.gather(*waiting)
    assert let_in == [0, 1, 2, 3]


async def test_who_is_turned_away_goes_on_without_a_slot_and_who_comes_later_waits_again() -> None:
    semaphore = ResizableSemaphore(1)
    assert await semaphore.acquire()
    waiting = [asyncio.ensure_future(semaphore.acquire()) for _ in range(2)]
    await asyncio.sleep(0)
    semaphore.turn_away()
    assert (await asyncio.gather(*waiting), semaphore.used) == ([False, False], 1)
    later = asyncio.ensure_future(semaphore.acquire())
    await asyncio.sleep(0)
    semaphore.release()
    assert (await later, semaphore.used) == (True, 1)


@pytest.mark.parametrize("when", ["before", "with", "after", "turned away"])
async def test_a_waiter_that_is_cancelled_takes_nothing_and_harms_nobody(when: str) -> None:
    """In the same turn of the loop as a release, in either order, or as it is turned away."""
    semaphore = ResizableSemaphore(1)
    await semaphore.acquire()
    cancelled, other = asyncio.ensure_future(semaphore.acquire()), asyncio.ensure_future(semaphore.acquire())
    await asyncio.sleep(0)
    if when == "after":
        semaphore.release()
    if when == "turned away":
        semaphore.turn_away()
        other = asyncio.ensure_future(semaphore.acquire())
    cancelled.cancel()
    if when == "before":
        await asyncio.sleep(0)
    if when != "after":
        semaphore.release()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await asyncio.wait_for(other, 30)
    assert semaphore.used == 1
