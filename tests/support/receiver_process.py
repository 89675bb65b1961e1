"""A receiver in a process of its own: `python receiver_process.py PORT LEDGER`; and a client that posts to it.

Its accounts and their secrets are the same for all tests. The process says nothing of Prefect: no events, no reports.
"""

import asyncio
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from prefect_whatsapp.blocks import ChatApiCredentials, GraphCredentials, Ledger, WahaCredentials, WawpCredentials
from prefect_whatsapp.sandbox.processes import free_port
from pydantic import SecretStr

ACCOUNT = "100000000000001"  # the sandbox's
SECRET = "receiver-test"
SENDERS = {
    "graph/weekly": GraphCredentials(
        phone_number_id=ACCOUNT, app_secret=SecretStr(f"older {SECRET}"), verify_token=SecretStr("hello")
    ),
    "waha/office": WahaCredentials(webhook_hmac_key=SecretStr(SECRET)),
    "wawp/one": WawpCredentials(instance_id="ABC", webhook_secret=SecretStr(SECRET), webhook_header="X-Wawp-Signature"),
    "chat-api/main": ChatApiCredentials(instance_id="12345", webhook_secret=SecretStr(SECRET)),
}


def status(message_id: str, state: str = "delivered", **more: Any) -> dict[str, Any]:
    """One status of Graph."""
    return {"id": message_id, "status": state, "timestamp": "1789000000", **more}


def graph_body(account: str = ACCOUNT, **value: Any) -> bytes:
    """A body of Graph with these lists."""
    value = {"metadata": {"phone_number_id": account}, **value}
    change = {"field": "messages", "value": value}
    return json.dumps({"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}).encode()


def stop_of(recipient: str, at: float) -> dict[str, Any]:
    """A person's STOP."""
    who = recipient.removeprefix("+")
    return {"from": who, "id": f"wamid.stop{who}", "timestamp": str(int(at)), "type": "text", "text": {"body": "STOP"}}


def signature(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Graph's header."""
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()}


class ReceiverProcess:
    """A receiver for as long as the `with` lasts; it can be killed and started again on the same port.

    Args:
        ledger: The ledger's address.
        folder: For its log.
    """

    def __init__(self, ledger: str, folder: Path) -> None:
        self.port, self._ledger, self.log = free_port(), ledger, folder / "receiver.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.kill()

    def start(self) -> None:
        """Start it and wait until it takes webhooks."""
        environment = {**os.environ, "RECEIVER_LEDGER": self._ledger}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(self.port)], env=environment, stdout=log, stderr=log
            )
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/health", trust_env=False, timeout=10).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the receiver did not start: {self.said()}")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End it by a signal; its exit status."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(30)

    def said(self) -> str:
        """What it wrote on its terminal."""
        return self.log.read_text(errors="replace")


async def post_all(url: str, bodies: Iterable[bytes], *, at_once: int = 16) -> list[int]:
    """Post bodies to `/graph/weekly`, signed; the answers' status codes, 0 where there was none."""
    limit = asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60, limits=limits) as client:

        async def post(body: bytes) -> int:
            async with limit:
                try:
                    return (await client.post("/graph/weekly", content=body, headers=signature(body))).status_code
                except httpx.TransportError:
                    return 0

        return await asyncio.gather(*(post(body) for body in bodies))


def main() -> None:
    """Serve until told to end."""
    from prefect_whatsapp.cli.receive import serve
    from prefect_whatsapp.receipts import create_app

    ledger = Ledger(url=SecretStr(os.environ["RECEIVER_LEDGER"]))
    serve(create_app(SENDERS, ledger=ledger, events=False, moved=None), host="127.0.0.1", port=int(sys.argv[1]))


if __name__ == "__main__":
    main()
