"""The pause between two sends, from one run to the next."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
from prefect_whatsapp.blocks import WahaCredentials
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.sandbox.server import RunningSandbox
from senders import sender_of

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]
LEAST_SECONDS = 4.0


async def test_runs_one_after_another_keep_the_pause_between_their_sends(
    sandbox: RunningSandbox, broadcast_arguments: Callable[..., dict[str, Any]]
) -> None:
    """Three broadcasts to one person each, on WAHA: each send leaves a whole pause after the one before."""
    spacing = {"min_seconds_between": LEAST_SECONDS, "max_seconds_between": LEAST_SECONDS}
    waha = sender_of("waha", sandbox.url, **spacing)
    assert isinstance(waha, WahaCredentials)
    ended = []
    for number in range(3):
        report = await broadcast_audio(**broadcast_arguments(1, sender=waha, broadcast=f"one-{number}"))
        assert report.accepted == 1
        ended.append(time.monotonic())
    assert all(later - earlier > LEAST_SECONDS / 2 for earlier, later in itertools.pairwise(ended))
    assert ended[2] - ended[0] > 1.7 * LEAST_SECONDS
