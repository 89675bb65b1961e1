"""At DEBUG the libraries that are called write down neither rows nor what opens something; tracebacks with locals neither."""

import asyncio
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.config import Config
from prefect_whatsapp.blocks import ChatApiCredentials, GraphCredentials, Ledger, WahaCredentials, WawpCredentials
from prefect_whatsapp.ledger import LedgerStore, Outcome, RemovedRow
from prefect_whatsapp.models import Contact, Recipient, SendState
from prefect_whatsapp.models.errors import WhatsAppError
from prefect_whatsapp.models.logs import redact
from prefect_whatsapp.sandbox.server import RunningSandbox
from pydantic import SecretStr
from rich.console import Console
from rich.traceback import Traceback
from senders import PROVIDERS, TOKEN_FIELD, sender_of
from web_server import Handler, WebServer

NUMBER, NAME, TOKEN = "+19875550104", "CANARYname", "CANARYtoken"
CANARIES = (NUMBER[1:], NAME, TOKEN)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """All that any logger says at DEBUG."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    root = logging.getLogger()
    loggers = [
        root,
        *(logging.getLogger(name) for name in ("sqlalchemy", "botocore", "boto3", "httpx", "httpcore", "urllib3")),
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield stream
    root.removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def clean(text: str) -> bool:
    """Whether no canary is in it."""
    return not [canary for canary in CANARIES if canary in text]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_the_databases_logs_hold_no_row(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, written: io.StringIO
) -> None:
    url = str(tmp_path / "ledger.db") if kind == "sqlite" else request.getfixturevalue("postgres").empty_database()
    async with LedgerStore.open(url) as store:
        record = await store.start_broadcast("b", kind="audio", provider="graph", account="1", content="c")
        await store.plan(record, [Recipient(to=NUMBER, name=NAME)])
        await store.remove(record, [RemovedRow(3, NAME, "no number")])
        async with store.join(record) as lease:
            (row,) = await lease.take(1)
            await lease.claim(row)
            await lease.settle(row, Outcome(SendState.FAILED, error_text=NAME))
        assert [row.recipient async for row in store.rows(record)] == [NUMBER]
        assert [row.value async for row in store.removed_rows(record)] == [NAME]
    said = written.getvalue()
    assert ("aiosqlite: executing" in said) is (kind == "sqlite")
    assert "sqlalchemy.engine" in said
    assert clean(said)


def test_botos_logs_hold_neither_signature_nor_credential(s3_url: str, written: io.StringIO) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id="CANARYtokenid",
        aws_secret_access_key=TOKEN,
        aws_session_token=TOKEN,
        config=Config(signature_version="s3v4"),
    )
    client.create_bucket(Bucket="logs")
    client.put_object(Bucket="logs", Key="key.ogg", Body=b"x")
    link = client.generate_presigned_url("get_object", {"Bucket": "logs", "Key": "key.ogg"})
    httpx.get(link)
    said = written.getvalue()
    signature = link.rpartition("Signature=")[2].partition("&")[0]
    assert len(signature) == 64
    assert "botocore" in said
    assert signature not in said
    assert clean(said)


def test_a_redirects_signed_link_is_not_logged(written: io.StringIO) -> None:
    class Redirect(Handler):
        def do_GET(self) -> None:
            self.say(302 if self.path == "/" else 200, Location=f"/next?X-Amz-Signature={TOKEN}&token={TOKEN}")

    with WebServer(Redirect) as server:
        httpx.get(server.url, follow_redirects=True, trust_env=False)
    assert "httpcore.http11: receive_response_headers.complete" in written.getvalue()
    assert "HTTP Request: GET" in written.getvalue()
    assert clean(written.getvalue())


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_asyncios_debug_mode_shows_neither_a_token_nor_a_number(
    provider: str, sandbox: RunningSandbox, tmp_path: Path, written: io.StringIO
) -> None:
    """It logs each callback that takes long, with its arguments."""
    sender, person = (
        sender_of(provider, sandbox.url, **{TOKEN_FIELD[provider]: SecretStr(TOKEN)}),
        Recipient(to=NUMBER, name=NAME),
    )
    loop = asyncio.get_running_loop()
    loop.slow_callback_duration = 0
    loop.set_debug(True)
    try:
        async with LedgerStore.open(str(tmp_path / "ledger.db")) as store, sender.get_async_client() as client:
            record = await store.start_broadcast("b", kind="audio", provider="graph", account="1", content="c")
            await store.plan(record, [person])
            with pytest.raises(WhatsAppError):
                await client.run(client.dialect.send_contacts([Contact(name="Ada", phone=NUMBER)], person))
    finally:
        loop.set_debug(False)
    said = written.getvalue()
    assert "asyncio: Executing" in said
    assert clean(said), [line for line in said.splitlines() if not clean(line)]


@pytest.mark.parametrize(
    "line",
    [
        f"https://u:{TOKEN}@host/x",
        f"https://host/x?token={TOKEN}",
        f"Authorization: Bearer {TOKEN}",
        f"{{'Authorization': b'AWS4-HMAC-SHA256 Credential={TOKEN}/20261121, Signature={TOKEN}'}}",
        f"[(b'Location', b'https://host/{TOKEN}')]",
        f"X-Amz-Security-Token={TOKEN}&x=1",
        f'"access_token": "{TOKEN}"',
        "%2B19875550104",
    ],
)
def test_what_opens_something_is_taken_out_of_a_line(line: str) -> None:
    assert clean(redact(line))
    assert "…" in redact(line)


def test_an_ordinary_line_stays_as_it_is() -> None:
    line = "HTTP Request: POST https://graph.facebook.com/v25.0/1/messages 'HTTP/1.1 200 OK'"
    assert redact(line) == line


async def test_a_traceback_with_locals_shows_no_credential_and_no_row(tmp_path: Path) -> None:
    secret = SecretStr(TOKEN)
    senders = (
        GraphCredentials(access_token=secret, phone_number_id="1"),
        ChatApiCredentials(base_url="https://h.example", instance_id="1", token=secret),
        WawpCredentials(instance_id="1", access_token=secret),
        WahaCredentials(base_url="https://h.example", api_key=secret),
    )

    async def fail() -> None:
        blocks = (*senders, Ledger(url=SecretStr(f"postgresql://pack:{TOKEN}@db.example/book")))
        dialects = [sender.dialect() for sender in senders]
        person, card = Recipient(to=NUMBER, name=NAME), Contact(name="Ada", phone=NUMBER)
        requests = [next(dialect.send_contacts([card], person)) for dialect in dialects]
        async with LedgerStore.open(str(tmp_path / "ledger.db")) as store:
            record = await store.start_broadcast("b", kind="audio", provider="graph", account="1", content="c")
            await store.plan(record, [person])
            rows = [row async for row in store.rows(record)]
            removed = RemovedRow(3, NAME, "no number")
            raise RuntimeError(len((blocks, requests, rows, removed)))

    stream = io.StringIO()
    try:
        await fail()
    except RuntimeError as failure:
        shown = Traceback.from_exception(
            type(failure),
            failure,
            failure.__traceback__,
            show_locals=True,
            locals_max_string=None,
            locals_max_length=None,
        )
        Console(file=stream, width=400).print(shown)
    said = stream.getvalue()
    assert "GraphCredentials" in said
    assert "rows" in said
    assert clean(said), [line for line in said.splitlines() if not clean(line)]
