"""A reply is an event in Prefect, once, without number or text; and a flow is started by it."""

import asyncio
import datetime
import importlib.util
import itertools
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.ledger import LedgerStore, Outcome, Row
from prefect_whatsapp.models import Recipient, SendState
from prefect_whatsapp.receipts import create_app
from prefect_whatsapp.receipts.receiver import Receiver
from pydantic import SecretStr
from receiver_process import ACCOUNT, SENDERS, graph_body, signature, status, stop_of

ROOT = Path(__file__).resolve().parents[2]
PERSON = "+16505550123"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LedgerStore]:
    async with LedgerStore.open(str(tmp_path / "ledger.db")) as opened:
        yield opened


async def sent_to(store: LedgerStore, recipients: list[str]) -> list[Row]:
    """The accepted rows of a broadcast; the messages' ids are `wamid.N`."""
    record = await store.start_broadcast("weekly", kind="audio", provider="graph", account=ACCOUNT, content="a")
    await store.plan(record, [Recipient(to=to) for to in recipients])
    async with store.join(record, messages_per_second=0) as lease:
        for row in await lease.take(len(recipients)):
            await lease.claim(row)
            await lease.settle(row, Outcome(SendState.ACCEPTED, message_id=f"wamid.{row.id}"))
    return [row async for row in store.rows(record)]


def answer_to(row: Row, message_id: str = "wamid.in", body: str = "hello") -> dict[str, Any]:
    return stop_of(row.recipient, 1789000000) | {
        "id": message_id,
        "text": {"body": body},
        "context": {"id": row.message_id},
    }


async def test_a_reply_is_told_once_however_often_it_is_posted(
    store: LedgerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    monkeypatch.setattr("prefect_whatsapp.receipts.receiver.emit_event", lambda **event: told.append(event))
    (row,) = await sent_to(store, [PERSON])
    ledger = Ledger(url=SecretStr(str(tmp_path / "ledger.db")))
    body = graph_body(messages=[answer_to(row, body="Stop")])
    app = create_app(SENDERS, ledger=ledger, moved=None)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client,
    ):
        for _ in range(3):
            posted = await client.post("/graph/weekly", content=body, headers=signature(body))
            assert posted.status_code == 200
    (event,) = told
    assert event["event"] == "prefect-whatsapp.reply.received"
    reply = {"kind": "text", "broadcast": "weekly", "row": row.id, "opted_out": True, "opted_in": False}
    assert event["payload"] == {"reply": str(event["id"]), **reply}
    assert not any(secret in str(event) for secret in (PERSON[1:], "Stop", "wamid"))


async def test_a_report_is_brought_up_to_date_no_more_often_than_it_may(
    store: LedgerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = 0.3
    monkeypatch.setattr("prefect_whatsapp.receipts.receiver._SWEEP_SECONDS", 0.02)
    monkeypatch.setattr("prefect_whatsapp.receipts.receiver._SHOW_SECONDS", pause)
    shown: list[tuple[float, set[int]]] = []
    loop = asyncio.get_running_loop()

    async def moved(_store: LedgerStore, numbers: set[int]) -> None:
        shown.append((loop.time(), numbers))
        if len(shown) == 2:
            raise RuntimeError("Prefect is away")

    rows = await sent_to(store, [f"+1650555{n:04d}" for n in range(100, 160)])
    dialect = SENDERS["graph/weekly"].webhooks()
    ledger = Ledger(url=SecretStr(str(tmp_path / "ledger.db")))
    receiver = Receiver([dialect], ledger=ledger, events=False, moved=moved)
    told = iter(rows)
    async with asyncio.timeout(60):
        while len(shown) < 4:
            if row := next(told, None):
                value = {"metadata": {"phone_number_id": ACCOUNT}, "statuses": [status(row.message_id)]}
                await receiver.take(dialect, {"entry": [{"changes": [{"field": "messages", "value": value}]}]})
            await asyncio.sleep(0.02)
    await receiver.stop()
    times = [at for at, _ in shown]
    assert all(later - earlier >= pause * 0.95 for earlier, later in itertools.pairwise(times[:4]))
    assert len({frozenset(numbers) for _, numbers in shown}) == 1  # also what could not be shown at first


@flow(name="answer-reply")
def answer_reply(reply: dict[str, Any]) -> None:
    """A flow of a user's own."""


async def until(ask: Callable[[], Any], *, seconds: float = 60) -> Any:
    """Ask until there is an answer."""
    async with asyncio.timeout(seconds):
        while not (found := await ask()):  # noqa: ASYNC110 - a server's, which has no event for it
            await asyncio.sleep(0.3)
        return found


@pytest.mark.ci
@pytest.mark.server
@pytest.mark.slow
@pytest.mark.usefixtures("prefect_api")
async def test_a_reply_starts_a_flow_by_the_automation_that_is_shipped(store: LedgerStore, tmp_path: Path) -> None:
    file = ROOT / "deployments" / "automations" / "flow-on-reply.yaml"
    spec = importlib.util.spec_from_file_location("apply_automations_here", file.with_name("apply.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    rows = await sent_to(store, [PERSON, "+16505550124"])
    async with get_client() as client:
        deployment = await client.create_deployment(
            await client.create_flow(answer_reply),
            "default",
            entrypoint="flows.py:answer_reply",
            enforce_parameter_schema=False,
        )
        name = await module.apply(file)
        (automation,) = await client.read_automations_by_name(name)
        # The server's triggers learn of a new automation by themselves, in a moment that nothing tells.
        await asyncio.sleep(2)
        app = create_app(SENDERS, ledger=Ledger(url=SecretStr(str(tmp_path / "ledger.db"))))
        try:
            async with (
                app.router.lifespan_context(app),
                httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as poster,
            ):
                now = datetime.datetime.now(datetime.UTC).timestamp()
                for row in rows:
                    message = answer_to(row, f"wamid.{uuid.uuid4().hex}") | {"timestamp": str(int(now))}
                    body = graph_body(messages=[message])
                    for _ in range(2):
                        await poster.post("/graph/weekly", content=body, headers=signature(body))

            async def started() -> Any:
                found = await client.read_flow_runs(
                    deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment]))
                )
                return found if len(found) >= 2 else None

            runs = await until(started)
            await asyncio.sleep(2)  # a third one would come now
            assert len(await started()) == 2
            replies = [run.parameters["reply"] for run in runs]
            assert {reply["row"] for reply in replies} == {row.id for row in rows}
            for reply in replies:
                assert (reply["broadcast"], reply["kind"], reply["opted_out"]) == ("weekly", "text", False)
                assert set(reply) == {"reply", "kind", "broadcast", "row", "opted_out", "opted_in"}
        finally:
            await client.delete_automation(automation.id)
            await client.delete_deployment(deployment)
