"""What you type: the `prefect-whatsapp` command."""

from .app import main

__all__ = ["main"]
