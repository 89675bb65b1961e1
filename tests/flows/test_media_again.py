"""What is uploaded is used by every later broadcast, and brought again once where it is gone."""

import shutil
import sqlite3
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.media import cache_directory
from prefect_whatsapp.models import Scale
from prefect_whatsapp.sandbox.server import RunningSandbox, SandboxSettings
from senders import sender_of

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]
Arguments = Callable[..., dict[str, Any]]


async def test_the_next_broadcast_of_the_same_audio_uploads_and_transcodes_nothing(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    shutil.rmtree(cache_directory(), ignore_errors=True)  # an earlier test may have made this very note
    first = await broadcast_audio(**broadcast_arguments(4))
    second = await broadcast_audio(**broadcast_arguments(4))
    assert (first.uploads, first.transcodes) == (1, 1)
    assert (second.accepted, second.uploads, second.transcodes) == (4, 0, 0)
    assert sandbox.truth()["uploads"] == 1


async def test_a_media_id_that_expires_before_the_margin_is_brought_again_exactly_once(
    sandbox: RunningSandbox, broadcast_arguments: Arguments, ledger: Ledger
) -> None:
    await broadcast_audio(**broadcast_arguments(4))
    with sqlite3.connect(ledger.url.get_secret_value()) as book:
        book.execute("UPDATE whatsapp_media SET expires_at = datetime('now', '+1 day')")
    book.close()
    second = await broadcast_audio(**broadcast_arguments(12))
    third = await broadcast_audio(**broadcast_arguments(4))
    assert (second.accepted, second.uploads, third.uploads) == (12, 1, 0)
    assert sandbox.truth()["uploads"] == 2


@pytest.mark.parametrize("code", [100, 131009, 131053])
async def test_a_media_id_that_graph_no_longer_has_is_brought_again_exactly_once(
    broadcast_arguments: Arguments, code: Any
) -> None:
    with RunningSandbox(SandboxSettings(gone_media_code=code)) as sandbox:
        graph = sender_of("graph", sandbox.url)
        await broadcast_audio(**broadcast_arguments(3, sender=graph))
        media = sandbox.messages()[0]["media"]
        async with httpx.AsyncClient(trust_env=False, headers={"Authorization": "Bearer sandbox-token"}) as http:
            deleted = await http.delete(f"{sandbox.graph_url}/v26.0/{media}")
        assert deleted.json() == {"success": True}
        second = await broadcast_audio(**broadcast_arguments(20, sender=graph))
        assert (second.accepted, second.uploads) == (20, 1)
        assert sandbox.truth()["uploads"] == 2
        assert (await broadcast_audio(**broadcast_arguments(3, sender=graph))).uploads == 0


async def test_a_media_id_disowned_amid_many_sends_costs_one_upload_each_time(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    sandbox.faults(kind="latency", seconds=0.03)
    sandbox.faults(kind="media_disowned", on="send", after=10, times=1)
    sandbox.faults(kind="media_disowned", on="send", after=45, times=1)
    report = await broadcast_audio(**broadcast_arguments(70, scale=Scale(in_flight=8)))
    assert (report.accepted, report.failed, report.uploads) == (70, 0, 3)
    assert (sandbox.truth()["uploads"], sandbox.truth()["duplicates_total"]) == (3, 0)
