"""What a person may choose for a broadcast, declared once: the flows' forms and the command line show these fields.

The titles are what Prefect's form shows, the descriptions also what `--help` says. What names a saved block is added by
the flows, which alone know of blocks.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Runs = Literal["send", "engine", "batch"]


class Options(BaseModel):
    """Plain values, checked against their bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class NumberOptions(Options):
    """How phone numbers are read."""

    default_region: str = Field(
        default="",
        title="Default country",
        description="Two-letter country code, such as US, for numbers without a country code.",
    )


class AudioOptions(Options):
    """How audio is sent."""

    voice: bool = Field(
        default=True, title="Voice note", description="Send a voice note. Turn it off to send basic audio."
    )
    convert: bool = Field(
        default=False,
        title="Let the service convert",
        description="Let the service convert the audio. Only Wawp and WAHA can.",
    )


class BroadcastOptions(NumberOptions):
    """What a run of a broadcast does. The order is that of the form."""

    dry_run: bool = Field(
        default=False, title="Dry run", description="Check the account and the list. Nothing is sent."
    )
    approve: bool = Field(
        default=False,
        title="Wait for approval",
        description="Pause after the plan until someone presses Resume. Approval times out after seven days.",
    )
    canary: int = Field(
        default=0,
        ge=0,
        title="Canary",
        description="Send this many messages first, wait up to ten minutes for their receipts, and stop if more than a tenth "
        "failed; 0 for none. A receiver must be running.",
    )
    max_messages: int = Field(
        default=0, ge=0, title="Maximum messages", description="Maximum number of messages in this run; 0 for no limit."
    )
    on_unknown: Literal["hold", "resend"] = Field(
        default="hold",
        title="Unknown sends",
        description="What to do with sends of an earlier run whose outcome is unknown: hold them or resend them. A person "
        "may get a resent message twice.",
    )
    retry_failed: bool = Field(
        default=False,
        title="Retry failed sends",
        description="Retry the sends that failed in an earlier run: refused at once, or reported as failed later.",
    )
    wait_for_receipts: int = Field(
        default=0,
        ge=0,
        le=1_440,
        title="Wait for receipts (minutes)",
        description="Minutes to wait, after the last send, for delivery receipts. A receiver must be running.",
    )


class Scale(Options):
    """How a large broadcast is sent. The defaults suit most broadcasts.

    Attributes:
        runs: `send`: a task run per send. `engine`: the same, recorded by Prefect's own task engine. `batch`: a task run
            per batch of sends.
        batch_size: Maximum sends per batch.
        in_flight: Maximum concurrent requests; 0 chooses what the rate needs, at most 64.
        shards: Child flow runs that share the work; 0 for none.
        shard_deployment: Deployment that the child runs belong to, as `flow/name`; empty for the run's own.
    """

    runs: Runs = Field(
        default="send",
        title="Task runs",
        description="send: one task run per send. engine: the same, recorded by Prefect's task engine. batch: one task "
        "run per batch of sends.",
    )
    batch_size: int = Field(
        default=500,
        ge=1,
        le=5_000,
        title="Maximum sends per batch",
        description="Maximum number of sends in one task run, if there is one task run per batch.",
    )
    in_flight: int = Field(
        default=0,
        ge=0,
        le=64,
        title="Maximum concurrent requests",
        description="Maximum number of requests at the same time, up to 64; 0 chooses it from the rate.",
    )
    shards: int = Field(
        default=0,
        ge=0,
        le=100,
        title="Shards",
        description="Number of child flow runs that share the work, each on a worker of its own; 0 for none. Workers on "
        "several machines need a ledger in PostgreSQL.",
    )
    shard_deployment: str = Field(
        default="",
        title="Shard deployment",
        description="Deployment that the child runs belong to, as flow/name. Leave empty for the run's own deployment.",
    )
