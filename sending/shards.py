"""`shards=N`: child runs of a deployment that drain a broadcast along with the run that started them.

The parent plans, uploads once, starts the children and sends too, so that a broadcast ends even where no worker is free.
What keeps them apart is the ledger alone: a child is a run of the same name that goes on with what is planned.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.context import FlowRunContext
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled, Cancelling
from pydantic_core import PydanticSerializationError, to_jsonable_python

from ..ledger import BroadcastRecord
from ..models.errors import InputError
from ..models.masking import mask_numbers
from ..models.options import BroadcastOptions, Scale
from .stop import StopSignal

POLL_SECONDS = 1.0
# A child that is done waits for its task runs to be recorded; one whose machine is gone stays RUNNING for ever.
STILL_AT_MOST_SECONDS = 300.0
_TAG = "whatsapp-broadcast:"
# What the parent has done already: a child gets the default in its place.
_DONE_BY_PARENT = ("on_unknown", "retry_failed", "wait_for_receipts", "dry_run", "approve", "canary")


def part_of() -> str:
    """The id of the broadcast whose shard this flow run is; empty for a run of its own."""
    return next((tag.removeprefix(_TAG) for tag in flow_run.tags or () if tag.startswith(_TAG)), "")


def split_evenly(number: int, parts: int) -> list[int]:
    """Divide a whole number, the larger parts first.

    Example:
        >>> split_evenly(10, 3)
        [4, 3, 3]
    """
    return [number // parts + (place < number % parts) for place in range(parts)]


class Shards:
    """The child runs of one broadcast; a context manager around the parent's own sending.

    Leaving it waits for the children; leaving it by an exception, such as a cancellation, calls them off.

    Args:
        options: What the parent was asked to do.
        scale: How many children, and the deployment whose runs they are.
    """

    def __init__(self, options: BroadcastOptions, scale: Scale) -> None:
        self._options, self._scale = options, scale
        self._count, self._asked = scale.shards, scale.shard_deployment.strip()
        self._deployment: UUID | None = None
        self._parameters: dict[str, Any] = {}
        self._children: dict[UUID, FlowRun] = {}
        self._calling_off: asyncio.Task[None] | None = None
        self._moving: Callable[[], Awaitable[object]] | None = None
        self._stop: StopSignal | None = None
        self._following: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Find the deployment and what its runs are given, before anything is planned.

        Raises:
            InputError: There is no such deployment, it is another flow's or runs too few at a time, or a block that
                the children need isn't saved.
        """
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            raise InputError("shards needs a flow run: call the flow, not its function")
        async with get_client() as client:
            deployment = await self._find(client, context.flow_run)
            flow = await client.read_flow(deployment.flow_id)
        shown = f"{flow.name}/{deployment.name}"
        if context.flow is not None and flow.name != context.flow.name:
            raise InputError(
                f"shard_deployment {shown} can't send this broadcast: it must be a deployment of {context.flow.name}"
            )
        own = deployment.id == context.flow_run.deployment_id
        limit = deployment.global_concurrency_limit
        if limit is not None and limit.active and limit.limit < self._count + own:
            raise InputError(
                f"deployment {shown} runs {limit.limit} at a time and shards={self._count} needs {self._count + own}: "
                "name one without that limit as shard_deployment"
            )
        self._deployment = deployment.id
        given = {**(context.parameters or {}), **self._of_a_child()}
        self._parameters = {name: _plain(name, value) for name, value in given.items()}

    def _of_a_child(self) -> dict[str, Any]:
        """The parameters in which a child differs from its parent: it plans nothing and starts no children."""
        fields = type(self._options).model_fields
        return {
            "recipients": "",
            **{name: fields[name].default for name in _DONE_BY_PARENT},
            "scale": self._scale.model_copy(update={"shards": 0, "shard_deployment": ""}),
        }

    async def _find(self, client: PrefectClient, parent: FlowRun) -> Any:
        if not self._asked:
            if parent.deployment_id is None:
                raise InputError(
                    f"shards={self._count} needs a deployment whose runs the children are: this run has none, so name "
                    "one as shard_deployment='flow/name'"
                )
            return await client.read_deployment(parent.deployment_id)
        try:
            return await client.read_deployment_by_name(self._asked)
        except (ObjectNotFound, ValueError):
            raise InputError(
                f"shard_deployment {self._asked[:80]!r} isn't at the Prefect server: deploy it, and name it as 'flow/name'"
            ) from None

    async def start(
        self,
        record: BroadcastRecord,
        stop: StopSignal,
        *,
        max_messages: int = 0,
        moving: Callable[[], Awaitable[object]] | None = None,
    ) -> int:
        """Start the children; a retry of this flow run finds those that live again, and replaces those that ended.

        Args:
            record: The broadcast, planned.
            stop: What ends the parent's sending ends the children's.
            max_messages: Of the whole run, at most; 0 for no bound.
            moving: Gives something that changes as long as anyone sends.

        Returns:
            The parent's own part of `max_messages`.

        Raises:
            InputError: The deployment refuses the parameters.
        """
        self._moving = moving
        own, *parts = split_evenly(max_messages, self._count + 1)
        for place, part in enumerate(parts):
            if max_messages and not part:
                continue
            parameters = {**self._parameters, "broadcast": record.name, "max_messages": part}
            child = await self._start_one(record, place, parameters)
            self._children[child.id] = child
        get_run_logger().info("%d child runs of deployment %s started", len(self._children), self._deployment)
        self._stop, self._following = stop, asyncio.create_task(self._follow(stop))
        return own

    async def _start_one(self, record: BroadcastRecord, place: int, parameters: dict[str, Any]) -> FlowRun:
        assert self._deployment
        generation = 0
        while True:
            try:
                child = await arun_deployment(
                    self._deployment,
                    parameters=parameters,
                    timeout=0,
                    as_subflow=True,
                    flow_run_name=f"{mask_numbers(record.name)} (shard {place + 1} of {self._count})",
                    tags=[_TAG + record.id],
                    idempotency_key=f"{record.id}:{flow_run.id}:{place}:{generation}",
                )
            except PrefectHTTPStatusError as refusal:
                raise InputError(
                    f"the shards' deployment refuses this broadcast's parameters (HTTP {refusal.response.status_code}): "
                    "deploy it again from the same version of prefect-whatsapp"
                ) from None
            if child.state is None or not child.state.is_final():
                return child
            generation += 1  # one of an earlier try of this flow run, which has ended

    def call_off(self, why: str) -> None:
        """Cancel the children without waiting: those that run let their sends in flight settle.

        Args:
            why: One sentence.
        """
        if self._children and self._calling_off is None:
            self._calling_off = asyncio.ensure_future(self._cancel(why))

    async def _follow(self, stop: StopSignal) -> None:
        await stop.wait()
        self.call_off(stop.sentence)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._following:
            self._following.cancel()
        if self._stop and self._stop.is_set():
            self.call_off(self._stop.sentence)
        if kind is not None:
            self.call_off("the run that started it ended")
            if self._calling_off:
                await asyncio.wait([self._calling_off])
            return
        await self._finish()

    async def _cancel(self, why: str) -> None:
        async with get_client() as client:
            for child in await self._read(client):
                await self._end(client, child, why)

    async def _end(self, client: PrefectClient, child: FlowRun, why: str) -> None:
        state = child.state
        if state is None or state.is_final() or state.type is StateType.CANCELLING:
            return
        waiting = state.type in (StateType.SCHEDULED, StateType.PAUSED)
        end: State[Any] = Cancelled(message=why) if waiting else Cancelling(message=why)
        await client.set_flow_run_state(child.id, end)

    async def _finish(self) -> None:
        """Wait for the children that work; those that no worker took are not needed any more."""
        if not self._children:
            return
        if self._calling_off:
            await asyncio.wait([self._calling_off])
        since, last = time.monotonic(), None
        async with get_client() as client:
            while time.monotonic() - since < STILL_AT_MOST_SECONDS:
                children = await self._read(client)
                for child in children:
                    if child.state is not None and child.state.type is StateType.SCHEDULED:
                        await self._end(client, child, "nothing was left to send")
                if all(child.state is not None and child.state.is_final() for child in children):
                    break
                now = (await self._moving() if self._moving else None, [child.state_type for child in children])
                if now != last:
                    since, last = time.monotonic(), now
                await asyncio.sleep(POLL_SECONDS)
            self._tell(await self._read(client))

    async def _read(self, client: PrefectClient) -> list[FlowRun]:
        return await client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[*self._children])))

    def _tell(self, children: list[FlowRun]) -> None:
        states, logger = Counter(child.state_name or "" for child in children), get_run_logger()
        logger.info("%d child runs: %s", len(children), ", ".join(f"{n} {name}" for name, n in states.items()))
        for child in children:
            state = child.state
            if state is not None and not state.is_completed() and not state.is_cancelled():
                logger.warning(
                    "Child run %s is %s: %s. What it left, this run sent or names as pending or unknown.",
                    child.name,
                    state.name,
                    state.message or "no reason given",
                )


def _plain(name: str, value: object) -> Any:
    """A parameter as the API takes it, blocks as references: a block's own fields would arrive without secrets."""
    try:
        return to_jsonable_python(value, context={"serialize_blocks_as_references": True})
    except PydanticSerializationError:
        raise InputError(
            f"{name} can't be given to child runs: it is a {type(value).__name__} that isn't saved as a block, so save "
            "it, or load a saved one"
        ) from None
