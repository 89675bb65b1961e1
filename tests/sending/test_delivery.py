"""One send: what keeps a claimed row from leaving, what each answer does to it, and a cancellation at each step."""

import asyncio
import dataclasses
import itertools
import math
from collections import Counter
from typing import Any

import pytest
from memory_lease import MemoryLease, MemoryService, build
from prefect_whatsapp.ledger import Row
from prefect_whatsapp.models import Recipient, SendState, StopReason
from prefect_whatsapp.models.errors import (
    AccountError,
    ErrorKind,
    NotSentError,
    OutcomeUnknownError,
    RecipientRefusedError,
    RequestRefusedError,
    RetryLaterError,
)
from prefect_whatsapp.sending.admission import Admission
from prefect_whatsapp.sending.content import Build, Message
from prefect_whatsapp.sending.delivery import Delivery
from prefect_whatsapp.sending.pace import Pace
from prefect_whatsapp.sending.stop import StopSignal
from virtual_time import clock, run


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


def test_trouble_with_one_row_while_others_are_accepted_fails_it_after_five_tries() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(400), MemoryService(), rate=10)
        trouble = later(code="131000", kind=ErrorKind.TRANSIENT)
        sending.service.answer = lambda to: trouble if to == "+16505550103" else None
        assert await sending.all() == {SendState.FAILED: 1, SendState.ACCEPTED: 399}
        assert sending.service.requests.count("+16505550103") == 5

    run(main())


@pytest.mark.parametrize(
    "trouble", [later(code="131016", kind=ErrorKind.TRANSIENT), NotSentError("no connection")], ids=["131016", "down"]
)
@pytest.mark.parametrize(("seconds", "reason"), [(25, None), (600, StopReason.OUTAGE)])
def test_a_service_that_surely_takes_nothing_fails_nobody(trouble: Any, seconds: float, reason: Any) -> None:
    """Short trouble is outlived, long trouble stops the broadcast and leaves the rest pending."""

    async def main() -> None:
        sending, began = Sending(MemoryLease(800), MemoryService(seconds=0.025), rate=80), clock()
        sending.service.answer = lambda _: trouble if 2 < clock() - began < 2 + seconds else None
        states = await sending.all()
        assert sending.stop.reason is reason
        assert set(states) <= {SendState.ACCEPTED, SendState.QUEUED}
        if reason is None:
            assert states == {SendState.ACCEPTED: 800}
        else:
            assert "nothing was accepted for 6" in sending.stop.sentence
            assert clock() - began < 90
            assert len(sending.service.requests) < 250

    run(main())


BARE_404 = RequestRefusedError("HTTP 404 without a readable body", provider="waha", kind=ErrorKind.ADDRESS, code="404")
BARE_429 = later(kind=ErrorKind.BARE_THROTTLE, code="429")


@pytest.mark.parametrize("status", [BARE_404, BARE_429], ids=["404", "429"])
@pytest.mark.parametrize("in_flight", [0, 1, 40])
def test_a_status_that_all_get_from_the_middle_on_stops_the_broadcast_and_uses_up_no_row(
    status: Any, in_flight: int
) -> None:
    """A proxy whose service is away says it, and a tunnel that has closed."""

    async def main() -> None:
        sending = Sending(MemoryLease(800), MemoryService(seconds=0.025), rate=80, in_flight=in_flight)
        began = clock()
        sending.service.answer = lambda _: status if clock() - began > 2 else None
        states = await sending.all()
        unknown = states.pop(SendState.UNKNOWN, 0)
        assert set(states) == {SendState.ACCEPTED, SendState.QUEUED}
        assert unknown <= (2 if status is BARE_429 else 0)
        assert sending.stop.reason is StopReason.OUTAGE
        assert "nothing was accepted for 1" in sending.stop.sentence
        assert len(sending.service.requests) < states[SendState.ACCEPTED] + 50

    run(main())


def test_a_404_of_a_few_seconds_is_outlived() -> None:
    async def main() -> None:
        sending, began = Sending(MemoryLease(800), MemoryService(seconds=0.025), rate=80), clock()
        sending.service.answer = lambda _: BARE_404 if 2 < clock() - began < 10 else None
        assert await sending.all() == {SendState.ACCEPTED: 800}

    run(main())


def test_a_proxy_that_says_429_and_passes_the_messages_on_sends_nobody_more_than_three() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(800), MemoryService(seconds=0.025), rate=80)
        sending.service.answer = lambda _: BARE_429
        states = await sending.all()
        copies = Counter(sending.service.requests)
        assert max(copies.values()) <= 3
        assert copies.total() <= 7
        assert set(states) <= {SendState.UNKNOWN, SendState.QUEUED}
        assert sending.stop.reason is StopReason.OUTAGE

    run(main())


@pytest.mark.parametrize("others", [0, 399])
def test_who_gets_nothing_but_a_bare_429_is_tried_three_times_and_then_unknown(others: int) -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(1 + others), MemoryService(), rate=10)
        sending.service.answer = lambda to: BARE_429 if to == "+16505550100" else None
        states = await sending.all()
        assert (states[SendState.UNKNOWN], states.get(SendState.ACCEPTED, 0)) == (1, others)
        assert sending.service.requests.count("+16505550100") == 3
        assert not sending.stop.is_set()

    run(main())


@pytest.mark.parametrize("in_flight", [0, 40])
@pytest.mark.parametrize("granted", [5, 20, 50])
def test_a_proxy_that_grants_less_than_the_rate_gets_its_pace_and_every_message(granted: int, in_flight: int) -> None:
    """As nginx's `limit_req` with `limit_req_status 429` counts: a bucket."""

    async def main() -> None:
        sending, began = Sending(MemoryLease(800), MemoryService(seconds=0.025), rate=80, in_flight=in_flight), clock()
        full, at = float(granted), began

        def answer(_: str) -> RetryLaterError | None:
            nonlocal full, at
            full, at = min(full + (clock() - at) * granted, float(granted)), clock()
            if full < 1:
                return BARE_429
            full -= 1
            return None

        sending.service.answer = answer
        states = await sending.all()
        assert not sending.stop.is_set()
        assert states.get(SendState.UNKNOWN, 0) <= 2
        assert states[SendState.ACCEPTED] >= 798
        assert clock() - began < 1.5 * 800 / granted

    run(main())


@pytest.mark.parametrize("in_flight", [0, 40])
def test_an_outage_of_8_seconds_at_80_a_second_costs_what_was_in_flight_and_a_few_tries(in_flight: int) -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(800), MemoryService(seconds=0.025), rate=80, in_flight=in_flight)
        began = clock()
        lost = OutcomeUnknownError("HTTP 502 without a readable body")
        sending.service.answer = lambda _: lost if 2 < clock() - began < 10 else None
        states = await sending.all()
        assert states[SendState.UNKNOWN] <= 20
        assert states[SendState.ACCEPTED] == 800 - states[SendState.UNKNOWN]
        assert not sending.stop.is_set()

    run(main())


def test_an_outage_that_lasts_stops_the_broadcast_and_leaves_the_rest_pending() -> None:
    async def main() -> None:
        sending, began = Sending(MemoryLease(800), MemoryService(seconds=0.025), rate=80), clock()
        lost = OutcomeUnknownError("HTTP 502 without a readable body")
        sending.service.answer = lambda _: lost if clock() - began > 2 else None
        states = await sending.all()
        assert states[SendState.UNKNOWN] <= 20
        assert sending.stop.reason is StopReason.OUTAGE
        assert "502" in sending.stop.sentence
        assert "nothing was accepted" in sending.stop.sentence
        assert clock() - began < 30
        assert len(sending.lease.queued) > 500  # given back

    run(main())


@pytest.mark.parametrize("in_flight", [0, 1, 40])
def test_a_service_that_loses_every_second_answer_does_not_use_up_the_list(in_flight: int) -> None:
    """An accepted message between two lost ones ends no outage."""

    async def main() -> None:
        sending = Sending(MemoryLease(800), MemoryService(seconds=0.025), rate=80, in_flight=in_flight)
        lost, places = OutcomeUnknownError("HTTP 502 without a readable body"), itertools.count()
        sending.service.answer = lambda _: lost if next(places) % 2 else None
        states = await sending.all()
        assert states[SendState.UNKNOWN] <= 30
        assert sending.stop.reason is StopReason.OUTAGE
        assert "more than a tenth of the answers were lost" in sending.stop.sentence
        assert len(sending.lease.queued) > 700  # given back

    run(main())


def test_a_service_that_refuses_every_second_message_for_the_moment_gets_them_all_and_fails_nobody() -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(400), MemoryService(seconds=0.025), rate=80)
        wavering, places = later(code="131016", kind=ErrorKind.TRANSIENT), itertools.count()
        sending.service.answer = lambda _: wavering if next(places) * 0.618034 % 1.0 < 0.5 else None
        assert await sending.all() == {SendState.ACCEPTED: 400}
        assert not sending.stop.is_set()

    run(main())


def test_behind_a_request_that_hangs_in_an_outage_nothing_is_claimed() -> None:
    """What is claimed is unknown after a crash, also where its request never left."""

    async def main() -> None:
        sending = Sending(MemoryLease(2000), MemoryService(seconds=0.05), in_flight=16)
        lost = OutcomeUnknownError("HTTP 502 without a readable body")

        def answer(_: str) -> OutcomeUnknownError | None:
            if clock() - began < 1:
                return None
            if sending.lease.states().get(SendState.UNKNOWN):
                sending.service.seconds = 30.0
            return lost

        began, sending.service.answer = clock(), answer
        running = asyncio.ensure_future(sending.all())
        while not sending.lease.states().get(SendState.UNKNOWN):  # noqa: ASYNC110 - by a clock of the test's own
            await asyncio.sleep(0.01)
        await asyncio.sleep(5)
        assert (sending.service.in_flight, len(sending.lease.claimed)) == (1, 1)
        claims = sending.lease.happened.count("claim")
        await asyncio.sleep(10)
        assert sending.lease.happened.count("claim") == claims  # nor again and again in vain
        sending.stop.set(StopReason.CANCELLED, "enough")
        await running

    run(main())


def test_after_an_outage_requests_at_once_double_with_each_answer_until_they_are_as_many_as_before() -> None:
    async def main() -> None:
        sending, began = Sending(MemoryLease(400), MemoryService(seconds=0.1), in_flight=16), clock()
        lost, at_once = OutcomeUnknownError("HTTP 502 without a readable body"), list[int]()

        def answer(_: str) -> OutcomeUnknownError | None:
            if 1 < clock() - began < 1.5:
                return lost
            if clock() - began > 1.5:
                at_once.append(sending.service.in_flight)
            return None

        sending.service.answer = answer
        await sending.all()
        assert at_once[:3] == [1, 1, 2]
        assert max(at_once) == 16

    run(main())


def test_from_the_first_lost_answer_on_messages_go_one_at_a_time() -> None:
    async def main() -> None:
        sending, began = Sending(MemoryLease(100), MemoryService(seconds=0.1), in_flight=8), clock()
        lost, seen = OutcomeUnknownError("the answer was lost"), list[tuple[float, int]]()

        def answer(_: str) -> OutcomeUnknownError | None:
            seen.append((clock() - began, sending.service.in_flight))
            return lost if clock() - began > 0.25 else None

        sending.service.answer = answer
        await sending.all()
        assert max(in_flight for _, in_flight in seen) == 8
        assert {in_flight for moment, in_flight in seen if moment > 0.45} == {1}

    run(main())


def test_an_answer_that_was_lost_once_costs_no_pause() -> None:
    async def main() -> None:
        sending, began = Sending(MemoryLease(400), MemoryService(seconds=0.025), rate=80), clock()
        lost = OutcomeUnknownError("the answer was lost")
        sending.service.answer = lambda to: lost if to.endswith("0") else None
        assert (await sending.all())[SendState.UNKNOWN] == 40
        assert clock() - began < 400 / 80 * 1.3

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
