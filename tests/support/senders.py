"""The sandbox's accounts as blocks."""

from typing import Any

from prefect_whatsapp.providers.registry import providers
from prefect_whatsapp.sandbox.sender import sandbox_sender
from prefect_whatsapp.sandbox.settings import SandboxSettings

PROVIDERS = tuple(providers())
_SETTINGS = SandboxSettings()
# Each block's field for the credential.
TOKEN_FIELD = {
    name: next(field for field, value in account.items() if value == _SETTINGS.token)
    for name, account in ((name, each.load_simulator().account(_SETTINGS)) for name, each in providers().items())
}


def sender_of(provider: str, url: str, **fields: Any) -> Any:
    """The provider's block for the sandbox at this address, unpaced."""
    return sandbox_sender(provider, url, **fields)
