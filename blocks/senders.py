"""The block of each provider, and the field that takes any of them."""

import functools
import logging
import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..providers.registry import is_built_in, providers
from .sender import Sender

logger = logging.getLogger(__name__)


def sender_blocks() -> Mapping[str, type[Sender]]:
    """The blocks' classes by provider."""
    found: dict[str, type[Sender]] = {}
    for name, provider in providers().items():
        try:
            found[name] = provider.load_block()
        except Exception as failure:  # one package's fault doesn't take the others' broadcasts down
            if is_built_in(name):
                raise
            # Also where that package is imported first, and imports this one: it is there for whoever asks later.
            logger.info("The block of the provider %s isn't there yet: %s", name, type(failure).__name__)
    return found


if TYPE_CHECKING:
    AnySender = Sender
else:
    AnySender = functools.reduce(operator.or_, sender_blocks().values())
