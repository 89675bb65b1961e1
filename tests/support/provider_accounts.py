"""One sending account of each provider, with secrets that are easy to find again, and both drivers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import httpx
from prefect_whatsapp.models import Contact, Receipt, Recipient
from prefect_whatsapp.models.errors import ProviderError, WhatsAppError
from prefect_whatsapp.providers.chat_api import ChatApi
from prefect_whatsapp.providers.dialect import AccountStatus, Attachment, Dialect
from prefect_whatsapp.providers.graph import Graph
from prefect_whatsapp.providers.http_types import Exchange
from prefect_whatsapp.providers.transport import AsyncClient, Client
from prefect_whatsapp.providers.waha import Waha
from prefect_whatsapp.providers.wawp import Wawp

T = TypeVar("T")
Driver = Literal["sync", "async"]

CANARY = "CANARYsecret"
TOKEN = f"{CANARY}+/=&%41'~"  # what a URL would have to spell otherwise
PHONE = "16505550123"
TO = Recipient(to=f"+{PHONE}")
CARD = Contact(name="Ada Byron", phone="+16505550199")


@dataclass(frozen=True)
class Answer:
    """One HTTP answer; `body` is bytes, or anything that JSON can spell; `source` says who recorded or documents it."""

    status: int
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    source: str = ""

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    def response(self) -> httpx.Response:
        """A new httpx response of it."""
        return httpx.Response(self.status, headers=dict(self.headers), content=self.content)


@dataclass(frozen=True)
class Account:
    """How one provider is called in tests."""

    name: str
    dialect_at: Callable[[str], Dialect]
    audio: Attachment
    accepted: Answer

    def dialect(self, base_url: str = "https://service.test") -> Dialect:
        """Its dialect, at a base URL."""
        return self.dialect_at(base_url)

    def voice(self, dialect: Dialect) -> Exchange[Receipt]:
        """Send a voice note to somebody."""
        return dialect.send_audio(self.audio, TO)

    def card(self, dialect: Dialect) -> Exchange[Receipt]:
        """Send a contact card to somebody."""
        return dialect.send_contacts([CARD], TO)

    def check(self, dialect: Dialect) -> Exchange[AccountStatus]:
        """Ask whether the account can send."""
        return dialect.check()


MESSAGE_ID = f"true_{PHONE}@c.us_3EB0C767D097B7C7C2AB"
INLINE = Attachment(base64="T2dnUw==")
LINK = Attachment(link="https://bucket.test/voice.ogg?X-Amz-Signature=abc")

ACCOUNTS = {
    account.name: account
    for account in (
        Account(
            "graph",
            lambda url: Graph(phone_number_id="100000000000001", access_token=TOKEN, base_url=url),
            Attachment(media_id="1013859600285441"),
            Answer(
                200,
                {
                    "messaging_product": "whatsapp",
                    "contacts": [{"input": f"+{PHONE}", "wa_id": PHONE}],
                    "messages": [{"id": "wamid.HBgLMTY1MDU1NTAxMjM"}],
                },
            ),
        ),
        Account(
            "chat-api",
            lambda url: ChatApi(instance_id="12345", token=TOKEN, base_url=url),
            INLINE,
            Answer(
                200, {"sent": True, "message": f"Sent to {PHONE}@c.us", "id": f"true_{MESSAGE_ID}", "queueNumber": 2223}
            ),
        ),
        Account(
            "wawp",
            lambda url: Wawp(instance_id="ABC123", access_token=TOKEN, base_url=url),
            LINK,
            Answer(200, {"_data": {"id": {"_serialized": MESSAGE_ID}}, "ack": 0}),
        ),
        Account(
            "waha",
            lambda url: Waha(api_key=TOKEN, base_url=url),
            INLINE,
            Answer(201, {"id": MESSAGE_ID, "timestamp": 1700000000}),
        ),
    )
}


async def drive(
    driver: Driver,
    dialect: Dialect,
    exchange: Exchange[T],
    *,
    transport: httpx.MockTransport | None = None,
    timeout: float = 5.0,
) -> T:
    """Run an exchange with one of the two drivers, over a mock or, without one, over the network."""
    if driver == "sync":
        with Client(dialect, transport=transport, timeout=timeout) as client:
            return client.run(exchange)
    async with AsyncClient(dialect, transport=transport, timeout=timeout) as client:
        return await client.run(exchange)


async def outcome(driver: Driver, dialect: Dialect, exchange: Exchange[Any], answer: Answer) -> Any:
    """Run an exchange against one answer; what comes back, or the error that is raised."""
    transport = httpx.MockTransport(lambda _: answer.response())
    try:
        return await drive(driver, dialect, exchange, transport=transport)
    except WhatsAppError as error:
        return error


async def both(dialect: Dialect, exchange: Callable[[], Exchange[Any]], answer: Answer) -> Any:
    """Run an exchange with both drivers, insist that they agree, and give what came of it."""
    sync, aio = [await outcome(driver, dialect, exchange(), answer) for driver in ("sync", "async")]
    assert type(sync) is type(aio)
    if isinstance(sync, WhatsAppError):
        assert vars(sync) == vars(aio)
    else:
        assert sync == aio
        assert getattr(sync, "raw", None) == getattr(aio, "raw", None)
    return sync


def refusal(error: object) -> tuple[str, str]:
    """Name and kind of an error, to compare with."""
    return type(error).__name__, error.kind if isinstance(error, ProviderError) else ""


class Recorder(httpx.MockTransport):
    """Answers alike each time and keeps the requests."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[httpx.Request] = []
        super().__init__(self._keep)
        self._answer = answer

    def _keep(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._answer.response()

    @property
    def body(self) -> Any:
        """The last request's JSON."""
        return json.loads(self.requests[-1].content)
