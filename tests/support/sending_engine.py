"""The sending engine on rows and answers in memory, as `Dispatcher` puts it together."""

import asyncio
import math
from typing import Any

from memory_lease import MemoryLease, MemoryService, build
from prefect_whatsapp.ledger import Row
from prefect_whatsapp.models import SendState
from prefect_whatsapp.models.errors import (
    RetryLaterError,
)
from prefect_whatsapp.sending.admission import Admission
from prefect_whatsapp.sending.content import Message
from prefect_whatsapp.sending.delivery import Delivery
from prefect_whatsapp.sending.pace import Pace
from prefect_whatsapp.sending.stop import StopSignal
from virtual_time import clock


class Sending:
    """An engine on rows and answers in memory, its window open."""

    def __init__(self, lease: MemoryLease, service: MemoryService, *, rate: float = math.inf, **others: Any) -> None:
        self.lease, self.service, self.stop = lease, service, StopSignal()
        self.pace = Pace(lambda: rate, clock=clock)
        self.admission = Admission(lease, self.pace, self.stop, **others)  # type: ignore[arg-type]
        self.message = Message(build)
        self.delivery = Delivery(lease, service, self.message, admission=self.admission, stop=self.stop)  # type: ignore[arg-type]

    async def all(self) -> dict[SendState, int]:
        """Send until nothing is left, or until stopped."""
        async with self.admission, asyncio.TaskGroup() as sends:
            while row := await self.admission.row():
                sends.create_task(self.one(row))
        return self.lease.states()

    async def one(self, row: Row) -> SendState:
        try:
            return (await self.delivery.send(row)).state
        finally:
            self.admission.leave(row)


def later(**facts: Any) -> RetryLaterError:
    return RetryLaterError("later", provider="graph", **facts)
