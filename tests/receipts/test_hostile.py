"""Webhooks of somebody who means harm, or of a service that has gone mad: the receiver answers, and lives on."""

import asyncio
import datetime
import gzip
import hmac
import json
import math
import random
from collections.abc import AsyncIterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.models import SendState
from prefect_whatsapp.models.updates import Inbound, Item, StatusUpdate, Unread
from prefect_whatsapp.providers.webhooks import WebhookRefusedError
from prefect_whatsapp.receipts import create_app
from pydantic import SecretStr
from receiver_process import ACCOUNT, SECRET, SENDERS, graph_body, status

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
PERSON = "16505550123"
GRAPH: dict[str, Any] = {
    "object": "whatsapp_business_account",
    "entry": [
        {
            "id": "1",
            "changes": [
                {
                    "field": "messages",
                    "value": {
                        "metadata": {"phone_number_id": ACCOUNT},
                        "contacts": [{"wa_id": PERSON, "user_id": "US.1349120865"}],
                        "statuses": [
                            {
                                "id": "wamid.1",
                                "status": "failed",
                                "timestamp": "1789000000",
                                "recipient_id": PERSON,
                                "biz_opaque_callback_data": "0" * 32 + ":1",
                                "errors": [{"code": 130403, "error_data": {"details": "blocked"}}],
                            }
                        ],
                        "messages": [
                            {
                                "from": PERSON,
                                "id": "wamid.in",
                                "timestamp": "1789000000",
                                "type": "text",
                                "text": {"body": "STOP"},
                                "context": {"id": "wamid.1"},
                            }
                        ],
                    },
                },
                {"field": "user_preferences", "value": {"user_preferences": [{"wa_id": PERSON, "value": "stop"}]}},
                {
                    "field": "user_id_update",
                    "value": {"user_id_update": [{"wa_id": PERSON, "user_id": {"current": "X"}}]},
                },
                {"field": "account_update", "value": {"event": "DISABLED_UPDATE"}},
            ],
        }
    ],
}
ACK: dict[str, Any] = {
    "id": "evt_1",
    "timestamp": 1789000000123,
    "event": "message.ack",
    "session": "default",
    "payload": {"id": f"true_{PERSON}@c.us_3EB0AA", "fromMe": True, "ack": 2},
}
MESSAGE: dict[str, Any] = {
    "event": "message",
    "session": "default",
    "payload": {
        "id": "false_777000111@lid_3A99",
        "timestamp": 1789000100,
        "from": "777000111@lid",
        "fromMe": False,
        "body": "STOP",
        "replyTo": {"id": "3EB0AA"},
        "media": {"mimetype": "audio/ogg"},
        "_data": {"key": {"remoteJidAlt": f"{PERSON}@s.whatsapp.net"}, "Info": {"SenderAlt": "x"}},
    },
}
CHAT_API: dict[str, Any] = {
    "instanceId": "12345",
    "ack": [{"id": f"true_{PERSON}@c.us_3EB0AA", "chatId": f"{PERSON}@c.us", "status": "viewed"}],
    "messages": [
        {"id": "true_1@c.us_3EB0BB", "fromMe": True, "time": 1789000100, "chatId": "1@c.us", "type": "ptt"},
        {"id": "false_1@c.us_3A", "fromMe": 0, "chatId": f"{PERSON}@c.us", "time": 1, "type": "chat", "body": "STOP"},
    ],
}
BODIES = {
    "graph/weekly": [GRAPH],
    "waha/office": [ACK, MESSAGE],
    "wawp/one": [ACK, MESSAGE],
    "chat-api/main": [CHAT_API],
}
PATHS = sorted(BODIES)

# What no database holds, no integer column takes, no clock knows.
NASTY: list[Any] = [
    None,
    True,
    -1,
    0,
    10**30,
    -(10**30),
    1e308,
    math.nan,
    math.inf,
    "",
    "\0",
    "a\0b",
    "\ud800",
    "\udfff\ud800",
    "x" * 5_000,
    "é" * 600,
    "'; DROP TABLE whatsapp_sends; --",
    "%s%s%n",
    "٣٣٣٣٣٣٣٣",
    "9" * 4_000,
    "-1",
    "nan",
    "1e999",
    "true_\0@c.us_\ud800",
    "true__",
    "@lid",
    "0" * 32 + ":" + "9" * 18,
    [],
    [[]],
    {},
    {"id": {}},
    [None] * 50,
]


def places(body: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value in a body."""
    found = [way] if way else []
    if isinstance(body, dict):
        return found + [each for key in body for each in places(body[key], (*way, key))]
    if isinstance(body, list):
        return found + [each for place, value in enumerate(body) for each in places(value, (*way, place))]
    return found


def changed(body: Any, way: tuple[Any, ...], value: Any) -> Any:
    """A body with another value at one place."""
    body = deepcopy(body)
    holder = body
    for step in way[:-1]:
        holder = holder[step]
    holder[way[-1]] = value
    return body


def encode(body: Any) -> bytes:
    return json.dumps(body).encode("utf-8", "surrogatepass")


def headers_for(path: str, raw: bytes) -> dict[str, str]:
    service = path.partition("/")[0]
    algorithm = "sha512" if service == "waha" else "sha256"
    digest = hmac.new(SECRET.encode(), raw, algorithm).hexdigest()
    name = {"graph": "X-Hub-Signature-256", "waha": "X-Webhook-Hmac", "wawp": "X-Wawp-Signature"}.get(service, "X-None")
    return {name: ("sha256=" if service == "graph" else "") + digest}


async def post(client: httpx.AsyncClient, path: str, raw: bytes, **more: str) -> int:
    address = f"/{path}/{SECRET}" if path.startswith("chat-api") else f"/{path}"
    answer = await client.post(address, content=raw, headers=headers_for(path, raw) | more)
    return answer.status_code


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """Posts to a receiver with all four accounts."""
    ledger = Ledger(url=SecretStr(str(tmp_path_factory.mktemp("hostile") / "ledger.db")))
    app = create_app(SENDERS, ledger=ledger, events=False, moved=None)
    transport = httpx.ASGITransport(app=app)  # an exception in the app fails the test
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as opened,
    ):
        yield opened


def told_by(path: str, body: Any) -> list[Item]:
    """What an account's reader makes of a body; nothing where it refuses it."""
    try:
        return list(SENDERS[path].webhooks().items(body, NOW))
    except WebhookRefusedError:
        return []


@pytest.mark.parametrize("path", PATHS)
def test_any_value_of_any_type_at_any_place_is_read_or_refused(path: str) -> None:
    for body in BODIES[path]:
        for way in places(body):
            for value in NASTY:
                for item in told_by(path, changed(body, way, value)):
                    assert repr(item)


@pytest.mark.parametrize("path", PATHS)
async def test_any_value_of_any_type_is_answered(client: httpx.AsyncClient, path: str) -> None:
    chance = random.Random(17)
    for body in BODIES[path]:
        for value in NASTY:
            way = chance.choice(places(body))
            assert await post(client, path, encode(changed(body, way, value))) in (200, 400), (way, repr(value)[:60])
        assert await post(client, path, encode(body)) == 200


async def test_no_value_of_the_world_fails_what_is_recorded_with_it(ledger_url: str) -> None:
    """On both databases: PostgreSQL holds neither a NUL nor half a surrogate, SQLite not the latter."""
    async with LedgerStore.open(ledger_url, patience_seconds=1) as store:
        for value in ("\0\ud800" + "x" * 3_000, "true_\0@c.us_\ud800"):
            for path in ("graph/weekly", "waha/office", "chat-api/main"):
                bodies = [changed(body, way, value) for body in BODIES[path] for way in places(body)]
                items = [item for body in bodies for item in told_by(path, body)]
                await store.receipts.record(path.partition("/")[0], items)
            read, some = SendState.READ, (value,)
            raw: list[Item] = [
                StatusUpdate(value, value, read, NOW, callback=value, code=value, text=value, aliases=some),
                Inbound(value, value, NOW, "text", some, answers=value, word=value, opted_out=True),
                Unread(value, value, {value: value}),
            ]
            await store.receipts.record("graph", raw)
        await store.receipts.match_parked()


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from(NASTY),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(data=st.data())
@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
async def test_bodies_of_nobodys_making_are_answered(client: httpx.AsyncClient, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(PATHS))
    body = deepcopy(data.draw(st.sampled_from(BODIES[path])))
    for _ in range(data.draw(st.integers(1, 4))):
        body = changed(body, data.draw(st.sampled_from(places(body) or [("x",)])), data.draw(_JSON))
        if not isinstance(body, dict) or not places(body):
            break
    assert await post(client, path, encode(body)) in (200, 400)


def deep(depth: int, inner: str = "1") -> bytes:
    """A body of Graph with a value of unknown meaning that is so deep."""
    value = "[" * depth + inner + "]" * depth
    return f'{{"entry":[{{"changes":[{{"field":"account_update","value":{value}}}]}}]}}'.encode()


@pytest.mark.parametrize("depth", [10, 500, 900, 960, 980, 1_000, 5_000, 1_000_000])
async def test_a_body_of_any_depth_is_answered(client: httpx.AsyncClient, depth: int) -> None:
    assert await post(client, "graph/weekly", deep(depth)) in (200, 400)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"entry":[],"entry":7}', 400),  # of keys that stand twice the last one counts
        (b'{"entry":[{"changes":[{"field":"messages","value":NaN}]}]}', 200),
        (b'{"entry":[' + b"{}," * 100_000 + b"{}]}", 200),
        (b'{"entry":' + b"9" * 5_000 + b"}", 400),
        (b'\xef\xbb\xbf{"entry":[]}', 200),
        ('{"entry":[]}'.encode("utf-16"), 200),
        (b'{"entry":[]}\0', 400),
        (b'{"entry":["\\ud800","\xed\xa0\x80"]}', 200),
        (gzip.compress(b'{"entry":[]}'), 400),
    ],
    ids=[
        "keys twice",
        "NaN",
        "100,000 entries",
        "a huge number",
        "a BOM",
        "UTF-16",
        "a NUL",
        "half a surrogate",
        "gzip",
    ],
)
async def test_odd_json_is_answered(client: httpx.AsyncClient, raw: bytes, code: int) -> None:
    assert await post(client, "graph/weekly", raw, **{"Content-Encoding": "gzip"}) == code


async def test_ten_thousand_statuses_are_taken(client: httpx.AsyncClient) -> None:
    raw = graph_body(statuses=[status(f"wamid.many{n}", "read") for n in range(10_000)])
    assert await post(client, "graph/weekly", raw) == 200


async def test_another_accounts_id_is_taken_for_that_account_and_moves_nothing_of_ours(tmp_path: Path) -> None:
    url = str(tmp_path / "ledger.db")
    app = create_app(SENDERS, ledger=Ledger(url=SecretStr(url)), events=False, moved=None)
    transport = httpx.ASGITransport(app=app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        for account in ("999", "9" * 300, "\ud800", "graph:x"):
            assert await post(client, "graph/weekly", graph_body(account, statuses=[status("wamid.1")])) == 200
        other = encode({**CHAT_API, "instanceId": "99"})
        assert await post(client, "chat-api/main", other) == 400
        async with LedgerStore.open(url) as store:
            assert await store.receipts.parked() == 4


async def test_what_people_wrote_is_not_kept_where_a_field_is_unknown_or_misshapen(tmp_path: Path) -> None:
    url, text = str(tmp_path / "ledger.db"), "canary-text"
    app = create_app(SENDERS, ledger=Ledger(url=SecretStr(url)), events=False, moved=None)
    transport = httpx.ASGITransport(app=app)
    echo = {"message_echoes": [{"to": PERSON, "type": "text", "text": {"body": text}}]}
    values = {
        "smb_message_echoes": echo,
        "history": {"history": [{"text": text}]},
        "messages": {"messages": {"a": text}},
    }
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        for field, value in values.items():
            raw = encode({"entry": [{"changes": [{"field": field, "value": value}]}]})
            assert await post(client, "graph/weekly", raw) == 200
        assert await post(client, "waha/office", encode({"event": "poll.vote", "payload": {"text": text}})) == 200
    assert not any(
        text.encode() in file.read_bytes() for file in await asyncio.to_thread(lambda: [*tmp_path.iterdir()])
    )
