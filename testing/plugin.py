"""The fixtures."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..providers.registry import providers
from ..sandbox.sender import sandbox_sender
from ..sandbox.server import RunningSandbox

if TYPE_CHECKING:
    from ..blocks import Ledger
    from ..receipts.running import RunningReceiver

SAVED_AS = "sandbox"


@pytest.fixture(autouse=True)
def whatsapp_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Ledger":
    """An empty ledger in the test's folder; it is also the one that flows of this test use where they name none.

    Used by every test by itself.

    Example:
        >>> async def test_nobody_is_left(whatsapp_ledger):
        ...     async with whatsapp_ledger.open() as store:
        ...         assert not await store.broadcasts()
    """
    from ..blocks import Ledger

    url = str(tmp_path / "whatsapp-ledger.db")
    monkeypatch.setenv("PREFECT_WHATSAPP_LEDGER", url)
    return Ledger.model_validate({"url": url, "patience_seconds": 5})


@pytest.fixture(scope="session")
def whatsapp_services() -> Iterator[RunningSandbox]:
    """The process of the simulated services; `whatsapp_sandbox` is what a test asks for."""
    with RunningSandbox() as services:
        yield services


@pytest.fixture
def whatsapp_sandbox(whatsapp_services: RunningSandbox) -> Iterator[RunningSandbox]:
    """The simulated services: one process a test session, well-behaved and with an empty truth at each test's start.

    `faults(kind="drop", accepted=True)` makes them misbehave, `truth()` says what arrived, `behave()` ends all faults.

    Example:
        >>> def test_an_answer_that_is_lost(whatsapp_sandbox, whatsapp_sender):
        ...     whatsapp_sandbox.faults(kind="drop", accepted=True, times=1)
        ...     report = asyncio.run(my_broadcast(whatsapp_sender("waha")))
        ...     assert report.unknown == 1
    """
    whatsapp_services.reset()
    yield whatsapp_services
    whatsapp_services.behave()


@pytest.fixture
def whatsapp_sender(whatsapp_sandbox: RunningSandbox) -> Callable[..., Any]:
    """A function that makes the block of an account in the sandbox, unpaced: `whatsapp_sender("waha")`.

    More of the block's fields are taken by name: `whatsapp_sender("graph", messages_per_second=20)`.
    """

    def make(provider: str = "graph", **fields: Any) -> Any:
        return sandbox_sender(provider, whatsapp_sandbox.url, **fields)

    return make


@pytest.fixture
def whatsapp_receiver(
    whatsapp_sandbox: RunningSandbox, whatsapp_sender: Callable[..., Any], whatsapp_ledger: "Ledger"
) -> Iterator["RunningReceiver"]:
    """A receiver of the services' webhooks, into the test's ledger; the sandbox posts to it.

    The phones are switched off until a test says what they do: `whatsapp_sandbox.phones(does="read")`.

    Example:
        >>> def test_what_fails_late_is_named(whatsapp_sandbox, whatsapp_receiver, whatsapp_sender):
        ...     whatsapp_sandbox.phones(does="failed", code=131026, recipients=["+16505550111"])
        ...     report = asyncio.run(my_broadcast(whatsapp_sender("graph"), wait_for_receipts=1))
        ...     assert report.failed == 1
    """
    from ..receipts.running import RunningReceiver
    from ..sandbox.webhooks import services_that_post

    senders = {f"{provider}/{SAVED_AS}": whatsapp_sender(provider) for provider in services_that_post()}
    with RunningReceiver(senders, ledger=whatsapp_ledger) as receiver:
        whatsapp_sandbox.receive_at(receiver.url, name=SAVED_AS)
        yield receiver
        whatsapp_sandbox.reset()  # before the receiver ends, so that nothing is posted to nobody


@pytest.fixture
def whatsapp_blocks(whatsapp_sender: Callable[..., Any], whatsapp_ledger: "Ledger") -> str:
    """Blocks of all services and of the test's ledger, saved at the current Prefect API.

    Returns:
        The name under which each is saved, `sandbox`: `GraphCredentials.load("sandbox")`, `Ledger.load("sandbox")`.
    """
    for provider in providers():
        whatsapp_sender(provider).save(SAVED_AS, overwrite=True)
    whatsapp_ledger.save(SAVED_AS, overwrite=True)
    return SAVED_AS
