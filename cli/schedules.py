"""A build step of prefect.yaml, which `prefect deploy` runs: a schedule that a person has turned on stays on."""

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound


def keep_schedule(deployment: str, slug: str) -> dict[str, bool]:
    """Say whether a schedule is on now, so that deploying again leaves it as a person has set it.

    Args:
        deployment: As `flow/name`.
        slug: The schedule's slug.

    Returns:
        `{"active": …}`: False where the server has no such deployment or schedule yet, so that a new one begins turned off.

    Example:
        In prefect.yaml:
        ```yaml
        build:
          - prefect_whatsapp.cli.schedules.keep_schedule:
              id: schedule
              deployment: broadcast-audio/weekly-voice-note
              slug: monday-nine
        schedules:
          - slug: monday-nine
            cron: "0 9 * * 1"
            active: "{{ schedule.active }}"
        ```
    """
    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(deployment)
        except ObjectNotFound:
            return {"active": False}
    return {"active": any(schedule.active for schedule in found.schedules if schedule.slug == slug)}
