"""The receiver: what is answered, what is stored, and what is not."""

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect_whatsapp.blocks import ChatApiCredentials, GraphCredentials, Ledger, WahaCredentials, WawpCredentials
from prefect_whatsapp.ledger import LedgerStore, Outcome
from prefect_whatsapp.models import Recipient, SendState
from prefect_whatsapp.models.errors import InputError
from prefect_whatsapp.receipts import create_app
from prefect_whatsapp.receipts.app import MAX_BODY_BYTES
from prefect_whatsapp.receipts.words import Words
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Mount

PERSON = "+16505550123"
GRAPH = GraphCredentials(phone_number_id="106540", app_secret=SecretStr("old new"), verify_token=SecretStr("hello"))
WAHA = WahaCredentials(webhook_hmac_key=SecretStr("waha-key"))
WAWP_HEADER = WawpCredentials(
    instance_id="ABC", webhook_secret=SecretStr("wawp-key"), webhook_header="X-Wawp-Signature"
)
WAWP_PATH = WawpCredentials(instance_id="DEF", webhook_secret=SecretStr("in-the-path"))
CHAT_API = ChatApiCredentials(instance_id="12345", webhook_secret=SecretStr("chat-secret"))
SENDERS = {
    "graph/weekly": GRAPH,
    "waha/office": WAHA,
    "wawp/one": WAWP_HEADER,
    "wawp/two": WAWP_PATH,
    "chat-api/main": CHAT_API,
}


def graph_status(state: str, message_id: str = "wamid.1", **more: Any) -> dict[str, Any]:
    status = {"id": message_id, "status": state, "timestamp": "1789000000", **more}
    return graph(statuses=[status])


def graph(**value: Any) -> dict[str, Any]:
    value = {"metadata": {"phone_number_id": "106540"}, **value}
    return {"object": "whatsapp_business_account", "entry": [{"changes": [{"field": "messages", "value": value}]}]}


def sign(body: bytes, secret: str, algorithm: str = "sha256") -> str:
    return hmac.new(secret.encode(), body, algorithm).hexdigest()


@asynccontextmanager
async def client_of(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "ledger.db")


@pytest.fixture
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(SENDERS, ledger=Ledger(url=SecretStr(url)), events=False)) as client:
        yield client


async def post_graph(client: httpx.AsyncClient, body: Any, secret: str = "new") -> httpx.Response:
    raw = json.dumps(body).encode()
    headers = {"X-Hub-Signature-256": f"sha256={sign(raw, secret)}"}
    return await client.post("/graph/weekly", content=raw, headers=headers)


async def stored(url: str) -> int:
    async with LedgerStore.open(url) as store:
        return await store.receipts.parked()


@pytest.mark.parametrize("secret", ["old", "new"])
async def test_a_signed_webhook_is_durable_when_it_is_answered(
    client: httpx.AsyncClient, url: str, secret: str
) -> None:
    answer = await post_graph(client, graph_status("delivered"), secret)
    assert (answer.status_code, answer.json()) == (200, {"taken": 1})
    assert await stored(url) == 1


async def test_a_status_moves_its_row(client: httpx.AsyncClient, url: str) -> None:
    async with LedgerStore.open(url) as store:
        record = await store.start_broadcast("weekly", kind="audio", provider="graph", account="106540", content="a")
        await store.plan(record, [Recipient(to=PERSON)])
        async with store.join(record, messages_per_second=0) as lease:
            (row,) = await lease.take(1)
            await lease.claim(row)
            await lease.settle(row, Outcome(SendState.UNKNOWN))
        await post_graph(client, graph_status("read", biz_opaque_callback_data=row.callback))
        (after,) = [each async for each in store.rows(record)]
        assert (after.state, after.message_id, after.resolved_by) == (SendState.READ, "wamid.1", "callback")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/graph/weekly", {}),
        ("/graph/weekly", {"X-Hub-Signature-256": "sha256=" + "0" * 64}),
        ("/waha/office", {}),
        ("/waha/office", {"X-Webhook-Hmac": sign(b"{}", "waha-key", "sha256")}),
        ("/wawp/one", {}),
        ("/wawp/one", {"X-Wawp-Signature": sign(b"{}", "other")}),
        ("/wawp/two", {}),
        ("/wawp/two/wrong", {}),
        ("/chat-api/main", {}),
        ("/chat-api/main/wrong", {}),
    ],
)
async def test_a_wrong_or_missing_signature_is_401_and_leaves_one_line(
    client: httpx.AsyncClient, url: str, path: str, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    answer = await client.post(path, content=b"{}", headers=headers)
    assert answer.status_code == 401
    assert await stored(url) == 0
    lines = [line for line in caplog.messages if "refused" in line]
    assert len(lines) == 1
    assert "{}" not in lines[0]
    assert "wrong/" not in lines[0]


async def test_each_service_is_taken_as_it_signs(client: httpx.AsyncClient, url: str) -> None:
    ack = {
        "event": "message.ack",
        "session": "default",
        "payload": {"id": "true_1@c.us_3EB0", "fromMe": True, "ack": 2},
    }
    raw = json.dumps(ack).encode()
    for path, headers in (
        ("/waha/office", {"X-Webhook-Hmac": sign(raw, "waha-key", "sha512")}),
        ("/wawp/one", {"X-Wawp-Signature": sign(raw, "wawp-key")}),
        ("/wawp/two/in-the-path", {}),
    ):
        assert (await client.post(path, content=raw, headers=headers)).status_code == 200
    chat = {"instanceId": "12345", "ack": [{"id": "true_1@c.us_3EB0", "status": "viewed"}]}
    assert (await client.post("/chat-api/main/chat-secret", json=chat)).status_code == 200
    assert await stored(url) == 4


async def test_a_secret_in_the_path_may_hold_what_base64_does(url: str) -> None:
    block = ChatApiCredentials(instance_id="12345", webhook_secret=SecretStr("older 7/Qf+x/0a=="))
    body = {"instanceId": "12345", "ack": [{"id": "true_1@c.us_3EB0", "status": "viewed"}]}
    async with client_of(create_app({"chat-api/main": block}, ledger=Ledger(url=SecretStr(url)))) as client:
        for path, code in (("7/Qf+x/0a==", 200), ("older", 200), ("7/Qf+x/0a==/x", 401), ("7", 401), ("", 401)):
            assert (await client.post(f"/chat-api/main/{path}", json=body)).status_code == code


async def test_an_address_may_end_with_a_slash(client: httpx.AsyncClient) -> None:
    raw = json.dumps(graph_status("read")).encode()
    headers = {"X-Hub-Signature-256": f"sha256={sign(raw, 'new')}"}
    assert (await client.post("/graph/weekly/", content=raw, headers=headers)).status_code == 200
    assert (await client.post("/graph/weekly/more", content=raw, headers=headers)).status_code == 404


async def test_graphs_handshake(client: httpx.AsyncClient) -> None:
    query = {"hub.mode": "subscribe", "hub.verify_token": "hello", "hub.challenge": "42"}
    answer = await client.get("/graph/weekly", params=query)
    assert (answer.status_code, answer.text) == (200, "42")
    assert (await client.get("/graph/weekly", params={**query, "hub.verify_token": "x"})).status_code == 403
    assert (await client.head("/graph/weekly")).status_code == 200


async def test_health_and_unknown_paths(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json()["status"] == "ok"
    for path in ("/graph/other", "/nobody/weekly", "/graph/weekly/secret", "/"):
        assert (await client.post(path, content=b"{}")).status_code == 404


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"7", b'{"entry":3}', b"[" * 100_000, b'{"a":' * 5_000]
)
async def test_what_is_no_webhook_is_400_and_the_receiver_lives_on(client: httpx.AsyncClient, raw: bytes) -> None:
    headers = {"X-Hub-Signature-256": f"sha256={sign(raw, 'new')}"}
    assert (await client.post("/graph/weekly", content=raw, headers=headers)).status_code == 400
    assert (await post_graph(client, graph_status("read"))).status_code == 200


async def test_a_body_that_is_too_large_is_413_whatever_its_header_says(client: httpx.AsyncClient) -> None:
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1 << 20
            yield b"x" * (1 << 20)

    assert (await client.post("/graph/weekly", content=chunks())).status_code == 413
    assert read <= MAX_BODY_BYTES + (2 << 20)
    assert (await client.post("/graph/weekly", content=b"x" * (MAX_BODY_BYTES + 1))).status_code == 413


async def test_an_unknown_field_is_kept_and_answered_200(client: httpx.AsyncClient, url: str) -> None:
    body = {"entry": [{"changes": [{"field": "account_update", "value": {"event": "DISABLED_UPDATE"}}]}]}
    assert (await post_graph(client, body)).json() == {"taken": 1}


async def test_texts_that_no_database_holds_fail_nothing(client: httpx.AsyncClient, url: str) -> None:
    status = {"status": "read", "timestamp": "1"}
    body = graph(statuses=[{"id": "\0wamid\ud800", **status}, {"id": "wamid.2", **status}])
    assert (await post_graph(client, body)).status_code == 200
    assert await stored(url) == 2


async def test_a_body_of_a_thousand_statuses_is_taken_whole(client: httpx.AsyncClient, url: str) -> None:
    statuses = [{"id": f"wamid.{n}", "status": "sent", "timestamp": "1789000000"} for n in range(1000)]
    assert (await post_graph(client, graph(statuses=statuses))).json() == {"taken": 1000}
    assert await stored(url) == 1000


async def test_many_webhooks_at_once_are_all_durable(client: httpx.AsyncClient, url: str) -> None:
    answers = await asyncio.gather(*(post_graph(client, graph_status("sent", f"wamid.{n}")) for n in range(60)))
    assert {answer.status_code for answer in answers} == {200}
    assert await stored(url) == 60


async def test_a_stop_opts_out_and_its_text_goes_nowhere(client: httpx.AsyncClient, url: str) -> None:
    message = {"from": PERSON[1:], "id": "wamid.in", "timestamp": "1789000000", "type": "text"}
    chatter = {**message, "id": "wamid.in2", "text": {"body": "please don't stop, canary-text"}}
    await post_graph(client, graph(messages=[chatter]))
    async with LedgerStore.open(url) as store:
        assert await store.people.opted_out([PERSON]) == set()
        await post_graph(client, graph(messages=[{**message, "text": {"body": " Stop! "}}]))
        assert await store.people.opted_out([PERSON]) == {PERSON}
    content = b"".join(file.read_bytes() for file in Path(url).parent.iterdir())
    assert b"canary-text" not in content


async def test_while_the_ledger_is_away_nothing_is_answered_200(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    app = create_app({"graph/weekly": GRAPH}, ledger=Ledger(url=SecretStr(str(tmp_path / "file" / "ledger.db"))))
    async with client_of(app) as client:
        assert (await post_graph(client, graph_status("read"))).status_code == 503
        assert (await client.get("/health")).status_code == 503


async def test_mounted_in_another_app_it_opens_its_ledger_by_itself(url: str) -> None:
    app = create_app({"graph/weekly": GRAPH}, ledger=Ledger(url=SecretStr(url)), events=False)
    outer = Starlette(routes=[Mount("/hooks", app=app)])
    transport = httpx.ASGITransport(app=outer)
    async with httpx.AsyncClient(transport=transport, base_url="http://test/hooks") as client:
        assert (await post_graph(client, graph_status("read"))).status_code == 200
    await app.state.receiver.stop()
    assert await stored(url) == 1


@pytest.mark.parametrize("path", ["graph", "waha/weekly", "graph/a/b", ""])
def test_a_path_that_names_another_service_is_refused(path: str) -> None:
    with pytest.raises(InputError, match="graph/NAME"):
        create_app({path: GRAPH})


def test_a_block_without_its_secret_can_not_receive() -> None:
    with pytest.raises(InputError, match="app_secret"):
        create_app({"graph/weekly": GraphCredentials(phone_number_id="1")})


@pytest.mark.parametrize(
    ("text", "opted_out"),
    [
        ("STOP", True),
        ("  stop.\n", True),
        ("Ｓｔｏｐ", True),
        ("BAJA", True),
        ("Arrêt", True),
        ("стоп!", True),
        ("İPTAL", True),
        ("\u200fإيقاف\u200f", True),
        ("\u2068STOP\u2069", True),
        ("STOP 🛑", True),
        ("✋🏽 Stop ✋️", True),
        ("बंद करें।", True),
        ("Stop promotions", True),
        ("resume promotions", False),
        ("start", False),
        ("We have got to STOP this", None),
        ("STOP 12345", None),
        ("stop stop", None),
        ("non-stop", None),
        ("🛑", None),
        ("", None),
        ("!!!", None),
    ],
)
def test_only_the_whole_message_is_a_word(text: str, opted_out: bool | None) -> None:
    assert Words().meaning(text)[1] is opted_out


def test_a_list_of_ones_own_replaces_the_built_in_one() -> None:
    words = Words.of(stop=["No gracias"])
    assert words.meaning("no  GRACIAS!") == ("no gracias", True)
    assert words.meaning("stop") == ("", None)
    assert words.meaning("start") == ("start", False)


async def test_early_statuses_are_matched_by_the_house_keeping(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_whatsapp.receipts.receiver._SWEEP_SECONDS", 0.05)
    shown: list[set[int]] = []
    monkeypatch.setattr("prefect_whatsapp.receipts.receiver._SHOW_SECONDS", 0.05)

    async def moved(_store: LedgerStore, numbers: set[int]) -> None:
        shown.append(numbers)

    app = create_app({"graph/weekly": GRAPH}, ledger=Ledger(url=SecretStr(url)), events=False, moved=moved)
    async with client_of(app) as client, LedgerStore.open(url) as store:
        record = await store.start_broadcast("weekly", kind="audio", provider="graph", account="106540", content="a")
        await store.plan(record, [Recipient(to=PERSON)])
        await post_graph(client, graph_status("played"))
        async with store.join(record, messages_per_second=0) as lease:
            (row,) = await lease.take(1)
            await lease.claim(row)
            await lease.settle(row, Outcome(SendState.ACCEPTED, message_id="wamid.1"))
        async with asyncio.timeout(20):
            while (await store.counts(record))[SendState.PLAYED] != 1 or not shown:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert shown == [{record.number}]
        assert await store.receipts.received_for("graph:106540") is not None
