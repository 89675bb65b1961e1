"""Which calls a fault hits."""

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prefect_whatsapp.models import Recipient
from prefect_whatsapp.models.errors import OutcomeUnknownError
from prefect_whatsapp.providers.chat_api import ChatApi
from prefect_whatsapp.providers.graph import Graph
from prefect_whatsapp.sandbox.faults import Fault, FaultKind, Faults
from prefect_whatsapp.sandbox.server import ThreadedSandbox
from prefect_whatsapp.sandbox.truth import Action
from pydantic import ValidationError
from sandbox_server import CHAT_API_INSTANCE, PHONE_NUMBER_ID, TOKEN, Run

JSON = {"Content-Type": "application/json"}


def hits(
    calls: int, *, by: str = "graph", action: Action = Action.SEND, recipient: str = "", **fault: Any
) -> list[int]:
    """The numbers of the calls that a fault hits."""
    faults = Faults([Fault(**{"kind": "throttle"} | fault)])
    return [n for n in range(1, calls + 1) if faults.strike(by, action, recipient)[1]]


def test_each_call_unless_it_is_said_otherwise() -> None:
    assert hits(3) == [1, 2, 3]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ({"times": 2}, [1, 2]),
        ({"after": 2}, [3, 4, 5, 6, 7, 8]),
        ({"after": 2, "times": 1}, [3]),
        ({"fraction": 0.25}, [4, 8]),
        ({"fraction": 0.5, "after": 1}, [3, 5, 7]),
        ({"fraction": 0.5, "times": 2}, [2, 4]),
    ],
)
def test_limits_are_by_count_and_the_same_in_every_run(limit: dict[str, Any], expected: list[int]) -> None:
    assert hits(8, **limit) == hits(8, **limit) == expected


def test_a_third_is_a_third_of_many() -> None:
    assert len(hits(3000, fraction=1 / 3)) in (999, 1000)


def test_only_some_recipients_in_any_spelling() -> None:
    fault = {"recipients": ["+1 650 555 0123", "16505550124", "16505550125@c.us"]}
    for recipient in ("16505550123", "16505550124", "16505550125"):
        assert hits(1, recipient=recipient, **fault) == [1]
    assert hits(1, recipient="16505550126", **fault) == []


def test_only_one_service_and_only_sends() -> None:
    assert hits(1, by="waha") == [1]
    assert hits(1, by="waha", service="graph") == []
    assert hits(1, by="graph", service="graph") == [1]
    assert hits(1, action=Action.UPLOAD) == []
    assert hits(1, action=Action.UPLOAD, on="upload") == [1]
    assert hits(1, action=Action.CHECK, on="any") == [1]
    assert hits(1, action=Action.CHECK, kind="expired_token") == [1]


def test_a_bucket_lets_a_rate_through(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("prefect_whatsapp.sandbox.faults.time", SimpleNamespace(monotonic=lambda: now))
    faults = Faults([Fault(kind=FaultKind.THROTTLE, per_second=50, burst=5)])
    through = 0
    for millisecond in range(501):
        now = millisecond / 1000
        through += faults.strike("graph", Action.SEND)[1] is None
    assert through in (29, 30), "five at once, and 50 a second"


def test_latency_goes_with_another_fault_and_varies_in_its_range() -> None:
    faults = Faults(
        [Fault(kind=FaultKind.LATENCY, seconds=0.1, max_seconds=0.3), Fault(kind=FaultKind.WINDOW, after=2, times=1)]
    )
    struck = [faults.strike("graph", Action.SEND) for _ in range(100)]
    latencies = [latency for latency, _ in struck]
    assert 0.1 <= min(latencies) < 0.12
    assert 0.28 < max(latencies) <= 0.3
    assert [fault for _, fault in struck if fault] == [Fault(kind=FaultKind.WINDOW, after=2, times=1)]


def test_the_first_fault_that_was_told_wins() -> None:
    faults = Faults([Fault(kind=FaultKind.WINDOW, times=1), Fault(kind=FaultKind.PAIR)])
    assert [faults.strike("graph", Action.SEND)[1].kind for _ in range(2)] == ["window", "pair"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "told",
    [
        {"kind": "mood"},
        {"kind": "error"},
        {"kind": "latency", "seconds": 2, "max_seconds": 1},
        {"kind": "throttle", "fraction": 0},
        {"kind": "throttle", "often": True},
        {"kind": "throttle", "recipients": ["650 555 0123"]},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(simulator: ThreadedSandbox, told: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Fault(**told)
    answer = httpx.post(f"{simulator.url}/_sandbox/faults", json=told, trust_env=False)
    assert answer.status_code == 422
    assert simulator.faults_met() == []


def test_faults_are_told_listed_with_counts_and_stopped(simulator: ThreadedSandbox) -> None:
    simulator.faults(Fault(kind=FaultKind.WINDOW), Fault(kind=FaultKind.PAIR, times=1))
    assert simulator.faults_met() == [
        {"kind": "window", "met": 0, "hit": 0},
        {"kind": "pair", "times": 1, "met": 0, "hit": 0},
    ]
    simulator.behave()
    assert simulator.faults_met() == []


def test_faults_that_are_no_json_are_refused(simulator: ThreadedSandbox) -> None:
    answer = httpx.post(f"{simulator.url}/_sandbox/faults", content=b"{", headers=JSON, trust_env=False)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error", "code": 131016, "status": 500, "service": "graph"},
        {"kind": "html", "status": 503, "retry_after": 5, "service": "graph"},
    ],
)
async def test_a_refusal_may_come_after_the_message_was_accepted(
    simulator: ThreadedSandbox, run: Run, fault: dict[str, Any]
) -> None:
    graph = Graph(phone_number_id=PHONE_NUMBER_ID, access_token=TOKEN, base_url=simulator.graph_url)
    simulator.faults(**fault, accepted=True, times=1)
    with pytest.raises(OutcomeUnknownError):
        await run(graph, graph.send_text("Hello", Recipient(to="+16505550123")))
    truth = simulator.truth()
    assert truth["accepted_total"] == 1
    assert truth["accepted"] == {"16505550123": 1}


@pytest.mark.parametrize(("down", "state"), [(False, "connected"), (True, "connecting")])
async def test_1msg_tells_its_state_in_its_own_word(
    simulator: ThreadedSandbox, run: Run, down: bool, state: str
) -> None:
    if down:
        simulator.faults(kind="session_down")
    dialect = ChatApi(
        instance_id=CHAT_API_INSTANCE,
        token=TOKEN,
        base_url=simulator.chat_api_url,
        path_template="/{instance_id}/{method}",
    )
    status = await run(dialect, dialect.check())
    assert (status.ready, status.state) == (not down, state)
