"""What you configure: a block for each provider's account, one for the ledger, and one that notifies."""

from .chat_api import ChatApiCredentials
from .graph import GraphCredentials
from .ledger import Ledger
from .notification import WhatsAppNotification
from .waha import WahaCredentials
from .wawp import WawpCredentials

__all__ = [
    "ChatApiCredentials",
    "GraphCredentials",
    "Ledger",
    "WahaCredentials",
    "WawpCredentials",
    "WhatsAppNotification",
]
