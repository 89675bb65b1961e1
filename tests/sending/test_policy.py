"""What an answer means: every error × kind × number of tries, and what a run of answers says of the service."""

import dataclasses
import itertools
import math
from typing import Any

import pytest
from prefect_whatsapp.ledger import Outcome
from prefect_whatsapp.models import SendState, StopReason, errors
from prefect_whatsapp.models.errors import (
    AccountError,
    AudioError,
    ErrorKind,
    NotSentError,
    OutcomeUnknownError,
    ProviderError,
    RecipientRefusedError,
    RequestRefusedError,
    RetryLaterError,
    UnsupportedError,
    Verdict,
    WhatsAppError,
)
from prefect_whatsapp.sending.policy import (
    ALIKE_REFUSALS,
    LOST_ANSWERS_AT_MOST,
    NO_TROUBLE,
    OUTAGE_SECONDS,
    UNKNOWN_PROBES,
    Decision,
    Streak,
    Tries,
    decide,
)

TRIES = [Tries(failures, accepting) for failures in (0, 1, 3, 4, 5, 50) for accepting in range(min(failures, 5) + 1)]
STATE, STOP = SendState, StopReason


def of(error: type[ProviderError], /, **facts: Any) -> ProviderError:
    return error("…", provider="graph", **facts)


def summary(decision: Decision) -> tuple[Any, ...]:
    return decision.outcome.state, decision.retry_in, decision.scope.value, decision.renew_media, decision.stop


# One row for each verdict × kind: what it means at the first try, and at any later one where that differs.
NEVER = (None, "recipient", False, None)
TABLE: list[tuple[Verdict, str, tuple[Any, ...], tuple[Any, ...] | None]] = [
    (Verdict.ACCOUNT, "*", (STATE.QUEUED, None, "recipient", False, STOP.ACCOUNT), None),
    (Verdict.RECIPIENT, "*", (STATE.FAILED, *NEVER), None),
    (Verdict.RECIPIENT, "window", (STATE.SKIPPED, *NEVER), None),
    (Verdict.REQUEST, "*", (STATE.FAILED, *NEVER), None),
    (Verdict.REQUEST, "media", (STATE.FAILED, None, "recipient", False, STOP.REQUEST), None),
    (Verdict.REQUEST, "media id", (STATE.QUEUED, 0.0, "recipient", True, None),
        (STATE.FAILED, None, "recipient", False, STOP.REQUEST)),
    (Verdict.RETRY, "throttle", (STATE.QUEUED, 0.0, "sender", False, None), None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        (verdict, kind)
        for verdict in (Verdict.ACCOUNT, Verdict.RECIPIENT, Verdict.REQUEST)
        for kind in ErrorKind
        if (verdict, kind) != (Verdict.REQUEST, ErrorKind.ADDRESS)
    ],
    ids=lambda part: part.value or "unspecified",
)
def test_a_refusal_means_what_the_table_says(verdict: Verdict, kind: ErrorKind) -> None:
    rows = {of_kind: (first, later) for its, of_kind, first, later in TABLE if its is verdict}
    first, later = rows.get(kind.value) or rows["*"]
    error = of(errors.VERDICT_ERRORS[verdict], kind=kind, code="7")
    for tries in TRIES:
        assert summary(decide(error, tries)) == (later if later and tries.failures else first)
    outcome = decide(error).outcome
    assert (outcome.error_code, outcome.error_kind, outcome.error_text) == ("7", kind, "…")


UNPROVEN = (ErrorKind.BARE_THROTTLE, ErrorKind.ADDRESS)


@pytest.mark.parametrize(
    ("error", "kind"),
    [(RetryLaterError, kind) for kind in ErrorKind if kind not in UNPROVEN and kind is not ErrorKind.THROTTLE],
)
def test_what_surely_was_not_accepted_goes_again_until_it_is_shown_to_be_the_rows_own(
    error: type[ProviderError], kind: ErrorKind
) -> None:
    for tries in TRIES:
        decision = decide(of(error, kind=kind), tries)
        if tries.accepting >= 4:
            assert summary(decision) == (STATE.FAILED, *NEVER)
        else:
            seconds = [1.0, 2.0, 4.0, 8.0, 8.0, 8.0][min(tries.failures, 5)]
            assert summary(decision) == (STATE.QUEUED, seconds, "recipient", False, None)


@pytest.mark.parametrize("tries", TRIES, ids=str)
def test_a_throttle_concerns_the_sender_and_never_fails_its_row(tries: Tries) -> None:
    decision = decide(of(RetryLaterError, kind=ErrorKind.THROTTLE), tries)
    assert summary(decision) == (STATE.QUEUED, 0.0, "sender", False, None)


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (RetryLaterError("…", provider="graph", kind=ErrorKind.BARE_THROTTLE), None),
        (RetryLaterError("…", provider="graph", kind=ErrorKind.BARE_THROTTLE, retry_after=60.0), 60.0),
        (RequestRefusedError("…", provider="graph", kind=ErrorKind.ADDRESS), None),
    ],
    ids=["429", "429 that names a pause", "404"],
)
def test_a_status_without_the_services_own_words_is_tried_three_times_and_then_unknown(
    error: ProviderError, asked: float | None
) -> None:
    for tries in TRIES:
        decision = decide(error, tries)
        if tries.failures >= 2:
            assert summary(decision) == (STATE.UNKNOWN, *NEVER)
        else:
            wait = (asked, "sender") if asked else (2.0**tries.failures, "recipient")
            assert summary(decision) == (STATE.QUEUED, *wait, False, None)


@pytest.mark.parametrize("kind", list(ErrorKind), ids=lambda kind: kind.value or "unspecified")
def test_a_limit_of_one_recipient_waits_four_to_the_x_seconds_and_five_tries(kind: ErrorKind) -> None:
    for tries in TRIES:
        decision = decide(of(RetryLaterError, kind=kind, scope="recipient"), tries)
        if tries.failures < 4:
            assert summary(decision) == (STATE.QUEUED, 4.0**tries.failures, "recipient", False, None)
        elif tries.accepting >= 4:
            assert summary(decision) == (STATE.FAILED, *NEVER)
        else:
            assert summary(decision) == (STATE.QUEUED, None, "recipient", False, STOP.THROTTLED)


@pytest.mark.parametrize("tries", TRIES, ids=str)
def test_what_never_left_goes_again_and_never_fails_its_row(tries: Tries) -> None:
    decision = decide(NotSentError("no connection"), tries)
    assert (decision.outcome.state, decision.stop, decision.outcome.error_kind) == (
        STATE.QUEUED,
        None,
        ErrorKind.UNREACHABLE,
    )
    assert decision.retry_in is not None
    assert 1 <= decision.retry_in <= 8


@pytest.mark.parametrize(
    "error", [OutcomeUnknownError("lost"), AudioError("what"), WhatsAppError("what"), of(ProviderError)]
)
def test_what_may_have_been_accepted_is_never_sent_again(error: WhatsAppError) -> None:
    for tries in TRIES:
        assert summary(decide(error, tries)) == (STATE.UNKNOWN, *NEVER)


def test_what_the_service_has_no_way_to_carry_is_skipped() -> None:
    assert summary(decide(UnsupportedError("waha", "to", "not this kind"))) == (STATE.SKIPPED, *NEVER)


@pytest.mark.parametrize(
    ("kind", "asked", "expected"),
    [
        (ErrorKind.THROTTLE, 7.0, (STATE.QUEUED, 7.0, "sender", False, None)),
        (ErrorKind.THROTTLE, 900.0, (STATE.QUEUED, 900.0, "sender", False, None)),
        (ErrorKind.THROTTLE, 901.0, (STATE.QUEUED, 901.0, "sender", False, STOP.THROTTLED)),
        (ErrorKind.TRANSIENT, 60.0, (STATE.QUEUED, 60.0, "sender", False, None)),
        (ErrorKind.TRANSIENT, 1e9, (STATE.QUEUED, 1e9, "sender", False, STOP.THROTTLED)),
        (ErrorKind.SESSION, 5.0, (STATE.QUEUED, 5.0, "sender", False, None)),
        (ErrorKind.TRANSIENT, math.inf, (STATE.QUEUED, math.inf, "sender", False, STOP.THROTTLED)),
    ],
)
def test_the_whole_sender_waits_as_long_as_the_service_asks_and_no_run_longer_than_15_minutes(
    kind: ErrorKind, asked: float, expected: tuple[Any, ...]
) -> None:
    assert summary(decide(of(RetryLaterError, kind=kind, retry_after=asked))) == expected


def test_one_recipient_waits_as_long_as_the_service_asks_and_is_skipped_beyond_15_minutes() -> None:
    assert decide(of(RetryLaterError, scope="recipient", retry_after=30.0)).retry_in == 30
    assert summary(decide(of(RetryLaterError, scope="recipient", retry_after=901.0))) == (STATE.SKIPPED, *NEVER)


def test_no_error_there_is_is_left_out_of_the_decisions() -> None:
    """Whatever is raised between a claim and its answer, its row gets one of the six outcomes."""
    for kind in {RetryLaterError, RecipientRefusedError, RequestRefusedError, AccountError}:
        assert decide(of(kind)).outcome.state in set(SendState)
    assert set(errors.VERDICT_ERRORS.values()) == {
        RetryLaterError,
        RecipientRefusedError,
        RequestRefusedError,
        AccountError,
    }


# --- the streak


def outcome(state: SendState, kind: ErrorKind = ErrorKind.UNSPECIFIED, code: str = "") -> Outcome:
    return Outcome(state, error_kind=kind, error_code=code)


LOST = outcome(STATE.UNKNOWN, ErrorKind.NO_ANSWER)
YES = outcome(STATE.ACCEPTED)
DOWN = outcome(STATE.QUEUED, ErrorKind.UNREACHABLE)
THROTTLED = outcome(STATE.QUEUED, ErrorKind.THROTTLE)


def probes(what: Outcome, number: int, every: float = 1.0, streak: Streak = NO_TROUBLE) -> Streak:
    """So many answers, each of a request that left when the one before was known."""
    for place in range(number):
        streak = streak.after(what, sent_at=place * every + 0.5, now=(place + 1) * every)
    return streak


def test_what_was_in_flight_together_tells_of_trouble_once() -> None:
    streak = NO_TROUBLE
    for place in range(64):
        streak = streak.after(LOST, sent_at=1.0 + place / 1000, now=2.0 + place / 1000)
    assert (streak.probes, streak.in_trouble, streak.pause, streak.stop) == (1, True, 0.0, None)


def test_an_accepted_message_ends_all_trouble() -> None:
    for what in (LOST, DOWN, THROTTLED, outcome(STATE.FAILED, ErrorKind.REQUEST)):
        after = probes(what, 3).after(YES, sent_at=9.0, now=9.1)
        assert (after.in_trouble, after.throttled_since, after.refusals, after.stop) == (False, None, ("", 0), None)


def flapping(share: float, messages: int, what: Outcome = LOST) -> tuple[Streak, int]:
    """A service that loses this share of the answers, one message after another; how many were lost until it stopped."""
    streak, lost = NO_TROUBLE, 0
    for place in range(messages):
        hit = int((place + 1) * share) > int(place * share)
        streak, lost = streak.after(what if hit else YES, sent_at=place + 0.1, now=place + 0.9), lost + hit
        if streak.stop:
            break
    return streak, lost


@pytest.mark.parametrize(("share", "at_most"), [(0.5, 12), (0.25, 15), (0.15, 24)])
def test_a_service_that_loses_many_answers_and_accepts_between_them_is_an_outage(share: float, at_most: int) -> None:
    streak, lost = flapping(share, 10_000)
    assert streak.stop is STOP.OUTAGE
    assert streak.loses_too_many
    assert LOST_ANSWERS_AT_MOST < lost <= at_most


@pytest.mark.parametrize("share", [0.01, 0.05, 0.09])
def test_a_service_that_loses_fewer_than_a_tenth_of_the_answers_goes_on_for_ever(share: float) -> None:
    streak, lost = flapping(share, 100_000)
    assert (streak.stop, streak.loses_too_many, lost) == (None, False, round(100_000 * share))


def test_answers_that_were_lost_together_count_once_also_where_others_were_accepted_among_them() -> None:
    streak = NO_TROUBLE
    for place in range(64):
        streak = streak.after(LOST if place % 2 else YES, sent_at=1.0 + place / 1000, now=2.0 + place / 1000)
    assert (streak.stop, streak.lost <= 10) == (None, True)


def test_refusals_of_many_rows_that_may_pass_say_nothing_of_one_row() -> None:
    refused = of(RetryLaterError, code="131016", kind=ErrorKind.TRANSIENT)
    alone, _ = flapping(0.1, 1000, outcome(STATE.QUEUED, ErrorKind.TRANSIENT))
    many, _ = flapping(0.5, 1000, outcome(STATE.QUEUED, ErrorKind.TRANSIENT))
    assert (alone.refuses_many, many.refuses_many) == (False, True)
    assert decide(refused, Tries(10, 10)).outcome.state is STATE.FAILED
    assert decide(refused, Tries(10, 10, refuses_many=True)).outcome.state is STATE.QUEUED
    assert decide(refused, Tries(40, 40, refuses_many=True)).outcome.state is STATE.FAILED


def test_tries_of_one_message_come_after_growing_pauses() -> None:
    assert [probes(LOST, number).pause for number in range(7)] == [0, 0, 1, 2, 4, 8, 8]


@pytest.mark.parametrize("kind", [ErrorKind.BARE_THROTTLE, ErrorKind.ADDRESS])
def test_six_refusals_by_their_status_alone_are_an_outage(kind: ErrorKind) -> None:
    refused = outcome(STATE.QUEUED, kind)
    assert [probes(refused, number).stop for number in (5, 6)] == [None, STOP.OUTAGE]
    assert not probes(refused, 6).loses_too_many


@pytest.mark.parametrize("number", range(1, UNKNOWN_PROBES + 1))
def test_six_lost_answers_one_after_another_are_an_outage(number: int) -> None:
    assert probes(LOST, number).stop is (STOP.OUTAGE if number == 6 else None)


def test_tries_that_surely_sent_nothing_may_go_on_for_a_minute() -> None:
    assert probes(DOWN, 50).stop is None
    assert probes(DOWN, 3, every=31).stop is STOP.OUTAGE
    assert probes(DOWN, 2, every=OUTAGE_SECONDS * 2).stop is None  # two are not several


def test_lost_answers_and_no_connection_are_the_same_outage() -> None:
    streak = probes(DOWN, 3)
    for place in range(10, 10 + UNKNOWN_PROBES):
        streak = streak.after(LOST, sent_at=place + 0.5, now=place + 1)
    assert streak.stop is STOP.OUTAGE


def test_a_throttle_is_no_trouble_but_for_15_minutes_of_it() -> None:
    streak = NO_TROUBLE.after(THROTTLED, sent_at=0.0, now=0.1).after(THROTTLED, sent_at=800.0, now=900.1)
    assert (streak.in_trouble, streak.stop) == (False, None)
    assert streak.after(THROTTLED, sent_at=901.0, now=901.0).stop is STOP.THROTTLED


@pytest.mark.parametrize("kind", [ErrorKind.REQUEST, ErrorKind.TEMPLATE, ErrorKind.UNEXPLAINED, ErrorKind.UNSPECIFIED])
def test_five_refusals_alike_stop(kind: ErrorKind) -> None:
    refused = outcome(STATE.FAILED, kind, "100")
    assert [probes(refused, number).stop for number in (4, ALIKE_REFUSALS)] == [None, STOP.REQUEST]
    mixed = NO_TROUBLE
    for place, code in zip(range(20), itertools.cycle(["100", "131008"]), strict=False):
        mixed = mixed.after(outcome(STATE.FAILED, kind, code), sent_at=float(place), now=place + 0.5)
    assert mixed.stop is None


def test_refusals_of_recipients_are_their_own_however_many() -> None:
    assert probes(outcome(STATE.FAILED, ErrorKind.RECIPIENT, "131026"), 100) == NO_TROUBLE
    assert probes(outcome(STATE.SKIPPED, ErrorKind.WINDOW, "131047"), 100) == NO_TROUBLE
    assert probes(outcome(STATE.QUEUED, ErrorKind.PAIR, "131056"), 100) == NO_TROUBLE


def test_decisions_and_streaks_are_values() -> None:
    for value in (decide(NotSentError("no")), NO_TROUBLE, Tries()):
        assert dataclasses.replace(value) == value
        with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
            value.failures = 7  # type: ignore[misc, union-attr]
