"""The sandbox's accounts as provider blocks."""

from typing import Any

from ..providers.registry import find_provider
from .settings import SandboxSettings


def sandbox_sender(provider: str, url: str, **fields: Any) -> Any:
    """The block of a provider's account in the sandbox, unpaced, for sending and for receiving its webhooks.

    Args:
        provider: Its name, such as `graph`.
        url: The sandbox's address.
        fields: More of the block's fields.

    Raises:
        InputError: There is no such provider.
    """
    found = find_provider(provider)
    block, account = found.load_block(), found.load_simulator().account(SandboxSettings())
    return block(**{"base_url": f"{url}/{provider}", **block.UNPACED, **account, **fields})
