"""What you configure: a block for each provider's account, and one for the ledger."""

from .chat_api import ChatApiCredentials
from .graph import GraphCredentials
from .ledger import Ledger
from .waha import WahaCredentials
from .wawp import WawpCredentials

__all__ = ["ChatApiCredentials", "GraphCredentials", "Ledger", "WahaCredentials", "WawpCredentials"]
