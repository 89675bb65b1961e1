"""The truth counts what was accepted, by recipient, service and second."""

import time

import pytest
from prefect_whatsapp.sandbox.truth import Action, Message, Truth


def accept(truth: Truth, recipient: str, service: str = "graph", callback: str = "") -> None:
    truth.called(service, Action.SEND)
    truth.accept(Message(service=service, recipient=recipient, kind="audio", callback=callback))


def test_an_empty_truth() -> None:
    report = Truth().report()
    assert (report["calls"], report["accepted"], report["duplicates"], report["seconds"]) == (0, {}, {}, 0.0)


def test_accepted_and_duplicates_over_services() -> None:
    truth = Truth()
    for recipient, service in (("1", "graph"), ("2", "graph"), ("1", "waha"), ("3", "waha")):
        accept(truth, recipient, service)
    truth.called("graph", Action.CHECK)
    truth.called("graph", Action.UPLOAD)
    truth.uploaded("graph")
    report = truth.report()
    assert report["accepted"] == {"1": 2, "2": 1, "3": 1}
    assert report["duplicates"] == {"1": 2}
    assert (report["duplicates_total"], report["accepted_total"], report["recipients"]) == (1, 4, 3)
    assert (report["calls"], report["sends"], report["checks"], report["uploads"]) == (6, 4, 1, 1)
    assert report["services"]["waha"]["recipients"] == {"1": 1, "3": 1}
    assert report["services"]["graph"]["accepted"] == 2


def test_the_peak_is_the_most_in_any_sliding_second(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Truth()
    for now in (0.0, 0.6, 0.7, 1.2, 1.59, 1.6, 3.0, 3.9999, 4.0):
        monkeypatch.setattr(truth, "now", lambda now=now: now)
        accept(truth, "1")
    report = truth.report()
    # 0.6, 0.7, 1.2, 1.59 lie within a second; 1.6 is a whole second after 0.6.
    assert report["peak_per_second"] == report["peak_accepted_per_second"] == 4
    assert report["seconds"] == 4.0
    assert [(s["second"], s["sends"], s["accepted"]) for s in report["by_second"]] == [
        (0, 3, 3),
        (1, 3, 3),
        (3, 2, 2),
        (4, 1, 1),
    ]


def test_refusals_and_throttles_are_counted_by_reason_and_second() -> None:
    truth = Truth()
    truth.called("graph", Action.SEND)
    truth.refused("graph", "130429", throttled=True)
    truth.refused("graph", "131047")
    report = truth.report()
    assert report["refused"] == {"graph:130429": 1, "graph:131047": 1}
    assert report["by_second"] == [{"second": 0, "sends": 1, "accepted": 0, "throttled": 1}]


def test_since_counts_what_was_accepted_later() -> None:
    truth = Truth()
    accept(truth, "1")
    time.sleep(0.01)
    since = truth.now()
    accept(truth, "2")
    assert truth.report(since=since)["accepted"] == {"2": 1}
    assert [m["recipient"] for m in truth.messages(since=since)] == ["2"]
    assert [m["recipient"] for m in truth.messages(recipient="1")] == ["1"]


def test_messages_hold_both_clocks() -> None:
    truth = Truth()
    accept(truth, "1")
    (message,) = truth.messages()
    assert abs(message["at"] - time.time()) < 5
    assert 0 <= message["seconds"] <= truth.now()


def test_counts_go_on_where_messages_are_no_longer_kept() -> None:
    truth = Truth(keep_messages=10)
    for number in range(50):
        accept(truth, str(number))
    assert len(truth.messages()) == 10
    assert truth.report()["accepted_total"] == 50


def test_brief_leaves_out_what_grows() -> None:
    truth = Truth()
    accept(truth, "1", callback="row1")
    brief = truth.report(brief=True)
    assert not {"accepted", "callbacks", "unanswered"} & set(brief)
    assert "recipients" not in brief["services"]["graph"]
    assert brief["accepted_total"] == 1


def test_reset_forgets_everything() -> None:
    truth = Truth()
    accept(truth, "1", callback="row1")
    truth.reset()
    fresh = Truth().report() | {"now": 0}
    assert truth.report() | {"now": 0} == fresh


@pytest.mark.slow
def test_a_call_costs_the_same_after_many() -> None:
    truth = Truth(keep_messages=1000)

    def cost(calls: int) -> float:
        begun = time.process_time()
        for number in range(calls):
            accept(truth, str(number))
        return time.process_time() - begun

    cost(20_000)
    early = cost(50_000)
    cost(200_000)
    assert cost(50_000) < 3 * early
