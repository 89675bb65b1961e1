"""A sandbox in a thread, and what is sent to it."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect_whatsapp.providers.dialect import Attachment, Dialect
from prefect_whatsapp.providers.graph import Graph
from prefect_whatsapp.providers.http_types import Exchange
from prefect_whatsapp.providers.transport import AsyncClient, Client
from prefect_whatsapp.sandbox.server import ThreadedSandbox
from sandbox_server import PHONE_NUMBER_ID, TOKEN, FileHost, Run, audio_of, threaded
from senders import PROVIDERS, sender_of


@pytest.fixture(scope="session")
def _simulator() -> Iterator[ThreadedSandbox]:
    with threaded() as running:
        yield running


@pytest.fixture
def simulator(_simulator: ThreadedSandbox) -> ThreadedSandbox:
    """A sandbox that behaves and has seen nothing."""
    _simulator.reset()
    return _simulator


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run an exchange in each driver over real connections."""

    async def driven(dialect: Dialect, exchange: Exchange[Any]) -> Any:
        if request.param == "sync":
            with Client(dialect, timeout=10) as client:
                return client.run(exchange)
        async with AsyncClient(dialect, timeout=10) as aclient:
            return await aclient.run(exchange)

    return driven


@pytest.fixture(scope="session")
def audio_folder() -> Path:
    """Where the sample audio lies."""
    return Path(__file__).parents[1] / "data" / "audio"


@pytest.fixture
def voice_note(audio_folder: Path) -> bytes:
    """A good voice note."""
    return (audio_folder / "speech_voice.ogg").read_bytes()


@pytest.fixture
def files() -> Iterator[FileHost]:
    """A web server of files."""
    with FileHost() as host:
        yield host


@pytest.fixture
def graph(simulator: ThreadedSandbox) -> Graph:
    """The dialect of the sandbox's Graph."""
    return Graph(phone_number_id=PHONE_NUMBER_ID, access_token=TOKEN, base_url=simulator.graph_url)


@pytest.fixture(params=PROVIDERS)
def dialect(request: pytest.FixtureRequest, simulator: ThreadedSandbox) -> Dialect:
    """Each service's dialect."""
    made: Dialect = sender_of(request.param, simulator.url).dialect()
    return made


@pytest.fixture
def attach(voice_note: bytes) -> Callable[[Dialect], Attachment]:
    """The voice note in the form that a service takes; to Graph it is uploaded."""

    def attached(dialect: Dialect) -> Attachment:
        if dialect.carries_audio == "media id":
            with Client(dialect) as client:
                return Attachment(media_id=client.run(dialect.upload(audio_of(voice_note), voice_note)))
        if dialect.carries_audio == "link":
            return Attachment(link="https://example.org/voice.ogg")
        return Attachment(base64=base64.b64encode(voice_note).decode())

    return attached


@pytest.fixture
def http(simulator: ThreadedSandbox) -> Iterator[httpx.Client]:
    """A plain client with Graph's token."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=simulator.url, headers=headers, trust_env=False) as client:
        yield client
