"""A service in trouble: short trouble is outlived, long trouble stops the broadcast, and neither uses up the list."""

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest
from memory_lease import MemoryLease, MemoryService
from prefect_whatsapp.models import SendState, StopReason
from prefect_whatsapp.models.errors import (
    ErrorKind,
    NotSentError,
    OutcomeUnknownError,
    RequestRefusedError,
    RetryLaterError,
)
from sending_engine import Sending, later
from virtual_time import clock, run


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
        assert unknown <= 2
        assert sending.stop.reason is StopReason.OUTAGE
        assert "nothing was accepted for 1" in sending.stop.sentence
        assert len(sending.service.requests) < states[SendState.ACCEPTED] + 50

    run(main())


def test_a_404_of_a_few_seconds_is_outlived() -> None:
    async def main() -> None:
        sending, began = Sending(MemoryLease(800), MemoryService(seconds=0.025), rate=80), clock()
        sending.service.answer = lambda _: BARE_404 if 2 < clock() - began < 10 else None
        states = await sending.all()
        unknown = states.pop(SendState.UNKNOWN, 0)
        assert unknown <= 2
        assert states == {SendState.ACCEPTED: 800 - unknown}

    run(main())


@pytest.mark.parametrize("status", [BARE_404, BARE_429], ids=["404", "429"])
def test_a_proxy_that_says_no_and_passes_the_messages_on_sends_nobody_more_than_three(status: Any) -> None:
    async def main() -> None:
        sending = Sending(MemoryLease(800), MemoryService(seconds=0.025), rate=80)
        sending.service.answer = lambda _: status
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
