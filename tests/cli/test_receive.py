"""`prefect-whatsapp receive`: saved accounts, on this machine alone, until it is told to end."""

import asyncio
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from prefect_whatsapp.blocks import ChatApiCredentials, GraphCredentials
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.sandbox.processes import free_port
from pydantic import SecretStr

pytestmark = [pytest.mark.ci, pytest.mark.server]


@pytest.fixture
async def api(prefect_api: str) -> str:
    """A Prefect server with two saved accounts."""
    graph = GraphCredentials(
        phone_number_id="106540", app_secret=SecretStr("older newer"), verify_token=SecretStr("hello")
    )
    await graph.asave("receive-test", overwrite=True)
    chat_api = ChatApiCredentials(
        base_url="https://api.example.com", instance_id="12345", webhook_secret=SecretStr("in-the-path")
    )
    await chat_api.asave("receive-test", overwrite=True)
    return prefect_api


def healthy(client: httpx.Client, process: subprocess.Popen[str]) -> httpx.Response:
    """Wait until it answers."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            return client.get("/health")
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the receiver did not start")


def test_saved_accounts_are_received_for_until_it_is_told_to_end(api: str, tmp_path: Path) -> None:
    port, ledger = free_port(), str(tmp_path / "ledger.db")
    url = f"http://127.0.0.1:{port}"
    accounts = ("graph/receive-test", "chat-api/receive-test")
    options = ("--port", str(port), "--ledger", ledger, "--stop-word", "no gracias")
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect_whatsapp.cli", "receive", *accounts, *options],
        env=os.environ | {"PREFECT_API_URL": api},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            assert healthy(client, process).json() == {"status": "ok", "accounts": sorted(accounts)}
            query = {"hub.mode": "subscribe", "hub.verify_token": "hello", "hub.challenge": "42"}
            assert client.get("/graph/receive-test", params=query).text == "42"
            message = {"from": "16505550123", "id": "wamid.1", "timestamp": "1789000000", "type": "text"}
            value = {"messages": [message | {"text": {"body": "No gracias"}}]}
            body = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()
            for secret, code in ((b"older", 200), (b"newer", 200), (b"wrong", 401)):
                headers = {"X-Hub-Signature-256": "sha256=" + hmac.new(secret, body, "sha256").hexdigest()}
                assert client.post("/graph/receive-test", content=body, headers=headers).status_code == code
            ack = {"instanceId": "12345", "ack": [{"id": "true_1@c.us_3EB0", "status": "viewed"}]}
            assert client.post("/chat-api/receive-test/in-the-path", json=ack).status_code == 200
            assert client.post("/chat-api/receive-test/in-the-road", json=ack).status_code == 401
            assert client.post("/graph/receive-test", content=b"x" * (5 << 20)).status_code == 413
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert process.returncode in (0, -signal.SIGTERM)
    assert out.splitlines() == [f"{url}/{account}" for account in accounts]
    assert err.count("was refused") == 2
    assert not any(secret in err for secret in ("in-the", "16505550123", "gracias", "Traceback"))
    assert asyncio.run(_stored(ledger)) == (1, {"+16505550123"})


async def _stored(ledger: str) -> tuple[int, set[str]]:
    async with LedgerStore.open(ledger) as store:
        return await store.receipts.parked(), await store.people.opted_out(["+16505550123"])
