"""Each provider's account behind a tap on the sandbox, and audio in the form that it takes."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_HOME, temporary_settings
from prefect_whatsapp.models import Audio
from prefect_whatsapp.sandbox.s3 import bucket_block
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.sending import pair_pace
from prefect_whatsapp.tasks import upload_media
from senders import PROVIDERS, sender_of
from tap import Tap


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    """Each provider in turn."""
    return str(request.param)


@pytest.fixture
def tap(sandbox: RunningSandbox) -> Iterator[Tap]:
    """A tap on the line to the sandbox."""
    with Tap(sandbox.url) as line:
        yield line


@pytest.fixture
def sender(provider: str, tap: Tap) -> Any:
    """The provider's account, reached through the tap."""
    return sender_of(provider, tap.url)


@pytest.fixture(scope="session")
def storage(s3_url: str) -> Any:
    """A bucket in a local S3."""
    return bucket_block(s3_url, "tasks")


@pytest.fixture(scope="session")
def published(note: Audio, storage: Any) -> Audio:
    """The voice note behind a signed link, for a service that loads by link."""
    linked: Audio = upload_media.fn(note, sender_of("wawp", "http://127.0.0.1:9"), storage=storage)
    return linked


@pytest.fixture
def ready(provider: str, note: Audio, published: Audio, sender: Any, tap: Tap) -> Audio:
    """The voice note where the service takes it from."""
    if provider == "wawp":
        return published
    brought: Audio = upload_media.fn(note, sender)
    tap.taken()
    return brought


@pytest.fixture(autouse=True)
def prefect_home(tmp_path: Path) -> Iterator[Path]:
    """A home of the test's own, so that nothing is cached from before."""
    with temporary_settings({PREFECT_HOME: tmp_path / "prefect"}):
        yield tmp_path / "prefect"


@pytest.fixture(autouse=True)
def _no_pair_limit_from_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them send to one number: beyond Graph's burst each would wait for its turn."""
    monkeypatch.setattr(pair_pace, "_paces", {})


Outcomes = Callable[..., Any]


@pytest.fixture
def outcomes() -> Outcomes:
    """Run both forms of a task, and give what came of each: what it returned or raised."""

    async def both(sync: Any, aio: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        try:
            first = await asyncio.to_thread(sync.fn, *args, **kwargs)
        except Exception as error:
            first = error
        try:
            second = await aio.fn(*args, **kwargs)
        except Exception as error:
            second = error
        return first, second

    return both
