"""The event by which the server is told of a send: the same as the final one of Prefect's engine."""

import asyncio
import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import flow, get_client, tags
from prefect_whatsapp.ledger import Outcome, Row
from prefect_whatsapp.sending.event_contract import new_run_id, run_key
from told_runs import (
    OUTCOMES,
    ended_run,
    row_numbered,
    run_and_tell,
    run_by_engine,
    shown_runs,
    this_flow_run,
    told_events,
)

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

# Where ours differs from the engine's, and why. Anything else is a change of Prefect's that is to be looked at.
KNOWN_DIFFERENCES = {
    "follows",  # there is no event before it
    "payload.initial_state",  # nor a state
    "payload.intended.from",
    "payload.validated_state.state_details.untrackable_result",  # the engine notes that there is a result which it doesn't keep
    "payload.task_run.task_key",  # a hash of the task's code, and there is none of a run that is told afterwards
    # What differs between any two runs.
    "id",
    "occurred",
    "received",
    "resource.prefect.resource.id",
    "resource.prefect.state-timestamp",
    "payload.task_run.dynamic_key",
    "payload.task_run.expected_start_time",
    "payload.task_run.start_time",
    "payload.task_run.end_time",
    "payload.task_run.total_run_time",
}


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.state)
async def test_our_event_is_the_engine_s_final_event_field_by_field(outcome: Outcome) -> None:
    engines, ours = await _both(outcome)
    assert {path for path, pair in _differences(engines, ours)} <= KNOWN_DIFFERENCES, _differences(engines, ours)


async def test_the_known_differences_are_still_there() -> None:
    """One that is gone from the list's reasons would hide a change of Prefect's."""
    engines, ours = await _both(OUTCOMES[0])
    assert {path for path, pair in _differences(engines, ours)} >= {"follows", "payload.initial_state"}
    assert ours["payload"]["validated_state"]["state_details"] == {}


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.state)
async def test_the_server_shows_such_a_run_as_it_shows_the_engine_s(outcome: Outcome) -> None:
    @flow
    async def broadcast() -> list[dict[str, Any]]:
        async def send(row: Row, run_id: str) -> Outcome:
            return outcome

        with tags("weekly"):
            await run_by_engine(send, row_numbered(1))
            await run_and_tell(send, row_numbered(2))
        return await shown_runs(this_flow_run(), 2)

    shown = await broadcast()
    engines, ours = sorted(shown, key=lambda run: "-" in run["dynamic_key"][8:9])
    if not ours["dynamic_key"].startswith("2-"):
        engines, ours = ours, engines
    differ = {name for name in engines if engines[name] != ours[name]}
    own = {
        "id",
        "task_key",
        "created",
        "updated",
        "dynamic_key",
        "state_id",
        "state",
        "expected_start_time",
        "start_time",
    }
    timed = {"end_time", "total_run_time", "estimated_run_time", "estimated_start_time_delta"}
    assert differ <= own | timed
    assert ours["tags"] == ["weekly"]
    assert {"type", "name", "message"} <= {k for k in ours["state"] if ours["state"][k] == engines["state"][k]}


async def test_an_event_that_is_told_again_has_an_id_of_its_own_and_is_of_the_same_run() -> None:
    """Prefect's broker passes on an id once in five minutes, also where its recorder then dropped the event."""

    @flow
    async def broadcast() -> None:
        async with told_events() as events:
            run, event = ended_run(1), events._contract.event
            assert event(run) == event(run)
            again = event(run, again=True)
            assert again["id"] != event(run)["id"]
            assert again | {"id": ""} == event(run) | {"id": ""}

    await broadcast()


def test_ids_sort_by_when_they_were_made_and_are_version_7() -> None:
    first = new_run_id()
    assert first.version == 7
    assert first.variant == "specified in RFC 4122"
    assert abs(int(first.hex[:12], 16) / 1000 - datetime.datetime.now(datetime.UTC).timestamp()) < 60
    assert len({new_run_id() for _ in range(1000)}) == 1000


def test_the_key_of_a_run_names_its_row_and_attempt_and_is_never_another_run_s() -> None:
    assert run_key(17, 2, UUID(int=0xBEEF)).startswith("17-2-")
    assert run_key(17, 2, uuid4()) != run_key(17, 2, uuid4())


async def _both(outcome: Outcome) -> tuple[dict[str, Any], dict[str, Any]]:
    """The final event of the engine and ours, of one flow, as the server keeps them."""

    @flow
    async def broadcast() -> tuple[str, str]:
        ids: list[str] = []

        async def send(row: Row, run_id: str) -> Outcome:
            ids.append(run_id)
            return outcome

        with tags("weekly"):
            await run_by_engine(send, row_numbered(1))
            await run_and_tell(send, row_numbered(1))
        return ids[0], ids[1]

    engine_id, our_id = await broadcast()
    return await _final_event(engine_id), await _final_event(our_id)


async def _final_event(run_id: str) -> dict[str, Any]:
    body = {
        "filter": {"resource": {"id": [f"prefect.task-run.{run_id}"]}, "order": "DESC"},
        "limit": 10,
    }
    for _ in range(200):
        async with get_client() as client:
            events = (await client.request("POST", "/events/filter", json=body)).json()["events"]
        if events and events[0]["resource"]["prefect.state-type"] not in ("PENDING", "RUNNING"):
            return dict(events[0])
        await asyncio.sleep(0.1)
    raise AssertionError(f"no final event of {run_id}")


def _differences(one: Any, other: Any, path: str = "") -> list[tuple[str, tuple[Any, Any]]]:
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted({*one, *other})
        return [
            found
            for name in names
            for found in _differences(one.get(name, "absent"), other.get(name, "absent"), f"{path}.{name}".strip("."))
        ]
    return [] if one == other else [(path, (one, other))]
