"""What comes back: the webhook app, opt-out words, and the look-ups that resolve unknowns."""

from .app import create_app
from .receiver import Receiver

__all__ = ["Receiver", "create_app"]
