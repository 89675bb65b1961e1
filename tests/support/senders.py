"""The sandbox's accounts as blocks."""

from typing import Any

from prefect_whatsapp.sandbox.sender import sandbox_sender

PROVIDERS = ("graph", "chat-api", "wawp", "waha")


def sender_of(provider: str, url: str, **fields: Any) -> Any:
    """The provider's block for the sandbox at this address, unpaced."""
    return sandbox_sender(provider, url, **fields)
