"""The providers: the four of this package, and those of installed packages. Whatever lists providers asks here.

A package adds one by an entry point of the group `prefect_whatsapp.providers` that names a `Provider`; see
`ADDING_A_PROVIDER.md`.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any

from ..models.errors import InputError

ENTRY_POINTS = "prefect_whatsapp.providers"


@dataclass(frozen=True, slots=True)
class Provider:
    """One service, and where its code stands.

    Attributes:
        name: In receipts, the ledger, the command line and the sandbox's addresses, such as `chat-api`.
        title: For people, such as the tab of a form.
        block: `module:class` of its block, a `blocks.sender.Sender`.
        simulator: `module:class` of what stands in for it, a `sandbox.service.Service`; empty for none.
    """

    name: str
    title: str
    block: str
    simulator: str = ""

    def load_block(self) -> Any:
        """Import the block's class."""
        return resolve_name(self.block)

    def load_simulator(self) -> Any:
        """Import the simulator's class.

        Raises:
            InputError: There is none.
        """
        if not self.simulator:
            raise InputError(f"{self.name} has no simulator")
        return resolve_name(self.simulator)


_OF_THIS_PACKAGE = (
    Provider(
        "graph",
        "Meta Graph",
        "prefect_whatsapp.blocks.graph:GraphCredentials",
        "prefect_whatsapp.sandbox.graph:GraphService",
    ),
    Provider(
        "chat-api",
        "Chat-API",
        "prefect_whatsapp.blocks.chat_api:ChatApiCredentials",
        "prefect_whatsapp.sandbox.chat_api:ChatApiService",
    ),
    Provider(
        "wawp", "Wawp", "prefect_whatsapp.blocks.wawp:WawpCredentials", "prefect_whatsapp.sandbox.wawp:WawpService"
    ),
    Provider(
        "waha", "WAHA", "prefect_whatsapp.blocks.waha:WahaCredentials", "prefect_whatsapp.sandbox.waha:WahaService"
    ),
)


def is_built_in(name: str) -> bool:
    """Whether a provider is this package's own."""
    return any(provider.name == name for provider in _OF_THIS_PACKAGE)


@cache
def providers() -> Mapping[str, Provider]:
    """All providers by name: this package's first, then those of installed packages."""
    found = {provider.name: provider for provider in _OF_THIS_PACKAGE}
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            provider = entry.load()
        except Exception as failure:  # one package's fault doesn't take the others' broadcasts down
            logging.getLogger(__name__).warning(
                "The provider %s can't be used: %s can't be imported (%s).",
                entry.name,
                entry.value,
                type(failure).__name__,
            )
            continue
        found.setdefault(provider.name, provider)
    return found


def find_provider(name: str) -> Provider:
    """Give the provider of a name.

    Raises:
        InputError: There is none; the text lists those there are.

    Example:
        >>> find_provider("waha").title
        'WAHA'
    """
    if found := providers().get(name):
        return found
    raise InputError(f"there is no provider {name[:40]!r}; choose one of: {', '.join(providers())}")
