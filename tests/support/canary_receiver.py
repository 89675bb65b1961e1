"""A receiver of webhooks full of canaries: replies with names and texts, statuses, wrong signatures; also without a ledger."""

import asyncio
import hmac
import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.receipts import create_app
from prefect_whatsapp.sandbox.processes import free_port
from pydantic import SecretStr
from senders import PROVIDERS, sender_of

NAME, TEXT = "Canaria Namenson", "what the canary sang"
FIELD = {"graph": "app_secret", "waha": "webhook_hmac_key", "wawp": "webhook_secret", "chat-api": "webhook_secret"}

MORE = {"wawp": {"webhook_header": ""}}  # its secret in the path, which is more to keep


async def receive(setup: dict[str, Any], tell: Callable[[str], None]) -> None:
    """Run a receiver for the four accounts and post to it; what was answered is told."""
    secret = setup["webhook_secret"]
    senders = {}
    for provider in PROVIDERS:
        fields = {FIELD[provider]: SecretStr(secret), **MORE.get(provider, {})}
        senders[f"{provider}/canary"] = sender_of(provider, setup["sandbox"], **fields)
    numbers = (await asyncio.to_thread(Path(setup["numbers"]).read_text)).split()
    posts: list[tuple[str, bytes, dict[str, str]]] = []
    for ledger in (setup["ledger"], *setup["postgres"], str(Path(setup["ledger"]) / "no-folder.db")):
        if not ledger.endswith("no-folder.db"):
            posts = await _posts(ledger, senders, numbers, secret)
        app = create_app(senders, ledger=Ledger(url=SecretStr(ledger)))
        config = uvicorn.Config(app, port=free_port(), log_level="debug", access_log=False, log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.05)
        for path, body, headers in posts:
            code = await asyncio.to_thread(_post, config.port, path, body, headers)
            tell(f"receiver {path.split('/')[1]}: {code}")
        server.should_exit = True
        await serving


async def _posts(
    ledger: str, senders: dict[str, Any], numbers: list[str], secret: str
) -> list[tuple[str, bytes, dict[str, str]]]:
    async with LedgerStore.open(ledger) as store:
        record = await store.find_broadcast("graph-audio")
        assert record
        rows = [row async for row in store.rows(record)]
    error = {"code": 131026, "error_data": {"details": f"{numbers[0]} can't be reached"}}
    value = {
        "metadata": {"phone_number_id": senders["graph/canary"].phone_number_id},
        "contacts": [{"profile": {"name": NAME}, "wa_id": numbers[1][1:]}],
        "statuses": [
            {
                "id": row.message_id,
                "status": "failed" if place % 3 == 0 else "read",
                "timestamp": str(int(time.time())),
                "recipient_id": row.recipient[1:],
                **({"errors": [error]} if place % 3 == 0 else {}),
            }
            for place, row in enumerate(rows)
        ],
        "messages": [
            {"from": number[1:], "id": f"wamid.in{place}", "timestamp": str(int(time.time())), "type": "text",
             "text": {"body": TEXT}, "context": {"id": rows[place].message_id}}
            for place, number in enumerate(numbers)
        ],
    }  # fmt: skip
    graph = {"entry": [{"changes": [{"field": "messages", "value": value}, {"field": "smb_message_echoes", "value": value},
                                    {"field": "account_update", "value": {"name": NAME, "phone": numbers[0]}}]}]}  # fmt: skip
    chat = f"{numbers[2][1:]}@c.us"
    message = {"event": "message", "session": "default", "payload": {"id": f"false_{chat}_3A", "from": chat, "body": TEXT,
               "fromMe": False, "timestamp": int(time.time()), "_data": {"notifyName": NAME}}}  # fmt: skip
    ack = {
        "event": "message.ack",
        "session": "default",
        "payload": {"id": f"true_{chat}_3EB0", "fromMe": True, "ack": -1},
    }
    instance = senders["chat-api/canary"].instance_id
    chat_api = {"instanceId": instance, "messages": [{"id": f"false_{chat}_3A", "fromMe": False, "chatId": chat,
                "author": chat, "senderName": NAME, "type": "chat", "body": TEXT, "time": int(time.time())}]}  # fmt: skip
    posts = []
    for path, bodies in (
        ("/graph/canary", [graph]),
        ("/waha/canary", [message, ack]),
        (f"/wawp/canary/{secret}", [message, ack]),
        (f"/chat-api/canary/{secret}", [chat_api]),
    ):
        for body in (*bodies, {"text": TEXT, "name": NAME, "from": numbers[0]}):
            raw = json.dumps(body).encode()
            sha256, sha512 = (
                hmac.new(secret.encode(), raw, algorithm).hexdigest() for algorithm in ("sha256", "sha512")
            )
            posts.append((path, raw, {"X-Hub-Signature-256": f"sha256={sha256}", "X-Webhook-Hmac": sha512}))
        wrong = path.replace(secret, f"{secret}-wrong")
        posts.append((wrong, raw, {"X-Hub-Signature-256": f"sha256={secret}", "X-Webhook-Hmac": secret}))
        posts.append((path, raw[:-1], posts[-2][2]))
    return posts


def _post(port: int, path: str, body: bytes, headers: dict[str, str]) -> int:
    """Post without a library that would log the address, whose secret is not ours to keep."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()
