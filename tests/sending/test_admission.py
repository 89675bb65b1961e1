"""What lets rows in and requests out: who waits alone, and what is given back at the end."""

import asyncio
import math

import pytest
from memory_lease import MemoryLease
from prefect_whatsapp.ledger import Outcome
from prefect_whatsapp.models import SendState, StopReason
from prefect_whatsapp.models.errors import LedgerError
from prefect_whatsapp.sending import admission as admission_module
from prefect_whatsapp.sending.admission import Admission
from prefect_whatsapp.sending.pace import Pace
from prefect_whatsapp.sending.policy import NO_TROUBLE
from prefect_whatsapp.sending.stop import StopSignal
from virtual_time import clock, run


def admit(lease: MemoryLease, stop: StopSignal) -> Admission:
    return Admission(lease, Pace(lambda: math.inf, clock=clock), stop)  # type: ignore[arg-type]


def test_beyond_so_many_rows_that_wait_alone_a_row_keeps_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a service that says "later" to everybody would bring the whole list into memory."""
    monkeypatch.setattr(admission_module, "WAITING_ALONE_AT_MOST", 1)

    async def main() -> None:
        stop = StopSignal()
        async with admit(MemoryLease(3), stop) as admission:
            waiting = []
            for _ in range(2):
                row = await admission.row()
                assert row
                waiting.append(asyncio.ensure_future(admission.wait_alone(row, 60.0)))
                await asyncio.sleep(0)
            third = asyncio.ensure_future(admission.row())
            await asyncio.sleep(1)
            assert not third.done()
            stop.set(StopReason.CANCELLED, "someone pressed Cancel")
            await asyncio.gather(*waiting)
            assert await third is None

    run(main())


def test_on_the_way_back_from_trouble_claims_open_with_the_requests_and_not_with_the_rows_at_work() -> None:
    """What is claimed and doesn't leave is `unknown` after a crash."""

    async def main() -> None:
        admission = admit(MemoryLease(3), StopSignal())
        admission.accepted(0.04)
        for _ in range(6):
            admission.follow(NO_TROUBLE, answered=True)
        rows = admission._rows.limit
        assert (admission.requests.limit, admission.claims.limit) == (32, rows)
        lost = Outcome(SendState.UNKNOWN)
        admission.follow(NO_TROUBLE.after(lost, sent_at=clock(), now=clock() + 1), answered=True)
        assert (admission.requests.limit, admission.claims.limit) == (1, 1)
        admission.follow(NO_TROUBLE, answered=True)
        assert (admission.requests.limit, admission.claims.limit, admission._rows.limit) == (2, 3, rows)

    run(main())


@pytest.mark.parametrize("failure", [LedgerError("the disk is full"), RuntimeError("not the ledger's fault")])
def test_rows_at_hand_are_given_back_unless_the_ledger_failed(failure: Exception) -> None:
    """A ledger that failed would be waited for once more, for as long as its patience lasts."""
    lease = MemoryLease(4)

    async def main() -> None:
        async with admit(lease, StopSignal()) as admission:
            assert await admission.row()
            raise failure

    with pytest.raises(type(failure)):
        run(main())
    assert ("give back" in lease.happened) is not isinstance(failure, LedgerError)


def test_a_ledger_that_failed_elsewhere_is_not_asked_for_more_either() -> None:
    lease = MemoryLease(4)

    async def main() -> None:
        stop = StopSignal()
        async with admit(lease, stop) as admission:
            assert await admission.row()
            stop.fail(LedgerError("the disk is full"))

    run(main())
    assert "give back" not in lease.happened
