"""The tasks as task runs of a flow on a real Prefect server."""

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest
from prefect import Task, flow
from prefect.client.orchestration import get_client
from prefect_whatsapp import tasks
from prefect_whatsapp.models import Contact, Receipt
from prefect_whatsapp.models.errors import RecipientRefusedError
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.tasks import (
    afetch_audio,
    aprepare_voice,
    asend_audio,
    asend_contacts,
    aupload_media,
    fetch_audio,
    prepare_voice,
    send_audio,
    send_contacts,
    upload_media,
)
from senders import sender_of

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]
TO = "+16505550123"
CARD = Contact(name="Ada Byron", phone="+16505550199")


async def test_each_task_of_a_flow_is_a_run_whose_name_shows_the_last_four_digits(
    sandbox: RunningSandbox, audio_samples: Path
) -> None:
    sender = sender_of("graph", sandbox.url)

    @flow
    async def notify() -> tuple[Receipt, Receipt]:
        note = await aprepare_voice(await afetch_audio(str(audio_samples / "speech_cover.mp3")))
        voice = await asend_audio(await aupload_media(note, sender), TO, sender)
        return voice, await asend_contacts([CARD], TO, sender)

    state: Any = await notify(return_state=True)
    voice, card = await state.aresult()
    assert (voice.recipient, card.recipient) == (TO, TO)
    runs = await _runs(state.state_details.flow_run_id, 5)
    assert {"send-audio …0123", "send-contacts …0123"} <= set(runs)
    assert {name.rpartition("-")[0] for name in runs} >= {"fetch-audio", "prepare-voice", "upload-media"}
    assert set(runs.values()) == {"COMPLETED"}


async def test_a_sync_flow_uses_the_same_tasks_without_the_a(
    provider: str, sandbox: RunningSandbox, audio_samples: Path, storage: Any
) -> None:
    sender = sender_of(provider, sandbox.url)

    @flow
    def notify() -> list[Receipt]:
        note = prepare_voice(fetch_audio(str(audio_samples / "speech_ru.m4a")))
        ready = upload_media(note, sender, storage=storage)
        return [send_audio(ready, TO, sender), send_contacts([CARD], TO, sender)]

    receipts = notify()
    assert [receipt.provider for receipt in receipts] == [provider, provider]
    assert [message["kind"] for message in sandbox.messages()] == ["audio", "contacts"]


@pytest.mark.parametrize("provider", ["graph"], indirect=True)
async def test_a_refused_send_fails_its_run_once_without_the_whole_number(sandbox: RunningSandbox, sender: Any) -> None:
    sandbox.faults(kind="window")

    @flow
    def notify() -> None:
        send_contacts([CARD], TO, sender)

    state: Any = notify(return_state=True)
    with pytest.raises(RecipientRefusedError):
        await state.aresult()
    assert await _runs(state.state_details.flow_run_id, 1) == {"send-contacts …0123": "FAILED"}
    async with get_client() as client:
        found = await client.request(
            "POST", "/task_runs/filter", json={"flow_runs": {"id": {"any_": [str(state.state_details.flow_run_id)]}}}
        )
    assert found.json()[0]["run_count"] == 1
    assert TO[1:] not in found.text
    assert sandbox.truth()["sends"] == 1


def test_no_task_retries_caches_or_persists_by_itself() -> None:
    """A retry could send twice, and a cached result would not know that it sent."""
    for name in tasks.__all__:
        task = getattr(tasks, name)
        if not isinstance(task, Task):
            continue  # `as_arrow` makes a table of what a task gave
        assert (task.retries, task.persist_result, task.cache_expiration) == (0, False, None), name
        assert type(task.cache_policy).__name__ == "_None", name


def test_each_task_has_both_forms_with_one_signature() -> None:
    for name in (each for each in tasks.__all__ if "a" + each in tasks.__all__):
        sync, aio = getattr(tasks, name), getattr(tasks, "a" + name)
        assert inspect.signature(sync.fn) == inspect.signature(aio.fn), name
        assert sync.name == aio.name
        assert inspect.iscoroutinefunction(aio.fn)
        assert not inspect.iscoroutinefunction(sync.fn)


async def _runs(flow_run_id: Any, count: int) -> dict[str, str]:
    runs: dict[str, str] = {}
    for _ in range(200):  # the server records a task run some time after its end
        async with get_client() as client:
            answer = await client.request(
                "POST", "/task_runs/filter", json={"flow_runs": {"id": {"any_": [str(flow_run_id)]}}}
            )
        runs = {run["name"]: run["state_type"] for run in answer.json()}
        if len(runs) == count and set(runs.values()) <= {"COMPLETED", "FAILED"}:
            break
        await asyncio.sleep(0.1)
    return runs
