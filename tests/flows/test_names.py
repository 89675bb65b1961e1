"""A broadcast's name, and whose date is in it."""

import asyncio
import datetime
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import CronSchedule, RRuleSchedule
from prefect.flow_engine import run_flow_async
from prefect.states import Pending
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.flows.names import ScheduledStart, _start_of, is_dated, resolve_name, scheduled_start
from prefect_whatsapp.models.errors import BroadcastMismatchError, InputError
from prefect_whatsapp.sandbox.server import RunningSandbox

Arguments = Callable[..., dict[str, Any]]
CHICAGO = "America/Chicago"


def at(text: str) -> datetime.datetime:
    """A moment in UTC."""
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("pattern", "zone", "moments", "names"),
    [
        # Half past six in the evening over the change to summer time: the same day in UTC, two days in Chicago.
        ("d-{:%Y-%m-%d}", CHICAGO, ["2026-03-08T00:30", "2026-03-08T23:30"], ["d-2026-03-07", "d-2026-03-08"]),
        # And over the change back: two days apart in UTC.
        ("d-{:%Y-%m-%d}", CHICAGO, ["2026-10-31T23:30", "2026-11-02T00:30"], ["d-2026-10-31", "d-2026-11-01"]),
        # Sunday evenings in New York are Monday, hence the next week, in UTC from November to March only.
        ("w-{:%G-W%V}", "America/New_York", ["2026-03-02T01:00", "2026-03-09T00:00"], ["w-2026-W09", "w-2026-W10"]),
        # Mondays at one in Berlin are Sunday in UTC in summer.
        ("w-{:%G-W%V}", "Europe/Berlin", ["2026-03-23T00:00", "2026-03-29T23:00"], ["w-2026-W13", "w-2026-W14"]),
        # The pattern's own time zone comes before the schedule's.
        (f"d-{{:%d|{CHICAGO}}}", "Asia/Tokyo", ["2026-03-08T00:30", "2026-03-08T23:30"], ["d-07", "d-08"]),
        ("{}-{:%H}", "UTC", ["2026-11-21T00:30"], ["2026-11-21-00"]),
        ("plain", CHICAGO, ["2026-11-21T00:30"], ["plain"]),
    ],
)
def test_the_date_is_that_of_the_schedules_time_zone(
    pattern: str, zone: str, moments: list[str], names: list[str]
) -> None:
    assert [resolve_name(pattern, at(moment), timezone=zone) for moment in moments] == names


@pytest.mark.parametrize(
    "pattern", ["", "  ", "x" * 201, "a{", "{:%Y", "{0}", "a\nb", "{:%Y|Nowhere/Else}", "{:%Y|../x}"]
)
def test_what_is_no_name_is_refused(pattern: str) -> None:
    with pytest.raises(InputError):
        resolve_name(pattern, at("2026-11-21T00:30"))


def test_only_a_date_makes_a_name_another_one_each_time() -> None:
    assert is_dated("weekly-{:%G-W%V}")
    assert is_dated("{}")
    assert not is_dated("weekly-2026-W47")


def test_outside_of_a_run_it_is_now() -> None:
    start = scheduled_start()
    assert abs(datetime.datetime.now(datetime.UTC) - start.at) < datetime.timedelta(seconds=5)
    assert (start.timezone, start.by_schedule) == ("UTC", False)


# On a real server ----------------------------------------------------------------------------------------------------

seen: list[ScheduledStart] = []


@flow
def inner() -> None:
    """A subflow that asks."""
    seen.append(scheduled_start())


@task
def asking() -> None:
    """A task that calls a subflow."""
    inner()


@flow(retries=1)
async def outer() -> None:
    """Asks itself, in a subflow and in a task's subflow; fails once, so that it is retried."""
    seen.append(scheduled_start())
    await asyncio.to_thread(inner)
    await asyncio.to_thread(asking)
    await asyncio.sleep(1.1)
    if len(seen) < 4:
        raise RuntimeError("once more")


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_a_retry_a_subflow_and_a_task_have_the_start_of_the_root_run() -> None:
    seen.clear()
    await outer()
    assert len(seen) == 6
    assert len({start.at for start in seen}) == 1
    assert not seen[0].by_schedule


@flow(retries=1)
async def monday(arguments: dict[str, Any]) -> None:
    """The flow of docs/how-to/schedule.md, whose first try fails after three."""
    tried.append(1)
    count = 3 if len(tried) == 1 else 0
    report = await broadcast_audio(**arguments, broadcast="monday-{:%H:%M:%S}", max_messages=count)
    names.append(report.broadcast)
    await asyncio.sleep(1.1)
    if len(tried) == 1:
        raise RuntimeError("the first try")


tried: list[int] = []
names: list[str] = []


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_a_retried_flow_goes_on_with_the_broadcast_of_its_first_try(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    tried.clear()
    names.clear()
    arguments = broadcast_arguments(6)
    del arguments["broadcast"]
    await monday(arguments)
    assert len(names) == 2
    assert len(set(names)) == 1
    truth = sandbox.truth()
    assert (truth["accepted_total"], truth["duplicates_total"]) == (6, 0)


async def scheduled_runs(of: Any, *schedules: Any) -> list[FlowRun]:
    """What the server's own scheduler makes of these, in their order."""
    async with get_client() as client:
        deployment = await client.create_deployment(
            await client.create_flow(of),
            f"d-{uuid.uuid4().hex[:6]}",
            schedules=[{"schedule": each, "active": True} for each in schedules],  # type: ignore[misc]
            enforce_parameter_schema=False,
        )
        for _ in range(200):
            wanted = {"flow_runs": {"deployment_id": {"any_": [str(deployment)]}}, "sort": "EXPECTED_START_TIME_ASC"}
            found = (await client._client.post("/flow_runs/filter", json=wanted)).raise_for_status().json()
            if len(found) >= 2:
                return [FlowRun.model_validate(each) for each in found]
            await asyncio.sleep(0.2)
    raise TimeoutError("the scheduler made no runs")


async def run_by_hand(deployment: uuid.UUID) -> FlowRun:
    """What somebody who presses Run makes."""
    async with get_client() as client:
        return await client.create_flow_run_from_deployment(deployment)


async def run_now(of: Any, run: FlowRun, **parameters: Any) -> Any:
    """Run a scheduled run as a worker does when its time has come."""
    async with get_client() as client:
        await client.set_flow_run_state(run.id, Pending(), force=True)
        run = await client.read_flow_run(run.id)
    return await run_flow_async(of, flow_run=run, parameters=parameters)


def next_march() -> int:
    today = datetime.date.today()
    return today.year + (today.month > 2)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_a_daily_run_over_the_change_to_summer_time_has_a_name_each_day_and_never_anothers(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    """Chicago, half past six in the evening; the same rule by another time zone's date is refused, not forgotten."""
    year = next_march()
    second_sunday = 14 - datetime.date(year, 3, 1).weekday()
    dtstart = f"DTSTART;TZID={CHICAGO}:{year}03{second_sunday - 1:02}T183000"
    schedule = RRuleSchedule(rrule=f"{dtstart}\nRRULE:FREQ=DAILY;COUNT=2", timezone=CHICAGO)
    saturday, sunday = await scheduled_runs(broadcast_audio, schedule)
    arguments = broadcast_arguments(2)
    local = {**arguments, "broadcast": "reminder-{:%Y-%m-%d}"}
    reports = [await run_now(broadcast_audio, run, **local) for run in (saturday, sunday)]
    expected = [f"reminder-{year}-03-{day:02}" for day in (second_sunday - 1, second_sunday)]
    assert [report.broadcast for report in reports] == expected
    assert sandbox.truth()["accepted_total"] == 4
    again = await run_now(broadcast_audio, sunday, **local)  # the same run once more goes on
    assert (again.broadcast, again.accepted) == (expected[1], 2)

    by_utc = {**arguments, "broadcast": "other-{:%Y-%m-%d|UTC}"}
    await run_now(broadcast_audio, saturday, **by_utc)
    with pytest.raises(BroadcastMismatchError, match=rf"{second_sunday - 1} Mar {year} at 18:30 CST.*18:30 CDT"):
        await run_now(broadcast_audio, sunday, **by_utc)

    constant = {**arguments, "broadcast": "always the same"}
    await run_now(broadcast_audio, saturday, **constant)
    with pytest.raises(BroadcastMismatchError, match="give the name a date"):
        await run_now(broadcast_audio, sunday, **constant)
    more = [*arguments["recipients"], "+16505550199"]
    assert (await run_now(broadcast_audio, sunday, **{**constant, "recipients": more})).accepted == 3


@flow
async def tells() -> ScheduledStart:
    """Says what it knows of its start."""
    return scheduled_start()


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_of_several_schedules_each_run_has_the_time_zone_of_its_own() -> None:
    berlin = CronSchedule(cron="0 1 * * 1", timezone="Europe/Berlin")
    new_york = CronSchedule(cron="0 19 * * 0", timezone="America/New_York")
    runs = await scheduled_runs(tells, berlin, new_york)
    starts = [await run_now(tells, run) for run in runs[:2]]
    assert {start.timezone for start in starts} == {"Europe/Berlin", "America/New_York"}
    assert all(start.by_schedule for start in starts)
    for start, run in zip(starts, runs, strict=False):
        assert start.at == run.expected_start_time
        hour = {"Europe/Berlin": "01", "America/New_York": "19"}[start.timezone]
        assert resolve_name("{:%H}", start.at, timezone=start.timezone) == hour
    deployment = runs[0].deployment_id
    assert deployment
    start = await run_now(tells, await run_by_hand(deployment))
    assert (start.timezone, start.by_schedule) == ("UTC", False)  # two time zones: nobody knows which


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_a_run_by_hand_has_the_time_zone_of_its_deployments_schedule() -> None:
    runs = await scheduled_runs(tells, CronSchedule(cron="30 18 * * *", timezone=CHICAGO))
    deployment = runs[0].deployment_id
    assert deployment
    start = await run_now(tells, await run_by_hand(deployment))
    assert (start.timezone, start.by_schedule) == (CHICAGO, False)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("gone", ["its schedule", "all schedules"])
async def test_a_run_that_is_tried_again_keeps_its_time_zone_though_its_schedule_was_deleted(gone: str) -> None:
    """`prefect deploy` replaces schedules; by another zone's date everyone would get the message twice."""
    berlin = CronSchedule(cron="0 1 * * 1", timezone="Europe/Berlin")
    new_york = CronSchedule(cron="0 19 * * 0", timezone="America/New_York")
    runs = await scheduled_runs(tells, berlin, new_york)
    (run, *_) = [each for each in runs if await _zone_of(each) == "Europe/Berlin"]
    first = await run_now(tells, run)
    deployment = run.deployment_id
    assert deployment
    async with get_client() as client:
        for schedule in await client.read_deployment_schedules(deployment):
            if gone == "all schedules" or schedule.schedule.timezone == "Europe/Berlin":  # type: ignore[union-attr]
                await client.delete_deployment_schedule(deployment, schedule.id)
    _start_of.cache_clear()  # another process
    again = await run_now(tells, run)
    assert (first.timezone, again) == ("Europe/Berlin", first)


async def _zone_of(run: FlowRun) -> str:
    """The time zone of the schedule that made a run."""
    assert run.deployment_id
    async with get_client() as client:
        schedules = await client.read_deployment_schedules(run.deployment_id)
    made_by = (run.idempotency_key or "").split(" ")[2]
    return next(str(each.schedule.timezone) for each in schedules if str(each.id) == made_by)  # type: ignore[union-attr]
