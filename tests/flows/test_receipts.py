"""Receipts seen from a flow: the report goes on changing, an unknown is resolved, an opt-out is honoured."""

import asyncio
import datetime
import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from artifacts import artifacts
from prefect_whatsapp.blocks import GraphCredentials, Ledger
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.ledger import Row
from prefect_whatsapp.receipts import create_app
from prefect_whatsapp.sandbox.server import RunningSandbox
from pydantic import SecretStr

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]
Arguments = Callable[..., dict[str, Any]]
SECRET = "receipts-test"


async def rows_of(ledger: Ledger, name: str) -> list[Row]:
    async with ledger.open() as store:
        record = await store.find_broadcast(name)
        assert record is not None
        return [row async for row in store.rows(record)]


async def post(ledger: Ledger, account: GraphCredentials, **value: Any) -> None:
    """Give the receiver one signed webhook, and end it again, so that the report is brought up to date."""
    import hashlib
    import hmac

    value = {"metadata": {"phone_number_id": account.phone_number_id}, **value}
    body = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    app = create_app({"graph/test": account.model_copy(update={"app_secret": SecretStr(SECRET)})}, ledger=ledger)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app=app)
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://test"))
        headers = {"X-Hub-Signature-256": f"sha256={digest}"}
        assert (await client.post("/graph/test", content=body, headers=headers)).status_code == 200


def status(row: Row, state: str, **more: Any) -> dict[str, Any]:
    message_id = row.message_id or f"wamid.lost{row.id}"
    return {
        "id": message_id,
        "status": state,
        "timestamp": "1789000000",
        "biz_opaque_callback_data": row.callback,
        **more,
    }


async def test_the_report_changes_in_place_and_an_unknown_is_resolved(
    sandbox: RunningSandbox, broadcast_arguments: Arguments, ledger: Ledger, graph: GraphCredentials
) -> None:
    arguments = broadcast_arguments(6)
    sandbox.faults(kind="drop", accepted=True, recipients=[arguments["recipients"][3]])
    report = await broadcast_audio(**arguments)
    assert (report.accepted, report.unknown, report.delivered) == (5, 1, 0)
    rows = await rows_of(ledger, arguments["broadcast"])
    errors = [{"code": 131026, "title": "Message undeliverable"}]
    told = [status(row, "delivered") for row in rows[1:]]
    await post(ledger, graph, statuses=[status(rows[0], "failed", errors=errors), *told])
    (page,) = [str(each.data) for each in await artifacts(arguments["broadcast"], "report")]
    for line in (
        "| delivered | 5 |",
        "| failed | 1 |",
        "failed after they were accepted | 1 |",
        "1 by callback. 0 remain unknown",
        "131026",
        "This run took",
    ):
        assert line in page
    again = await broadcast_audio(**arguments, retry_failed=True)
    assert (again.accepted, again.delivered, again.failed, again.failed_late, again.unknown) == (6, 5, 0, 0, 0)
    assert sandbox.truth()["accepted_total"] == 7  # the one that failed late, twice; nobody else


async def test_whoever_opted_out_is_skipped_and_the_others_are_reached(
    sandbox: RunningSandbox, broadcast_arguments: Arguments, ledger: Ledger, graph: GraphCredentials
) -> None:
    arguments = broadcast_arguments(5)
    who = arguments["recipients"][2].removeprefix("+")
    message = {"from": who, "id": "wamid.in", "timestamp": "1789000000", "type": "text", "text": {"body": "Stop"}}
    await post(ledger, graph, messages=[message])
    state = await broadcast_audio(**arguments, return_state=True)
    report = await state.aresult()
    assert (report.accepted, report.skipped, sandbox.truth()["accepted_total"]) == (4, 1, 4)
    assert (report.opted_out, report.complete) == (1, False)
    # Nobody has to see to them, so nobody is called each week: no such state, no such table.
    assert (state.name, state.message) == ("Completed", "4 of 5 accepted, 1 opted out")
    assert not await artifacts(arguments["broadcast"], "attention")
    (page,) = await artifacts(arguments["broadcast"], "report")
    assert "| of these, opted out | 1 |" in str(page.data)


async def test_a_dry_run_says_whom_the_broadcast_would_leave_out(
    sandbox: RunningSandbox, broadcast_arguments: Arguments, ledger: Ledger
) -> None:
    arguments = broadcast_arguments(5, dry_run=True)
    async with ledger.open() as store:
        await store.people.opt_out(arguments["recipients"][:2], source="import")
    report = await broadcast_audio(**arguments)
    assert (report.planned, report.pending, report.skipped, sandbox.truth()["sends"]) == (5, 3, 2, 0)
    (page,) = [str(each.data) for each in await artifacts(arguments["broadcast"], "plan")]
    assert "2 recipients have opted out and are skipped." in page
    assert "**3 messages** to send" in page


async def test_where_a_receiver_was_alive_for_a_day_closed_windows_are_skipped_without_a_request(
    sandbox: RunningSandbox, broadcast_arguments: Arguments, ledger: Ledger, graph: GraphCredentials
) -> None:
    arguments = broadcast_arguments(4)
    now = datetime.datetime.now(datetime.UTC)
    async with ledger.open() as store:
        account = f"graph:{graph.phone_number_id}"
        for minutes in range(25 * 60, -1, -5):
            await store.receipts.receiving([account], now=now - datetime.timedelta(minutes=minutes))
    who = arguments["recipients"][1].removeprefix("+")
    wrote = {"from": who, "id": "wamid.in", "timestamp": str(int(now.timestamp())), "type": "text"}
    await post(ledger, graph, messages=[{**wrote, "text": {"body": "hello"}}])
    dry = await broadcast_audio(**arguments | {"dry_run": True})
    assert (dry.pending, dry.skipped, sandbox.truth()["sends"]) == (1, 3, 0)
    report = await broadcast_audio(**arguments)
    assert (report.accepted, report.skipped, sandbox.truth()["sends"]) == (1, 3, 1)
    pages = [str(each.data) for each in await artifacts(arguments["broadcast"], "plan")]
    assert any("1 24-hour window is open, 3 are closed and skipped." in page for page in pages)


async def test_a_run_waits_for_receipts_and_ends_when_all_are_in(
    sandbox: RunningSandbox,
    broadcast_arguments: Arguments,
    ledger: Ledger,
    graph: GraphCredentials,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("prefect_whatsapp.flows.receipts._POLL_SECONDS", 0.2)
    arguments = broadcast_arguments(3)
    running = asyncio.create_task(broadcast_audio(**arguments, wait_for_receipts=5))
    rows: list[Row] = []
    async with asyncio.timeout(60):
        while len([row for row in rows if row.message_id]) < len(arguments["recipients"]):
            await asyncio.sleep(0.2)
            if sandbox.truth()["accepted_total"]:
                rows = await rows_of(ledger, arguments["broadcast"])
    await post(ledger, graph, statuses=[status(row, "played") for row in rows])
    async with asyncio.timeout(60):
        report = await running
    assert (report.accepted, report.delivered, report.played) == (3, 3, 3)
