"""What a flow under test needs: an account in the sandbox, audio, a ledger of its own."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox
from senders import sender_of

_names = itertools.count(1)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """An empty ledger."""
    return Ledger(url=str(tmp_path / "ledger.db"), patience_seconds=5)


@pytest.fixture
def graph(sandbox: RunningSandbox) -> Any:
    """The sandbox's Graph account."""
    return sender_of("graph", sandbox.url)


@pytest.fixture
def broadcast_arguments(ledger: Ledger, graph: Any, audio_samples: Path) -> Callable[..., dict[str, Any]]:
    """Arguments of `broadcast_audio` for so many recipients, each overridable."""

    def arguments(count: int = 5, **others: Any) -> dict[str, Any]:
        return {
            "broadcast": f"test-{next(_names)}",
            "sender": graph,
            "audio": str(audio_samples / "speech_cover.mp3"),
            "recipients": [*sample_numbers(count)],
            "ledger": ledger,
            **others,
        }

    return arguments
