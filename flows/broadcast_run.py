"""One run of a broadcast: what all its steps know."""

import time
from dataclasses import dataclass, field
from logging import Logger, LoggerAdapter
from typing import Any

from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect_whatsapp.flows.form import BroadcastForm
from prefect_whatsapp.flows.names import ScheduledStart, resolve_name, scheduled_start
from prefect_whatsapp.ledger.history import Actor, this_process
from prefect_whatsapp.models import Scale, SendState
from prefect_whatsapp.providers.dialect import Dialect
from prefect_whatsapp.reporting.artifacts import ArtifactPublisher
from prefect_whatsapp.sending.content import Content
from prefect_whatsapp.sending.shards import part_of


@dataclass(frozen=True)
class BroadcastRun:
    """What the steps of one run share.

    Attributes:
        settings: What was asked.
        message: What is sent to everyone.
        scale: How it is sent.
        start: When the run was to start, and by whom.
        name: Of the broadcast, its date filled in.
        dialect: The sender's.
        artifacts: Where its artifacts are published.
        part_of: The id of the broadcast that it is a shard of; empty for a run of its own.
        actor: Who runs it.
        started: When it began, on the monotonic clock.
        log: Its logger.
    """

    settings: BroadcastForm
    message: Content
    scale: Scale
    start: ScheduledStart
    name: str
    dialect: Dialect
    artifacts: ArtifactPublisher
    part_of: str
    actor: Actor
    started: float = field(default_factory=time.monotonic)
    log: "Logger | LoggerAdapter[Any]" = field(default_factory=get_run_logger)

    @classmethod
    def begin(cls, settings: BroadcastForm, message: Content) -> "BroadcastRun":
        """Read what the run's context tells.

        Args:
            settings: What was asked.
            message: What is sent to everyone.
        """
        start = scheduled_start()
        name = resolve_name(settings.broadcast, start.at, timezone=start.timezone)
        return cls(
            settings,
            message,
            scale=settings.scale or Scale(),
            start=start,
            name=name,
            dialect=settings.sender.dialect(),
            artifacts=ArtifactPublisher(name, message.kind),
            part_of=part_of(),
            actor=this_process(str(flow_run.id or "")),
        )

    def pace_seconds(self, counts: dict[SendState, int]) -> float:
        """How long the queued rows take at the sender's pace."""
        queued = counts.get(SendState.QUEUED, 0)
        queued = min(queued, self.settings.max_messages or queued)
        spacing, rate = self.settings.sender.random_spacing, self.settings.sender.messages_per_second
        return queued * max(sum(spacing) / 2 if spacing else 0.0, 1 / rate if rate else 0.0)  # both hold
