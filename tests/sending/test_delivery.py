"""One send: what keeps a claimed row from leaving, what each answer does to it, and a cancellation at each step."""

import asyncio
import dataclasses
import itertools
import math

import pytest
from memory_lease import MemoryLease, MemoryService, build
from prefect_whatsapp.ledger import Row
from prefect_whatsapp.models import Recipient, SendState, StopReason
from prefect_whatsapp.models.errors import (
    AccountError,
    ErrorKind,
    NotSentError,
    RecipientRefusedError,
    RequestRefusedError,
    RetryLaterError,
)
from prefect_whatsapp.sending.content import Build, Message
from sending_engine import Sending, later
from virtual_time import clock, run

PAIR = later(code="131056", kind=ErrorKind.PAIR, scope="recipient")


def test_a_send_is_claimed_before_it_leaves_and_settled_after_its_answer() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(1), MemoryService())
        assert await sending.all() == {SendState.ACCEPTED: 1}
        assert sending.lease.happened == ["claim", "departs", "settle accepted"]
        assert sending.lease.outcomes[100].message_id == "wamid.1"

    run(main())


def test_a_number_that_was_planned_is_sent_though_todays_phonenumbers_would_refuse_it() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(3), MemoryService())
        number = "+99912345"
        with pytest.raises(ValueError, match="not a"):
            Recipient.parse(number)
        sending.lease.queued[1] = dataclasses.replace(sending.lease.queued[1], recipient=number)
        assert await sending.all() == {SendState.ACCEPTED: 3}
        assert sending.service.requests[1] == number

    run(main())


def test_a_row_that_waits_for_room_among_the_requests_does_not_leave_once_the_broadcast_stops() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(1), MemoryService())
        async with sending.admission:
            await sending.admission.requests.acquire()
            row = await sending.admission.row()
            assert row
            one = asyncio.ensure_future(sending.one(row))
            await asyncio.sleep(0.01)
            sending.stop.set(StopReason.CANCELLED, "someone pressed Cancel")
            sending.admission.requests.release()
            assert await one is SendState.QUEUED
        assert (sending.service.requests, sending.lease.happened) == ([], ["claim", "settle queued"])

    run(main())


def test_a_row_whose_departure_is_pushed_back_by_the_rate_does_not_leave_once_the_broadcast_stops() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(1), MemoryService(), rate=1.0)
        await sending.pace.departure()  # another send left in this second
        async with sending.admission:
            row = await sending.admission.row()
            assert row
            one = asyncio.ensure_future(sending.one(row))
            await asyncio.sleep(0.01)
            sending.stop.set(StopReason.CANCELLED, "someone pressed Cancel")
            assert await one is SendState.QUEUED
        assert (sending.service.requests, sending.lease.happened) == ([], ["claim", "settle queued"])

    run(main())


def test_a_claimed_row_waits_out_the_pause_that_another_rows_refusal_brought() -> None:
    async def main() -> None:
        sending, began = Sending(MemoryLease(1), MemoryService()), clock()
        sending.lease.on_claim = lambda _: (
            "claim" not in sending.lease.happened and sending.pace.throttled(0.3, clock())
        )
        assert await sending.all() == {SendState.ACCEPTED: 1}
        assert clock() - began > 0.29
        assert sending.lease.happened == ["claim", "settle queued", "claim", "departs", "settle accepted"]

    run(main())


def test_a_claimed_row_does_not_leave_while_others_may_take_this_run_for_dead() -> None:
    """They would hold it as unknown, and where that is sent again the recipient would get it twice."""

    async def main() -> None:
        sending = Sending(MemoryLease(1), MemoryService())
        sending.lease.healthy = False

        def heard(_: Row) -> None:
            sending.lease.healthy = "claim" in sending.lease.happened

        sending.lease.on_claim = heard
        assert await sending.all() == {SendState.ACCEPTED: 1}
        assert sending.lease.happened == ["claim", "settle queued", "claim", "departs", "settle accepted"]

    run(main())


def test_a_row_that_is_another_runs_now_is_let_go_and_the_others_go_on() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(3), MemoryService())
        sending.lease.lost = {101}
        assert await sending.all() == {SendState.ACCEPTED: 2}
        assert (sending.stop.is_set(), sending.delivery.tally.settled) == (False, 2)

    run(main())


def test_a_pair_limit_makes_its_own_row_wait_longer_each_time_and_the_others_go_on() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(50), MemoryService(seconds=0.02), in_flight=2)
        refused = "+16505550103"
        times: list[float] = []

        def answer(to: str) -> RetryLaterError | None:
            if to != refused:
                return None
            times.append(clock())
            return PAIR if len(times) < 4 else None

        sending.service.answer = answer
        assert await sending.all() == {SendState.ACCEPTED: 50}
        assert [round(b - a) for a, b in itertools.pairwise(times)] == [1, 4, 16]
        assert sending.service.sent_at[49] - sending.service.sent_at[0] < 1  # nobody waited for it

    run(main())


def test_a_pair_limit_that_stays_while_others_are_accepted_fails_its_row_after_five_tries() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(1000), MemoryService(), rate=10)
        sending.service.answer = lambda to: PAIR if to == "+16505550103" else None
        assert await sending.all() == {SendState.FAILED: 1, SendState.ACCEPTED: 999}
        assert sending.service.requests.count("+16505550103") == 5
        assert not sending.stop.is_set()

    run(main())


def test_a_pair_limit_that_stays_while_nobody_else_is_left_leaves_its_row_pending() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(1), MemoryService())
        sending.service.answer = lambda _: PAIR
        assert await sending.all() == {SendState.QUEUED: 1}
        assert (len(sending.service.requests), sending.stop.reason) == (5, StopReason.THROTTLED)

    run(main())


def test_the_first_message_goes_alone_and_decides_whether_others_follow() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(100), MemoryService(seconds=0.1))
        sending.service.answer = lambda _: AccountError("token expired", provider="graph", kind=ErrorKind.AUTH)
        assert await sending.all() == {SendState.QUEUED: 1}
        assert (sending.stop.reason, len(sending.service.requests)) == (StopReason.ACCOUNT, 1)
        assert len(sending.lease.queued) == 99

    run(main())


def test_five_refusals_alike_and_nothing_accepted_between_stop_the_broadcast() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(100), MemoryService(), rate=10, in_flight=1)
        sending.service.answer = lambda _: RequestRefusedError("(#100) no", provider="graph", code="100")
        assert await sending.all() == {SendState.FAILED: 5}
        assert sending.stop.reason is StopReason.REQUEST

    run(main())


def test_refusals_alike_with_one_accepted_between_do_not_stop_it() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(40), MemoryService(), rate=10, in_flight=1)
        unexplained = RecipientRefusedError("no", provider="wawp", kind=ErrorKind.UNEXPLAINED, code="200")
        sending.service.answer = lambda to: None if to[-1] in "048" else unexplained
        assert await sending.all() == {SendState.FAILED: 28, SendState.ACCEPTED: 12}
        assert not sending.stop.is_set()

    run(main())


def test_media_that_nobody_can_get_stops_at_the_first() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(40), MemoryService())
        sending.service.answer = lambda _: RequestRefusedError("no", provider="graph", kind=ErrorKind.MEDIA)
        assert await sending.all() == {SendState.FAILED: 1}
        assert sending.stop.reason is StopReason.REQUEST

    run(main())


def test_media_that_the_service_disowned_is_uploaded_once_for_all_that_found_out() -> None:
    async def main() -> None:
        sending, uploads = Sending(MemoryLease(40), MemoryService(seconds=0.05), in_flight=8), 0

        async def again() -> Build:
            nonlocal uploads
            uploads += 1
            await asyncio.sleep(0.5)
            sending.service.answer = lambda _: None
            return lambda to, *, callback: build(to, callback=callback)

        sending.delivery._message = Message(build, again=again)
        gone = RequestRefusedError("gone", provider="graph", kind=ErrorKind.MEDIA_ID, code="100")
        sending.service.answer = lambda _: gone if len(sending.service.requests) > 10 else None
        assert await sending.all() == {SendState.ACCEPTED: 40}
        assert uploads == 1

    run(main())


def test_media_that_is_disowned_where_none_is_kept_stops_the_broadcast() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(40), MemoryService())
        sending.service.answer = lambda _: RequestRefusedError("gone", provider="graph", kind=ErrorKind.MEDIA_ID)
        assert await sending.all() == {SendState.FAILED: 1}
        assert sending.stop.reason is StopReason.REQUEST

    run(main())


def test_media_that_cannot_be_uploaded_again_stops_the_broadcast_and_leaves_its_row_pending() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(40), MemoryService())

        async def again() -> Build:
            raise NotSentError("no connection")

        sending.delivery._message = Message(build, again=again)
        sending.service.answer = lambda _: RequestRefusedError("gone", provider="graph", kind=ErrorKind.MEDIA_ID)
        assert await sending.all() == {SendState.QUEUED: 1}
        assert sending.stop.reason is StopReason.REQUEST
        assert sending.stop.sentence == "the media could not be uploaded again: no connection"

    run(main())


def test_a_sender_that_is_throttled_for_15_minutes_without_one_message_accepted_stops() -> None:
    async def main() -> None:
        sending, began = Sending(MemoryLease(400), MemoryService(seconds=0.025), rate=80), clock()
        sending.service.answer = lambda _: later(kind=ErrorKind.THROTTLE, retry_after=30.0)
        states = await sending.all()
        assert set(states) == {SendState.QUEUED}
        assert sending.stop.reason is StopReason.THROTTLED
        assert "nothing was accepted for 15 minutes" in sending.stop.sentence
        assert 900 < clock() - began < 960

    run(main())


def test_a_service_that_wants_nothing_for_longer_than_15_minutes_stops_it_and_says_until_when() -> None:
    async def main() -> None:
        sending, began = Sending(MemoryLease(400), MemoryService(), rate=80), clock()
        sending.service.answer = lambda _: later(kind=ErrorKind.THROTTLE, retry_after=1_795_273_997.0)
        assert await sending.all() == {SendState.QUEUED: 1}
        assert sending.stop.reason is StopReason.THROTTLED
        assert "it accepts nothing before" in sending.stop.sentence
        assert "UTC on" in sending.stop.sentence
        assert clock() - began < 1

    run(main())


def test_a_pause_that_the_service_asks_for_holds_for_every_row() -> None:
    async def main() -> None:
        sending, began = Sending(MemoryLease(20), MemoryService(seconds=0.1)), clock()
        upgrade = later(kind=ErrorKind.TRANSIENT, retry_after=60.0, code="131057")
        sending.service.answer = lambda _: upgrade if clock() - began < 60 else None
        assert await sending.all() == {SendState.ACCEPTED: 20}
        assert not [moment for moment in sending.service.sent_at[1:] if moment - began < 60]

    run(main())


# --- cancelled, at each of the six steps


@pytest.mark.parametrize("step", ["admit", "claim", "room", "request", "settle", "wait"])
def test_a_send_that_is_cancelled_leaves_a_claim_only_where_its_request_had_left(step: str) -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(1), MemoryService(seconds=1), rate=0 if step == "admit" else math.inf)
        hang = asyncio.sleep
        if step == "claim":
            sending.lease.on_claim = lambda _: hang(5)
        if step == "settle":
            sending.lease.on_settle = lambda _: hang(5)
        if step == "wait":
            sending.service.answer = lambda _: PAIR
        async with sending.admission:
            row = await sending.admission.row()
            assert row
            if step == "room":
                await sending.admission.requests.acquire()
            one = asyncio.ensure_future(sending.one(row))
            await asyncio.sleep(1.5 if step in ("settle", "wait") else 0.5)
            one.cancel()
            with pytest.raises(asyncio.CancelledError):
                await one
            if step == "room":
                sending.admission.requests.release()
            assert sending.admission.requests.used == 0
            assert not sending.admission._at_work
        left_open = {"request": {100}}.get(step, set())
        assert sending.lease.claimed == left_open
        happened = {
            "admit": [],
            "claim": [],
            "room": ["claim", "unclaim"],
            "request": ["claim", "departs"],
            "settle": ["claim", "departs", "settle accepted"],
            "wait": ["claim", "departs", "settle queued"],
        }
        assert [what for what in sending.lease.happened if what != "give back"] == happened[step]

    run(main())
