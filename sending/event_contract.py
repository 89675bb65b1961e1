"""What tells Prefect's server of an ended send: the final event of a task run, field by field.

Prefect's engine emits three events a task run (Pending, Running, Completed) and costs 4 to 8 ms of CPU a run. The server's
recorder makes a task run of any one event of a task run that is posted to `/events`, so the last is enough: on two cores
307 runs were recorded a second against 94, at a fifth of the CPU. It is the contract between Prefect's own client and
server and no documented API, so it is written down here alone, and a test compares it with what the engine of the
installed Prefect emits.

Source: prefect.utilities.engine.emit_task_run_state_change_event.
"""

import datetime
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import Task
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State, StateType, TaskRun, TaskRunPolicy
from prefect.context import FlowRunContext, TagsContext
from prefect.events.related import related_resources_from_run_context

MESSAGE_CHARACTERS = 2_000
_NOT_IN_THE_EVENT = frozenset({
    "id", "created", "updated", "flow_run_id", "state_id", "state_type", "state_name", "state",
    "estimated_start_time_delta", "estimated_run_time",
})  # fmt: skip


def new_run_id() -> UUID:
    """Make an id for a task run: ids that were made later sort later, which is what the server's index likes.

    Source: RFC 9562, UUID version 7.
    """
    random = int.from_bytes(os.urandom(10))
    value = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | (random >> 68) << 64 | 2 << 62 | random & (1 << 62) - 1
    return UUID(int=value)


@dataclass(frozen=True, slots=True)
class EndState:
    """How a run ended: what of Prefect's state is told, at a tenth of its weight, as thousands wait to be seen.

    Attributes:
        type: Its type, such as `COMPLETED`.
        name: Its name, such as `Skipped`.
        message: What it says.
    """

    type: StateType
    name: str
    message: str = ""

    @classmethod
    def of(cls, state: State[Any] | None) -> "EndState":
        """Take it from Prefect's; None is Completed."""
        return cls(state.type, state.name or "", (state.message or "")[:MESSAGE_CHARACTERS]) if state else COMPLETED


COMPLETED = EndState(StateType.COMPLETED, "Completed")


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A send that is over, as its task run is to say.

    Attributes:
        id: The task run's id, also kept in the ledger.
        key: Its `dynamic_key`: no other run of this flow run may have it.
        name: Its name, such as `send-audio …4829`.
        state: How it ended.
        expected_at: When it was to start.
        started_at: When it started.
        ended_at: When it ended.
    """

    id: UUID
    key: str
    name: str
    state: EndState
    expected_at: datetime.datetime
    started_at: datetime.datetime
    ended_at: datetime.datetime

    @property
    def event_id(self) -> UUID:
        """The id of its event and of its state, so that the server takes a list once of which it is not known whether it came."""
        return UUID(int=self.id.int ^ 1)


def run_key(row_id: int, attempts: int, run_id: UUID) -> str:
    """Make a `dynamic_key`: the row and the attempt, for people, and a part of the id, so that none is ever used twice.

    Example:
        >>> run_key(17, 2, UUID(int=0xBEEF))
        '17-2-0000beef'
    """
    return f"{row_id}-{attempts}-{run_id.hex[-8:]}"


class EventContract:
    """Builds the final event of a task run of one task in one flow run.

    Args:
        task: The task as the engine would run it.
        flow_run_id: The flow run.
        flow_run_count: How often that flow run was started.
        tags: Tags of its task runs.
        related: The resources of the flow run, its flow, deployment, work pool and tags.
    """

    def __init__(
        self,
        task: Task[..., Any],
        flow_run_id: UUID,
        *,
        flow_run_count: int = 1,
        tags: Iterable[str] = (),
        related: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self.flow_run_id = flow_run_id
        marks = sorted(set(tags))
        self._related = [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in marks]
        self._related += [dict(resource) for resource in related]
        # Made by Prefect's own model, so that a field that a later version adds is there.
        run = TaskRun(
            task_key=task.task_key,
            dynamic_key="",
            flow_run_id=flow_run_id,
            task_version=task.version,
            empirical_policy=TaskRunPolicy(retries=0, retry_delay=0),
            tags=marks,
            run_count=1,
            flow_run_run_count=flow_run_count,
        )
        told = run.model_dump(mode="json", exclude_none=True, exclude=set(_NOT_IN_THE_EVENT))
        self._task_run = {**told, "task_inputs": {"to": []}}

    @classmethod
    async def of_this_flow_run(cls, task: Task[..., Any], client: PrefectClient) -> "EventContract | None":
        """Build it for the flow run that is running here; None outside of one."""
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            return None
        related = await related_resources_from_run_context(client)
        tags = set(task.tags) | set(TagsContext.get().current_tags or ())
        return cls(
            task,
            context.flow_run.id,
            flow_run_count=context.flow_run.run_count,
            tags=tags,
            related=[resource.model_dump() for resource in related],
        )

    def event(self, ended: EndedRun, *, again: bool = False) -> dict[str, Any]:
        """Build the event of one run.

        Args:
            ended: The run.
            again: Give the event an id of its own: Prefect's broker passes an id on once in five minutes, also where the
                recorder then dropped it.
        """
        state, ended_at = ended.state, _utc(ended.ended_at)
        kind, name, message = state.type.value, state.name, state.message
        return {
            "id": str(new_run_id() if again else ended.event_id),
            "occurred": ended_at,
            "event": f"prefect.task-run.{name}",
            "resource": {
                "prefect.resource.id": f"prefect.task-run.{ended.id}",
                "prefect.resource.name": ended.name,
                "prefect.run-count": "1",
                "prefect.state-message": message,
                "prefect.state-name": name,
                "prefect.state-timestamp": ended.ended_at.astimezone(datetime.UTC).isoformat(),
                "prefect.state-type": kind,
                "prefect.orchestration": "client",
            },
            "related": self._related,
            "payload": {
                "intended": {"from": None, "to": kind},
                "initial_state": None,
                "validated_state": {
                    "type": kind,
                    "name": name,
                    "message": message,
                    "state_details": {},
                    "data": None,
                },
                "task_run": {
                    **self._task_run,
                    "name": ended.name,
                    "dynamic_key": ended.key,
                    "expected_start_time": _utc(ended.expected_at),
                    "start_time": _utc(ended.started_at),
                    "end_time": ended_at,
                    "total_run_time": max((ended.ended_at - ended.started_at).total_seconds(), 0.0),
                },
            },
        }


def _utc(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
