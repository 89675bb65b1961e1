"""Who did what with a ledger: planned, approved, sent again, exported, changed opt-outs, forgot. Rows are only ever added."""

import datetime
import getpass
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from .database import Database
from .records import storable
from .schema import history

_CHARACTERS = 300


class Action(StrEnum):
    """What was done."""

    PLANNED = "planned"  # a list was read into the ledger
    APPROVAL_REQUESTED = "approval requested"
    APPROVED = "approved"
    CANARY_PASSED = "canary passed"
    CANARY_FAILED = "canary failed"
    SENT_AGAIN = "sent again"  # unknown or failed rows were queued again
    EXPORTED = "exported"  # rows with whole numbers left the ledger
    OPTED_OUT = "opted out"  # by command or by an imported list
    OPTED_IN = "opted in"  # by command
    FORGOT = "forgot"  # a person's rows were emptied
    PURGED = "purged"  # rows older than a limit were emptied


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts.

    Attributes:
        user: The account of the operating system.
        host: The machine.
        flow_run_id: Prefect's run; empty outside of one.
    """

    user: str
    host: str
    flow_run_id: str = ""

    def __str__(self) -> str:
        return f"{self.user}@{self.host}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history.

    Attributes:
        at: When.
        action: What.
        broadcast: Name of the broadcast; empty where it was about none.
        user, host, flow_run_id: Who.
        detail: More, in words; holds no whole phone number.
    """

    at: datetime.datetime
    action: str
    broadcast: str
    user: str
    host: str
    flow_run_id: str
    detail: str


def this_process(flow_run_id: str = "") -> Actor:
    """Who runs this process, where."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        user = "unknown"
    return Actor(user, socket.gethostname(), flow_run_id)


async def add(database: Database, action: Action, actor: Actor, *, broadcast: str = "", detail: str = "") -> None:
    """Add a line; see `LedgerStore.note`."""
    line = insertion(action, actor, broadcast=broadcast, detail=detail)
    await database.transact("add to its history", lambda connection: connection.execute(line))


def insertion(action: Action, actor: Actor, *, broadcast: str = "", detail: str = "") -> sa.Insert:
    """Give what adds a line within the transaction of what it tells."""
    values = {
        "at": datetime.datetime.now(datetime.UTC),
        "action": action.value,
        "broadcast": storable(broadcast, _CHARACTERS),
        "username": storable(actor.user, _CHARACTERS),
        "host": storable(actor.host, _CHARACTERS),
        "flow_run_id": storable(actor.flow_run_id, _CHARACTERS),
        "detail": storable(detail, _CHARACTERS),
    }
    return sa.insert(history).values(values)


async def read(database: Database, *, broadcast: str = "", at_most: int = 1000) -> Sequence[Entry]:
    """Read the newest lines, the newest first."""
    query = sa.select(history).order_by(history.c.id.desc()).limit(at_most)
    if broadcast:
        query = query.where(history.c.broadcast == broadcast)

    async def work(connection: AsyncConnection) -> list[Entry]:
        return [Entry(*entry[1:]) for entry in await connection.execute(query)]

    return await database.read("read its history", work)
