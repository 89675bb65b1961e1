"""A few at a time among threads and event loops, first come first served, and nothing lost by a cancellation."""

import asyncio
import threading

import pytest
from prefect_whatsapp.sending.turns import Turns


@pytest.mark.parametrize("at_once", [1, 3])
def test_threads_with_a_loop_each_go_a_few_at_a_time_and_all_of_them_go(at_once: int) -> None:
    turns, inside, seen = Turns(at_once), list[int](), list[int]()

    async def send(number: int) -> None:
        async with turns.of("graph:1"):
            inside.append(number)
            await asyncio.sleep(0.001)
            seen.append(len(inside))
            inside.remove(number)

    threads = [threading.Thread(target=lambda number=number: asyncio.run(send(number))) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 20
    assert max(seen) <= at_once


async def test_who_came_first_goes_first_and_other_keys_do_not_wait() -> None:
    turns, went = Turns(), list[str]()

    async def send(key: str, name: str) -> None:
        async with turns.of(key):
            went.append(name)

    async with turns.of("graph:1"):
        waiting = [asyncio.ensure_future(send("graph:1", name)) for name in "abc"]
        await asyncio.sleep(0)
        await send("waha:1", "other")
    await asyncio.gather(*waiting)
    assert went == ["other", "a", "b", "c"]


async def test_who_is_cancelled_while_waiting_or_in_the_moment_of_its_turn_passes_it_on() -> None:
    turns, went = Turns(), list[str]()

    async def send(name: str) -> None:
        async with turns.of("graph:1"):
            went.append(name)

    async with turns.of("graph:1"):
        first, second, third = (asyncio.ensure_future(send(name)) for name in "abc")
        await asyncio.sleep(0)
        first.cancel()
    second.cancel()  # it has been told in this very moment
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert went == ["c"]
    async with asyncio.timeout(5), turns.of("graph:1"):
        went.append("later")
    assert went == ["c", "later"]
