"""Never ahead of the record: how far sends may run before the Prefect server has recorded their task runs.

A task run reaches the server as one event, or by Prefect's engine as three; the server's broker keeps 10,000 a
subscription and drops the rest in silence, so runs that are made faster than they are recorded go missing (44 a second
are recorded on default settings).
Source: PrefectHQ/prefect#19136; prefect.server.utilities.messaging.memory, `max_queue_size`.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger

from ..ledger import Lease
from ..models import StopReason
from .stop import StopSignal
from .task_run_events import TaskRunEvents

# By Prefect's engine: 600 runs are 1,800 of the broker's 10,000 events, so that five flow runs fit beside each other.
MAX_AHEAD = 600
ENGINE_EVENTS = 3
BESIDE_EACH_OTHER = 5
POLL_SECONDS = 1.0
LAST_POLL_SECONDS = 0.25  # once all are started, the flow run waits for nothing else
LOOK_SECONDS = 1.0  # at most so often for a stop: each look keeps the server from recording
# After so long without news, what was told by events is looked up, and told again where the server lacks it: a flush of
# the recorder takes up to five seconds.
STILL_SECONDS = 15.0
# Runs that the server hasn't shown for this long, with nothing else coming in, were lost (a restart empties its queue).
GIVE_UP_SECONDS = 60.0
_ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
_STOPPING = {
    StateType.CANCELLING: StopReason.CANCELLED,
    StateType.CANCELLED: StopReason.CANCELLED,
    StateType.PAUSED: StopReason.PAUSED,
}


async def count_sends(client: PrefectClient, flow_run_id: UUID, states: Sequence[str] = _ENDED) -> int:
    """Count the task runs of sends that the server shows for a flow run: not those of fetching and uploading.

    Args:
        client: A client of the server.
        flow_run_id: The flow run.
        states: Only runs whose state is of one of these types; those that ended by default.

    Raises:
        httpx.HTTPError: The server does not answer, or refuses.
    """
    answer = await client.request(
        "POST",
        "/task_runs/count",
        json={
            "flow_runs": {"id": {"any_": [str(flow_run_id)]}},
            "task_runs": {"name": {"like_": "send-"}, "state": {"type": {"any_": list(states)}}},
        },
    )
    answer.raise_for_status()
    return int(answer.json())


class Backpressure:
    """Holds new task runs back while too many of those before are not recorded.

    Attributes:
        started: Task runs started in this run; whoever starts one adds it.
        recorded: Of these, how many the server shows as ended.
        lost: Of these, how many it will never show.

    Args:
        flow_run_id: The flow run whose task runs are counted.
        stop: Set when someone cancels or pauses the flow run at the server; ends each wait.
        lease: Knows how many runs send at the moment: beyond five they share the bound.
        events: Tells the task runs by their final event; None where Prefect's engine makes them all.
        max_ahead: How many runs may be started and not yet recorded where the engine makes them; told by one event each,
            three times as many.
    """

    def __init__(
        self,
        flow_run_id: UUID,
        *,
        stop: StopSignal,
        lease: Lease | None = None,
        events: TaskRunEvents | None = None,
        max_ahead: int = MAX_AHEAD,
    ) -> None:
        self.started = self.recorded = self.lost = 0
        self._flow_run_id, self._stop, self._lease = flow_run_id, stop, lease
        self._events, self._max_ahead = events, max_ahead
        self._news, self._ending = asyncio.Event(), asyncio.Event()
        self._told_again = 0
        self._polling: asyncio.Task[None] | None = None
        self._progressed_at = time.monotonic()
        self._base, self._looked_at = 0, -LOOK_SECONDS
        self._logger = get_logger("prefect_whatsapp.backpressure")

    @property
    def ahead(self) -> int:
        """Runs started and not yet shown by the server."""
        return self.started - self.recorded - self.lost

    @property
    def _bound(self) -> int:
        beside = self._lease.active_runs if self._lease else 1
        ahead = self._max_ahead * (ENGINE_EVENTS if self._events and not self._events.refusal else 1)
        return max(1, ahead * BESIDE_EACH_OTHER // max(beside, BESIDE_EACH_OTHER))

    async def __aenter__(self) -> "Backpressure":
        # A resumed or retried flow run already has task runs: they are not ours to wait for.
        async with get_client() as client:
            self._base = await count_sends(client, self._flow_run_id)
        self._polling = asyncio.create_task(self._poll())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._polling:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)

    async def room(self) -> None:
        """Wait until one more run may start, or the broadcast stops."""
        while self.ahead >= self._bound and not self._stop.is_set():
            self._news.clear()
            waits = [asyncio.ensure_future(self._news.wait()), asyncio.ensure_future(self._stop.wait())]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    async def caught_up(self) -> bool:
        """Wait until the server shows every run, or has shown nothing new for a while.

        Returns:
            Whether it shows them all.
        """
        self._ending.set()
        while self.ahead > 0:
            self._news.clear()
            await self._news.wait()
        return not self.lost

    async def _poll(self) -> None:
        async with get_client() as client:
            while True:
                await self._pause()
                try:
                    self._take(await count_sends(client, self._flow_run_id) - self._base)
                    await self._look_for_a_stop(client)
                    await self._look_for_the_lost()
                except (
                    Exception
                ) as failure:  # whatever it was: the server is away, so nothing is recorded; the bound holds
                    self._logger.debug("The Prefect server did not answer: %s", type(failure).__name__)
                    self._progressed_at = time.monotonic()
                    self._news.set()  # for who waits to see whether to wait on

    async def _pause(self) -> None:
        if self._ending.is_set():
            await asyncio.sleep(LAST_POLL_SECONDS)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), POLL_SECONDS)

    def _take(self, shown: int) -> None:
        now = time.monotonic()
        if shown > self.recorded:
            self.recorded, self._progressed_at, self._told_again = shown, now, 0
            self.lost = max(0, min(self.lost, self.started - shown))
        elif self.ahead <= 0:
            self._progressed_at = now
        elif now - self._progressed_at > GIVE_UP_SECONDS:
            self._logger.warning(
                "%d task runs have not been recorded by the Prefect server; the ledger has their outcome.", self.ahead
            )
            self.lost, self._progressed_at = self.lost + self.ahead, now
        self._news.set()

    async def _look_for_a_stop(self, client: PrefectClient) -> None:
        if (self._stop.is_set() and self._events is None) or time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        try:
            state = (await client.read_flow_run(self._flow_run_id)).state
        except ObjectNotFound:
            if self._events:
                self._events.flow_run_deleted()
                self._give_up()
            return
        if state is not None and (reason := _STOPPING.get(state.type)):
            self._stop.set(reason, f"the flow run was {(state.name or state.type.value).lower()} at the server")

    async def _look_for_the_lost(self) -> None:
        """Where the count stands still, tell again what the server lacks, as often as there is patience."""
        if self._events is None:
            return
        if self.recorded >= self._events.told:
            self._events.all_seen()
        elif time.monotonic() - self._progressed_at > STILL_SECONDS * (self._told_again + 1):
            self._told_again += 1
            await self._events.tell_missing_again()
            self._take_what_is_seen(self._events.seen)

    def _take_what_is_seen(self, seen: int) -> None:
        """Count what the server has, though under another flow run.

        A killed run had told of it, and the server had not yet recorded that when this one looked.
        """
        if seen > self.recorded:
            self._base -= seen - self.recorded
            self._take(seen)

    def _give_up(self) -> None:
        self.lost += max(self.ahead, 0)
        self._news.set()
