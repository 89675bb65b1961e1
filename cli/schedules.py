"""A build step of prefect.yaml, which `prefect deploy` runs: a deployment's schedules belong to the person who set them."""

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound


def keep_schedules(deployment: str, slug: str, cron: str, timezone: str = "Etc/UTC") -> dict[str, str]:
    """Give a new deployment its first schedule, turned off, and leave those of one that is there as they are.

    `prefect deploy` replaces all schedules of a deployment by those written under `schedules`: the hour that a person set
    would be lost, and the next run start at another. With `schedules: []` it leaves them alone, so that the first one is
    made here, before the rest of the deployment, which `prefect deploy` then fills in.

    Args:
        deployment: As `flow/name`; the name of the deployment whose build step this is.
        slug: The first schedule's slug.
        cron: When it is due, five fields.
        timezone: An IANA name.

    Returns:
        `{"schedules": "new"}` or `{"schedules": "kept"}`.

    Example:
        In prefect.yaml:
        ```yaml
        build:
          - prefect_whatsapp.cli.schedules.keep_schedules:
              deployment: broadcast-audio/weekly-voice-note
              slug: monday-nine
              cron: "0 9 * * 1"
              timezone: Europe/Berlin
        schedules: []
        ```
    """
    first = DeploymentScheduleCreate(schedule=CronSchedule(cron=cron, timezone=timezone), active=False, slug=slug)
    flow, _, name = deployment.partition("/")
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(deployment)
        except ObjectNotFound:
            client.create_deployment(client.create_flow_from_name(flow), name, schedules=[first])
            return {"schedules": "new"}
    return {"schedules": "kept"}
