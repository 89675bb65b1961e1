"""The two databases that a ledger may live in, behind one interface."""

from ..address import Address
from .base import Engine
from .commits import Claim, Commits, Settlement
from .postgresql import PostgresEngine
from .sqlite import SqliteEngine

__all__ = ["Claim", "Commits", "Engine", "PostgresEngine", "Settlement", "SqliteEngine", "engine_for"]


def engine_for(address: Address) -> Engine:
    """Give the engine of an address."""
    return PostgresEngine(address) if address.path is None else SqliteEngine(address, address.path)
