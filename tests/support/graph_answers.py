"""Graph's answers, and an account of it whose token and recipient nobody may see."""

import logging
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from prefect_whatsapp.models import Recipient
from prefect_whatsapp.models.errors import ProviderError
from prefect_whatsapp.providers.dialect import Attachment
from prefect_whatsapp.providers.graph import Graph
from prefect_whatsapp.providers.http_types import Exchange
from prefect_whatsapp.providers.transport import AsyncClient, Client
from sandbox_server import audio_of

TOKEN = "EAAcanaryTokenThatNobodyMaySee"
NUMBER_ID = "100000000000001"
GRAPH = Graph(phone_number_id=NUMBER_ID, access_token=TOKEN, base_url="https://graph.test")
PHONE = Recipient(to="+16505550123")
VOICE = Attachment(media_id="1013859600285441")
NOTE = audio_of(b"OggS")

Run = Callable[[Exchange[Any], httpx.Response], Awaitable[Any]]


def running(driver: str, caplog: pytest.LogCaptureFixture) -> Run:
    """Runs an exchange against one answer; the log at DEBUG is searched for the token and the number.

    Args:
        driver: `sync` or `async`.
        caplog: Of the test.
    """
    caplog.set_level(logging.DEBUG)

    async def driven(exchange: Exchange[Any], answer: httpx.Response) -> Any:
        def handle(sent: httpx.Request) -> httpx.Response:
            assert sent.headers["authorization"] == f"Bearer {TOKEN}"
            return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

        transport = httpx.MockTransport(handle)
        try:
            if driver == "sync":
                with Client(GRAPH, transport=transport) as client:
                    return client.run(exchange)
            async with AsyncClient(GRAPH, transport=transport) as aclient:
                return await aclient.run(exchange)
        finally:
            assert TOKEN not in caplog.text
            assert "16505550123" not in caplog.text

    return driven


def clean(error: ProviderError) -> ProviderError:
    """The error as it comes out of a pickle, once neither form holds the token or a whole number."""
    pickled = pickle.dumps(error)
    again = pickle.loads(pickled)
    for shown in (str(error), repr(error), repr(error.__dict__), pickled.decode("latin-1"), repr(again)):
        assert TOKEN not in shown
        assert "16505550123" not in shown
    assert type(again) is type(error)
    assert again.__dict__ == error.__dict__
    assert isinstance(again, ProviderError)
    return again


def error_answer(
    code: int,
    status: int = 400,
    *,
    details: str = "Words of Graph.",
    headers: dict[str, str] | None = None,
    **more: Any,
) -> httpx.Response:
    error = {
        "message": f"(#{code}) Title",
        "type": "OAuthException",
        "code": code,
        "error_data": {"messaging_product": "whatsapp", "details": details},
        "fbtrace_id": "Az8or2yhqkZfEZ",
    }
    return httpx.Response(status, json={"error": error | more}, headers=headers)
