"""What keeps a claimed row from leaving, and a run from waiting for ever: the dispatcher on rows and answers of its own."""

import asyncio
import gc
import math
import uuid
from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import pytest
from prefect_whatsapp.ledger import Outcome, Row
from prefect_whatsapp.models import Receipt, Recipient, SendState, StopReason
from prefect_whatsapp.models.errors import RetryLaterError, WhatsAppError
from prefect_whatsapp.sending.backpressure import Recorder
from prefect_whatsapp.sending.delivery import Delivery
from prefect_whatsapp.sending.dispatcher import Dispatcher
from prefect_whatsapp.sending.pace import Pace
from prefect_whatsapp.sending.semaphore import ResizableSemaphore

RECEIPT = Receipt(provider="graph", account="1", message_id="wamid.1", recipient="…0123")


class Rows:
    """Stands in for a `Lease`: rows in memory, and what happened to each in order."""

    def __init__(self, count: int) -> None:
        self.queued = [SimpleNamespace(id=n, recipient=f"+1650555{n:04d}", name="", reply_to="", callback="")
                       for n in range(100, 100 + count)]  # fmt: skip
        self.open, self.healthy, self.share = count, True, math.inf
        self.happened: list[str] = []
        self.on_claim: Callable[[], object] = lambda: None

    async def take(self, n: int) -> list[Any]:
        taken, self.queued = self.queued[:n], self.queued[n:]
        return taken

    async def recover(self) -> int:
        return 0

    async def outstanding(self) -> Any:
        return SimpleNamespace(queued=len(self.queued), held_by_others=self.open)  # as if all were another run's

    async def claim(self, row: Row, *, task_run_id: str = "") -> None:
        self.happened.append("claim")
        self.on_claim()

    def departs(self) -> None:
        self.happened.append("departs")

    async def settle(self, row: Row, outcome: Outcome) -> None:
        self.happened.append(f"settle {outcome.state.value}")
        self.open -= outcome.state is not SendState.QUEUED

    async def give_back(self, rows: list[Any]) -> None:
        self.happened.append("give back")


class Answers:
    """Stands in for a client: the service's answers in order, accepted after the last."""

    def __init__(self, *answers: WhatsAppError) -> None:
        self.answers, self.requests = list(answers), 0

    async def run(self, exchange: Any) -> Receipt:
        self.requests += 1
        await asyncio.sleep(0)
        if self.answers:
            raise self.answers.pop(0)
        return RECEIPT


def _build(to: Recipient, *, callback: str) -> Generator[Any, Any, Receipt]:
    yield
    return RECEIPT


def _delivery(rows: Any, client: Any, pace: Pace | None = None, gate: ResizableSemaphore | None = None) -> Delivery:
    async def park(seconds: float) -> None:
        await asyncio.sleep(0)

    pace = pace or Pace(lambda: math.inf)
    return Delivery(rows, client, build=_build, pace=pace, gate=gate or ResizableSemaphore(4), park=park)


async def test_a_row_that_waits_at_the_gate_does_not_leave_once_the_broadcast_stops() -> None:
    rows, client, gate = Rows(1), Answers(), ResizableSemaphore(1)
    delivery = _delivery(rows, client, gate=gate)
    await gate.acquire()
    sending = asyncio.ensure_future(delivery.deliver((await rows.take(1))[0]))
    await asyncio.sleep(0.01)
    delivery.stop(StopReason.CANCELLED, "someone pressed Cancel")
    gate.release()
    assert (await sending).state is SendState.QUEUED
    assert (client.requests, rows.happened) == (0, ["claim", "settle queued"])


async def test_a_claimed_row_waits_out_the_pause_that_another_rows_refusal_brought() -> None:
    rows, client, pace = Rows(1), Answers(), Pace(lambda: math.inf)
    rows.on_claim = lambda: rows.happened.count("claim") == 1 and pace.throttled(0.3, asyncio.get_running_loop().time())
    began = asyncio.get_running_loop().time()
    outcome = await _delivery(rows, client, pace).deliver((await rows.take(1))[0])
    assert outcome.state is SendState.ACCEPTED
    assert asyncio.get_running_loop().time() - began >= 0.3
    assert rows.happened == ["claim", "settle queued", "claim", "departs", "settle accepted"]


async def test_a_claimed_row_does_not_leave_while_others_may_take_this_run_for_dead() -> None:
    """They would hold it as unknown, and where that is sent again the recipient would get it twice."""
    rows, client = Rows(1), Answers()
    rows.healthy = False

    def heard() -> None:
        rows.healthy = rows.happened.count("claim") == 2

    rows.on_claim = heard
    outcome = await _delivery(rows, client).deliver((await rows.take(1))[0])
    assert (outcome.state, client.requests) == (SendState.ACCEPTED, 1)
    assert rows.happened == ["claim", "settle queued", "claim", "departs", "settle accepted"]


@pytest.mark.server
@pytest.mark.parametrize("runs", ["send", "batch"])
@pytest.mark.usefixtures("prefect_api")
async def test_a_run_that_waits_for_rows_of_others_leaves_the_only_slot_to_its_own_parked_row(runs: Any) -> None:
    """Two runs of a short list whose first answers were all "later" waited for each other for ever."""
    rows = Rows(1)
    later = RetryLaterError("later", provider="graph", code="131056", scope="recipient")
    dispatcher: Any = Dispatcher(rows, Answers(later), build=_build, pace=Pace(lambda: math.inf), runs=runs)  # type: ignore[arg-type]
    tally = await asyncio.wait_for(dispatcher.run(), 30)
    assert (tally.accepted, rows.open) == (1, 0)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_requests_at_once_are_no_more_than_was_said_and_rows_at_work_a_quarter_more() -> None:
    rows, at_once, most = Rows(60), 0, 0

    class Slow(Answers):
        async def run(self, exchange: Any) -> Receipt:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.02)
            at_once -= 1
            return RECEIPT

    dispatcher: Any = Dispatcher(rows, Slow(), build=_build, pace=Pace(lambda: math.inf), in_flight=8, runs="batch")  # type: ignore[arg-type]
    frozen: list[int] = []
    rows.on_claim = lambda: frozen.append(gc.get_freeze_count())
    tally = await asyncio.wait_for(dispatcher.run(), 30)
    assert (tally.accepted, most) == (60, 8)
    assert min(frozen) > 0
    assert gc.get_freeze_count() == 0
    assert max(_open_claims(rows.happened)) == 10


def _open_claims(happened: list[str]) -> list[int]:
    counts, now = [], 0
    for what in happened:
        now += {"claim": 1, "settle accepted": -1}.get(what, 0)
        counts.append(now)
    return counts


async def test_who_waits_for_the_record_hears_of_a_stop() -> None:
    recorder, stopped = Recorder(uuid.uuid4(), max_ahead=1), False
    await recorder.room()
    waiting = asyncio.ensure_future(recorder.room(unless=lambda: stopped))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    stopped = True
    recorder._news.set()  # as each look at the server does, also one without an answer
    await asyncio.wait_for(waiting, 5)
