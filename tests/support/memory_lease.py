"""A ledger and a service in memory, for the engine's tests: rows, claims and outcomes; requests and their answers."""

import asyncio
import math
from collections.abc import Callable, Generator
from typing import Any

from prefect_whatsapp.ledger import Outcome, Outstanding, Row
from prefect_whatsapp.models import Receipt, Recipient, SendState
from prefect_whatsapp.models.errors import ClaimLostError, WhatsAppError

Answer = WhatsAppError | None


def row(number: int) -> Row:
    """A queued row."""
    texts = ("reply_to", "message_id", "status_text", "error_code", "error_text", "error_kind", "task_run_id")
    return Row(
        id=number,
        broadcast_id="b",
        recipient=f"+1650555{number:04d}",
        name="",
        state=SendState.QUEUED,
        attempts=0,
        provider="graph",
        account="1",
        **dict.fromkeys(texts, ""),
    )


class MemoryLease:
    """Stands in for a `Lease`.

    Attributes:
        outcomes: What was recorded last, by row.
        happened: Each claim, departure and settlement, in order.
        claimed: Rows with a claim and no outcome.
        taken: Rows handed out and neither settled for good nor given back.
        on_claim: Called at each claim, before it is durable.
        on_settle: Called at each settlement, before it is durable.
    """

    def __init__(self, count: int) -> None:
        self.queued = [row(number) for number in range(100, 100 + count)]
        self.healthy, self.share, self.active_runs = True, math.inf, 1
        self.held_by_others = 0
        self.outcomes: dict[int, Outcome] = {}
        self.happened: list[str] = []
        self.taken: dict[int, Row] = {}
        self.claimed: set[int] = set()
        self.lost: set[int] = set()
        self.on_claim: Callable[[Row], Any] = lambda _: None
        self.on_settle: Callable[[Row], Any] = lambda _: None

    async def take(self, n: int) -> list[Row]:
        await asyncio.sleep(0)
        taken, self.queued = self.queued[:n], self.queued[n:]
        self.taken.update((one.id, one) for one in taken)
        return taken

    async def recover(self) -> int:
        return 0

    async def outstanding(self) -> Outstanding:
        return Outstanding(queued=len(self.queued), held_by_others=self.held_by_others)

    async def claim(self, row: Row, *, task_run_id: str = "", message_id: str = "") -> None:
        assert row.id not in self.claimed, "claimed twice"
        if asyncio.iscoroutine(said := self.on_claim(row)):
            await said
        await asyncio.sleep(0)
        if row.id in self.lost:
            raise ClaimLostError(f"row {row.id} is another run's")
        self.happened.append("claim")
        self.claimed.add(row.id)

    def unclaim(self, row: Row) -> None:
        self.happened.append("unclaim")
        self.claimed.discard(row.id)

    def departs(self) -> None:
        self.happened.append("departs")

    async def settle(self, row: Row, outcome: Outcome) -> None:
        assert row.id in self.claimed, "settled without a claim"
        self.happened.append(f"settle {outcome.state.value}")
        self.claimed.remove(row.id)
        self.outcomes[row.id] = outcome
        if outcome.state is not SendState.QUEUED:
            self.taken.pop(row.id, None)
        if asyncio.iscoroutine(said := self.on_settle(row)):
            await said
        await asyncio.sleep(0)

    async def give_back(self, rows: list[Row]) -> None:
        self.happened.append("give back")
        for one in rows:
            self.taken.pop(one.id, None)
            self.queued.append(one)

    def states(self) -> dict[SendState, int]:
        """How many rows were recorded last in each state; those never claimed are left out."""
        found = [outcome.state for outcome in self.outcomes.values()]
        return {state: found.count(state) for state in SendState if state in found}


class MemoryService:
    """Stands in for a client: answers each request, by default with yes.

    Args:
        answers: The answers in order; None is yes, and so is all that comes after the last.

    Attributes:
        seconds: How long an answer takes.
        requests: Requests that came, by recipient, in order.
        sent_at: When each came.
        in_flight: Requests without an answer.
        most: The most of them at once.
        answer: Decides an answer in the place of the list.
    """

    def __init__(self, *answers: Answer, seconds: float = 0.0) -> None:
        self._answers, self.seconds = list(answers), seconds
        self.requests: list[str] = []
        self.sent_at: list[float] = []
        self.in_flight = self.most = 0
        self.answer: Callable[[str], Answer] = lambda _: self._answers.pop(0) if self._answers else None

    async def run(self, exchange: Generator[Any, Any, Receipt]) -> Receipt:
        to: Recipient = next(exchange)
        self.requests.append(to.to)
        self.sent_at.append(asyncio.get_running_loop().time())
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        answer = self.answer(to.to)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.in_flight -= 1
        if answer:
            raise answer
        return Receipt(provider="graph", account="1", message_id=f"wamid.{len(self.requests)}", recipient=to.to)


def build(to: Recipient, *, callback: str) -> Generator[Any, Any, Receipt]:
    """Build an exchange that `MemoryService` runs."""
    yield to
    raise AssertionError("never answered")
