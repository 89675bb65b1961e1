"""The broadcast's name: the promise that the same name never repeats a send."""

import datetime
import re

from prefect.runtime import flow_run
from prefect_whatsapp.models.errors import InputError
from prefect_whatsapp.models.masking import mask_numbers
from prefect_whatsapp.sending.shards import part_of

_DATE = re.compile(r"\{(?::(?P<format>[^{}]*))?\}")
_LONGEST = 200


def resolve_name(pattern: str, when: datetime.datetime | None = None) -> str:
    """Put the date of the run's scheduled start into a broadcast's name.

    A schedule's next run thus has a new name, and a rerun or a retry of this one has the old.

    Args:
        pattern: A name, or one with a date in `strftime`'s words: `weekly-{:%G-W%V}`.
        when: The scheduled start; None takes that of the current flow run.

    Returns:
        The name.

    Raises:
        InputError: The name is empty, too long, or its date can't be written.

    Example:
        >>> resolve_name("weekly-{:%G-W%V}", datetime.datetime(2026, 11, 20))
        'weekly-2026-W47'
    """
    at = when or flow_run.scheduled_start_time or datetime.datetime.now(datetime.UTC)

    def written(found: re.Match[str]) -> str:
        return at.strftime(found["format"] or "%Y-%m-%d")

    name = _DATE.sub(written, pattern).strip()
    if not name or len(name) > _LONGEST or "{" in name or "}" in name or not name.isprintable():
        raise InputError(
            f"broadcast {mask_numbers(pattern[:60])!r} is no name: give 1 to {_LONGEST} characters, a date as {{:%G-W%V}}"
        )
    return name


def flow_run_name() -> str:
    """The flow run is named after the broadcast; a shard keeps the name that it was given."""
    if part_of():
        return str(flow_run.name)
    pattern = str((flow_run.parameters or {}).get("broadcast", "broadcast"))
    try:
        return mask_numbers(resolve_name(pattern))
    except InputError:
        return "broadcast"  # the flow itself says what is wrong with the name
