"""The broadcast's name: the promise that the same name never repeats a send."""

import datetime
import re
import zoneinfo
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import DeploymentSchedule, FlowRun
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect_whatsapp.models.errors import InputError
from prefect_whatsapp.models.masking import mask_numbers
from prefect_whatsapp.sending.shards import part_of

_DATE = re.compile(r"\{(?::(?P<format>[^{}|]*)(?:\|(?P<zone>[^{}|]*))?)?\}")
# How Prefect's scheduler keys the runs that it makes: deployment, schedule, start.
_SCHEDULED = re.compile(r"scheduled (?P<deployment>[0-9a-f-]{36}) (?P<schedule>[0-9a-f-]{36}) .*")
# Where the time zone of a run's first try is kept: the next try must come to the same name, though its schedule was changed or
# deleted meanwhile, as `prefect deploy` does with a schedule that has no slug.
TIMEZONE_LABEL = "prefect-whatsapp.timezone"
_LONGEST = 200
_UTC = "UTC"


@dataclass(frozen=True)
class ScheduledStart:
    """When the root run of this run was to start: a retry keeps it, a subflow or a task has no other.

    Attributes:
        at: The moment, with a time zone.
        timezone: The schedule's time zone, by its IANA name; UTC where no schedule is known.
        by_schedule: Whether a schedule made the run, not a person or a program.
    """

    at: datetime.datetime
    timezone: str = _UTC
    by_schedule: bool = False


def scheduled_start() -> ScheduledStart:
    """Ask the Prefect server for the scheduled start of the run that this one belongs to; outside of a run, now."""
    root = flow_run.root_flow_run_id
    if not root:
        return ScheduledStart(datetime.datetime.now(datetime.UTC))
    return _start_of(UUID(str(root)))


@lru_cache(maxsize=32)
def _start_of(root_id: UUID) -> ScheduledStart:
    with get_client(sync_client=True) as client:
        root = client.read_flow_run(root_id)
        timezone = str(root.labels.get(TIMEZONE_LABEL, ""))
        if not timezone:
            schedules: list[DeploymentSchedule] = []
            if root.deployment_id is not None:
                with suppress(ObjectNotFound):  # the deployment is gone since
                    schedules = client.read_deployment_schedules(root.deployment_id)
            timezone = _timezone_of(root, schedules)
            if root.deployment_id is not None:
                with suppress(ObjectNotFound, PrefectHTTPStatusError):  # a server that keeps no labels
                    client.update_flow_run_labels(root_id, {TIMEZONE_LABEL: timezone})
    at = root.expected_start_time or root.created or datetime.datetime.now(datetime.UTC)
    return ScheduledStart(at, timezone, root.auto_scheduled)


def _timezone_of(root: FlowRun, schedules: list[DeploymentSchedule]) -> str:
    """The time zone of the schedule that made the run, or of all the deployment's schedules."""
    made_by = _SCHEDULED.fullmatch(root.idempotency_key or "")
    own = [each for each in schedules if made_by and str(each.id) == made_by["schedule"]]
    zones = {getattr(each.schedule, "timezone", None) or _UTC for each in own or schedules}
    return zones.pop() if len(zones) == 1 else _UTC


def is_dated(pattern: str) -> bool:
    """Whether a broadcast's name has a date in it, and so is another one for each run of a schedule."""
    return _DATE.search(pattern) is not None


def resolve_name(pattern: str, when: datetime.datetime | None = None, *, timezone: str = _UTC) -> str:
    """Put the date of the run's scheduled start into a broadcast's name.

    A schedule's next run thus has a new name, and a rerun or a retry of this one has the old.

    Args:
        pattern: A name, or one with a date in `strftime`'s words, `weekly-{:%G-W%V}`; with a time zone of its own,
            `daily-{:%Y-%m-%d|America/Chicago}`.
        when: The scheduled start; None takes that of the current run, in its schedule's time zone.
        timezone: Whose date `when` has, where the pattern names none: an IANA name.

    Returns:
        The name.

    Raises:
        InputError: The name is empty, too long, or its date can't be written.

    Example:
        >>> start = datetime.datetime(2026, 11, 20, 23, 30, tzinfo=datetime.UTC)
        >>> resolve_name("weekly-{:%G-W%V}", start)
        'weekly-2026-W47'
        >>> resolve_name("daily-{:%Y-%m-%d|Asia/Tokyo}", start)
        'daily-2026-11-21'
    """
    if when is None:
        start = scheduled_start()
        when, timezone = start.at, start.timezone
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)

    def written(found: re.Match[str]) -> str:
        return when.astimezone(_zone(found["zone"] or timezone)).strftime(found["format"] or "%Y-%m-%d")

    name = _DATE.sub(written, pattern).strip()
    if not name or len(name) > _LONGEST or "{" in name or "}" in name or not name.isprintable():
        raise InputError(
            f"broadcast {mask_numbers(pattern[:60])!r} is not a valid name: give 1 to {_LONGEST} characters, a date as "
            "{:%G-W%V} or, in another time zone than the schedule's, as {:%Y-%m-%d|America/Chicago}"
        )
    return name


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name.strip())
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(f"{name[:60]!r} in the broadcast's name is not a time zone such as America/Chicago") from None


def flow_run_name() -> str:
    """The flow run is named after the broadcast; a shard keeps the name that it was given."""
    if part_of():
        return str(flow_run.name)
    pattern = str((flow_run.parameters or {}).get("broadcast", "broadcast"))
    try:
        now = None if is_dated(pattern) else datetime.datetime.now(datetime.UTC)  # asks no server
        return mask_numbers(resolve_name(pattern, now))
    except InputError:
        return "broadcast"  # the flow itself says what is wrong with the name
