"""Sends that go out by a pace."""

import asyncio
from collections.abc import Callable

from prefect_whatsapp.sending.pace import Pace
from virtual_time import clock


async def keep_sending(pace: Pace, until: float, *, answer: Callable[[], float] = lambda: 0.0) -> list[float]:
    """One sender that takes turns without pause, and when each of its sends left."""
    left = []
    while clock() < until:
        await pace.turn()
        left.append(clock())
        await asyncio.sleep(answer())
    return left
