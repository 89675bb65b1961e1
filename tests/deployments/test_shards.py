"""`shards=N`: what the child runs are given, what is refused, and what becomes of them where no worker takes them."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import flow, tags
from prefect.blocks.core import Block
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow_async
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows import broadcast_audio, broadcast_contacts
from prefect_whatsapp.models import Contact, Report, Scale
from prefect_whatsapp.models.errors import InputError
from prefect_whatsapp.models.options import BroadcastOptions
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.sending.backpressure import Backpressure
from prefect_whatsapp.sending.shards import Shards, part_of, split_evenly
from prefect_whatsapp.sending.stop import StopSignal
from senders import sender_of

# A run is shown without what may be a phone number, so its name has no digits.
_LETTERS = str.maketrans("0123456789", "ghijklmnop")
pytestmark = [pytest.mark.server]
Deploy = Callable[..., Awaitable[str]]


@pytest.fixture
def arguments(graph: Any, ledger: Ledger, audio_samples: Any) -> dict[str, Any]:
    """Arguments of `broadcast_audio` for eight recipients."""
    return {
        "broadcast": "shards-" + uuid.uuid4().hex[:8].translate(_LETTERS),
        "sender": graph,
        "audio": str(audio_samples / "speech_cover.mp3"),
        "recipients": [*sample_numbers(8)],
        "ledger": ledger,
    }


async def children_of(broadcast: str) -> list[FlowRun]:
    """The child runs of a broadcast, the first shard first."""
    async with get_client() as client:
        runs = await client.read_flow_runs(flow_run_filter=FlowRunFilter(name={"like_": broadcast}))
    return sorted((run for run in runs if "(shard " in run.name), key=lambda run: run.name)


async def test_without_a_worker_the_parent_sends_everything_and_its_children_are_cancelled(
    sandbox: RunningSandbox, deploy: Deploy, arguments: dict[str, Any]
) -> None:
    state = await broadcast_audio(
        **arguments, scale=Scale(shards=2, shard_deployment=await deploy()), return_state=True
    )
    report: Report = await state.aresult()
    truth = sandbox.truth()
    assert (report.accepted, report.pending, report.uploads) == (8, 0, 1)
    assert (truth["accepted_total"], truth["duplicates_total"], truth["uploads"]) == (8, 0, 1)
    children = await children_of(arguments["broadcast"])
    assert [child.state_name for child in children] == ["Cancelled"] * 2
    assert all(child.parent_task_run_id for child in children), "they are its subflows"


async def test_a_child_gets_blocks_as_references_and_goes_on_with_what_is_planned(
    deploy: Deploy, arguments: dict[str, Any]
) -> None:
    pattern = arguments["broadcast"] + "-{:%Y}"
    await broadcast_audio(
        **{**arguments, "broadcast": pattern}, scale=Scale(shards=1, shard_deployment=await deploy()), retry_failed=True
    )
    (child,) = await children_of(arguments["broadcast"])
    given = child.parameters
    assert given["sender"] == {"$ref": {"block_document_id": str(arguments["sender"]._block_document_id)}}
    assert given["ledger"] == {"$ref": {"block_document_id": str(arguments["ledger"]._block_document_id)}}
    assert (given["recipients"], given["scale"]["shards"], given["retry_failed"], given["on_unknown"]) == (
        "",
        0,
        False,
        "hold",
    )
    assert "{" not in given["broadcast"], "the parent's date is the children's"
    assert "sandbox-token" not in str(given)


async def test_the_bound_on_messages_is_divided_among_parent_and_children(
    sandbox: RunningSandbox, deploy: Deploy, arguments: dict[str, Any]
) -> None:
    report = await broadcast_audio(**arguments, scale=Scale(shards=2, shard_deployment=await deploy()), max_messages=5)
    assert [child.parameters["max_messages"] for child in await children_of(arguments["broadcast"])] == [2, 1]
    assert (report.accepted, report.pending) == (2, 6)
    assert sandbox.truth()["accepted_total"] == 2


async def test_contact_cards_have_shards_too(
    sandbox: RunningSandbox, deploy: Deploy, arguments: dict[str, Any]
) -> None:
    del arguments["audio"]
    cards = [Contact(name="Support", phone="+16505550199")]
    name = await deploy(broadcast_contacts)
    report = await broadcast_contacts(**arguments, contacts=cards, scale=Scale(shards=1, shard_deployment=name))
    assert report.accepted == sandbox.truth()["accepted_total"] == 8
    (child,) = await children_of(arguments["broadcast"])
    assert child.parameters["contacts"][0]["phone"] == "+16505550199"


async def test_a_run_of_a_deployment_has_children_of_that_deployment(
    sandbox: RunningSandbox, deploy: Deploy, arguments: dict[str, Any]
) -> None:
    name = await deploy()
    given = {
        **arguments,
        **{
            block: {"$ref": {"block_document_id": str(arguments[block]._block_document_id)}}
            for block in ("sender", "ledger")
        },
        "scale": {"shards": 2},
    }
    async with get_client() as client:
        deployment = await client.read_deployment_by_name(name)
        parent = await client.create_flow_run_from_deployment(deployment.id, parameters=given)
    await run_flow_async(broadcast_audio, flow_run=parent, parameters=await _hydrated(given))
    children = await children_of(arguments["broadcast"])
    assert [child.deployment_id for child in children] == [deployment.id] * 2
    assert sandbox.truth()["accepted_total"] == 8


async def _hydrated(given: dict[str, Any]) -> dict[str, Any]:
    """What the engine of a worker makes of a flow run's parameters."""
    return {
        **given,
        "sender": await Block.aload_from_ref(given["sender"]["$ref"]),
        "ledger": await Block.aload_from_ref(given["ledger"]["$ref"]),
    }


async def test_a_retry_of_the_parent_finds_its_living_children_and_replaces_the_ended_ones(
    deploy: Deploy, arguments: dict[str, Any]
) -> None:
    from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore

    name, tries, started = await deploy(), [], []

    async def begin() -> BroadcastRecord:
        async with LedgerStore.open(arguments["ledger"].url.get_secret_value()) as store:
            return await store.start_broadcast(
                arguments["broadcast"], kind="audio", provider="graph", account="1", content="0" * 64
            )

    record = await begin()

    @flow(name="broadcast-audio", retries=2)
    async def parent(broadcast: str) -> None:
        tries.append(broadcast)
        shards = Shards(BroadcastOptions(), Scale(shards=2, shard_deployment=name))
        await shards.check()
        await shards.start(record, StopSignal())
        started.append([*shards._children])
        if len(tries) == 2:  # now they end
            shards.call_off("a test")
            await shards._finish()
        if len(tries) < 3:
            raise RuntimeError("again")

    await parent(arguments["broadcast"])
    assert started[0] == started[1], "the same runs, not twice as many"
    assert not {*started[0]} & {*started[2]}, "those had ended"
    assert len(await children_of(arguments["broadcast"])) == 4
    async with get_client() as client:
        for child in started[2]:
            await client.delete_flow_run(child)


async def test_a_shard_whose_ledger_is_another_one_sends_nothing(
    sandbox: RunningSandbox, arguments: dict[str, Any]
) -> None:
    await broadcast_audio(**arguments, max_messages=1)
    with tags("whatsapp-broadcast:0123456789abcdef"), pytest.raises(InputError, match=r"ledger.*PostgreSQL"):
        await broadcast_audio(**{**arguments, "recipients": ""})
    assert sandbox.truth()["accepted_total"] == 1


async def test_a_file_ledger_is_warned_of(deploy: Deploy, arguments: dict[str, Any], caplog: Any) -> None:
    await broadcast_audio(**arguments, scale=Scale(shards=1, shard_deployment=await deploy()))
    assert "only workers on this machine" in caplog.text


async def test_what_can_not_work_is_refused_in_one_sentence_before_anything_is_planned(
    sandbox: RunningSandbox, deploy: Deploy, arguments: dict[str, Any]
) -> None:
    other = await deploy(broadcast_contacts)
    refused = [
        ({}, "name one as shard_deployment"),
        (
            {"scale": Scale(shards=2, shard_deployment="broadcast-audio/nowhere")},
            "nowhere.*isn't at the Prefect server",
        ),
        ({"scale": Scale(shards=2, shard_deployment="no slash")}, "no slash.*isn't at the Prefect server"),
        (
            {"scale": Scale(shards=2, shard_deployment=other)},
            "must be a deployment of broadcast-audio",
        ),
        ({"scale": Scale(shards=2, shard_deployment=await deploy(limit=1))}, "runs 1 at a time and shards=2 needs 2"),
        (
            {"scale": Scale(shards=2, shard_deployment=await deploy()), "sender": sender_of("graph", sandbox.url)},
            "sender can't be given to child runs: it is a GraphCredentials that isn't saved",
        ),
    ]
    for change, says in refused:
        with pytest.raises(InputError, match=says) as refusal:
            await broadcast_audio(**{**arguments, "scale": Scale(shards=2), **change})
        assert "\n" not in str(refusal.value)
    assert sandbox.truth()["calls"] == 0
    assert not await children_of(arguments["broadcast"])


def test_a_run_of_its_own_is_nobodys_shard() -> None:
    assert part_of() == ""


@pytest.mark.parametrize(("number", "parts", "split"), [(10, 4, [3, 3, 2, 2]), (2, 3, [1, 1, 0]), (0, 2, [0, 0])])
def test_a_number_is_divided_without_loss(number: int, parts: int, split: list[int]) -> None:
    assert split_evenly(number, parts) == split


BOUNDS = [
    pytest.param(1, None, 12, id="alone"),
    pytest.param(5, None, 12, id="five"),
    pytest.param(6, None, 10, id="six"),
    pytest.param(12, None, 5, id="twelve"),
    pytest.param(100, None, 1, id="a hundred"),
    pytest.param(1, "", 36, id="one event a run in the place of three"),
    pytest.param(6, "", 30, id="six, one event a run"),
    pytest.param(1, "HTTP 422", 12, id="the server takes no such events"),
]


@pytest.mark.parametrize(("beside", "refusal", "bound"), BOUNDS)
async def test_many_runs_share_the_bound_on_how_far_they_are_ahead_of_the_record(
    beside: int, refusal: str | None, bound: int
) -> None:
    lease: Any = SimpleNamespace(active_runs=beside)
    events: Any = None if refusal is None else SimpleNamespace(refusal=refusal)
    backpressure = Backpressure(uuid.uuid4(), stop=StopSignal(), lease=lease, events=events, max_ahead=12)
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            while True:
                await backpressure.room()
                backpressure.started += 1
    assert backpressure.ahead == bound
