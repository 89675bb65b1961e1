"""Never ahead of the record: how far sends may run before the Prefect server has recorded their task runs.

A task run reaches the server as three events; the server's broker keeps 10,000 a subscription and drops the rest in
silence, so runs that are made faster than they are recorded go missing (44 a second are recorded on default settings).
Source: PrefectHQ/prefect#19136; prefect.server.utilities.messaging.memory, `max_queue_size`.
"""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.logging import get_logger

from ..models import StopReason

# 3 events a run: 600 runs are 1,800 of the broker's 10,000, so that five flow runs fit beside each other.
MAX_AHEAD = 600
BESIDE_EACH_OTHER = 5
POLL_SECONDS = 1.0
LAST_POLL_SECONDS = 0.2  # once all are started, the flow run waits for nothing else
# Runs that the server hasn't shown for this long, with nothing else coming in, were lost (a restart empties its queue).
GIVE_UP_SECONDS = 60.0
_ENDED = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
_STOPPING = {
    StateType.CANCELLING: StopReason.CANCELLED,
    StateType.CANCELLED: StopReason.CANCELLED,
    StateType.PAUSED: StopReason.PAUSED,
}


class Recorder:
    """Counts the task runs that were started against those that the server shows as ended.

    Attributes:
        runs_beside: How many runs send at the moment, this one among them; beyond five they share the bound.

    Args:
        flow_run_id: The flow run whose task runs are counted.
        max_ahead: How many may be started and not yet recorded.
        on_stop: Called once with the reason and a sentence when someone cancels or pauses the flow run at the server.
    """

    def __init__(
        self, flow_run_id: UUID, *, max_ahead: int = MAX_AHEAD, on_stop: Callable[[StopReason, str], None] | None = None
    ) -> None:
        self.started = self.recorded = self.lost = 0
        self._flow_run_id, self._max_ahead, self.on_stop = flow_run_id, max_ahead, on_stop
        self.runs_beside: Callable[[], int] = lambda: 1
        self._poll_seconds = POLL_SECONDS
        self._news = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None
        self._progressed_at = time.monotonic()
        self._base = 0
        self._logger = get_logger("prefect_whatsapp.recorder")

    @property
    def ahead(self) -> int:
        """Runs started and not yet shown by the server."""
        return self.started - self.recorded - self.lost

    @property
    def _bound(self) -> int:
        return max(1, self._max_ahead * BESIDE_EACH_OTHER // max(self.runs_beside(), BESIDE_EACH_OTHER))

    async def __aenter__(self) -> "Recorder":
        # A resumed or retried flow run already has task runs: they are not ours to wait for.
        async with get_client() as client:
            self._base = await self._count(client)
        self._polling = asyncio.create_task(self._poll())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._polling:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)

    async def room(self, *, unless: Callable[[], bool] = lambda: False) -> None:
        """Wait until one more run may start, and count it.

        Args:
            unless: Options meanwhile; true ends the wait.
        """
        while not unless() and self.ahead >= self._bound:
            self._news.clear()
            await self._news.wait()
        self.started += 1

    async def caught_up(self) -> bool:
        """Wait until the server shows every run, or has shown nothing new for a while.

        Returns:
            Whether it shows them all.
        """
        self._poll_seconds = LAST_POLL_SECONDS
        while self.ahead > 0:
            self._news.clear()
            await self._news.wait()
        return not self.lost

    async def _poll(self) -> None:
        async with get_client() as client:
            while True:
                await asyncio.sleep(self._poll_seconds)
                try:
                    shown = await self._count(client) - self._base
                    await self._look_for_a_stop(client)
                except (
                    Exception
                ) as failure:  # whatever it was: the server is away, so nothing is recorded; the bound holds
                    self._logger.debug("The Prefect server did not answer: %s", type(failure).__name__)
                    self._progressed_at = time.monotonic()
                    self._news.set()  # for who waits to see whether to wait on
                    continue
                self._take(shown)

    def _take(self, shown: int) -> None:
        now = time.monotonic()
        if shown > self.recorded:
            self.recorded, self._progressed_at = shown, now
            self.lost = max(0, min(self.lost, self.started - shown))
        elif self.ahead <= 0:
            self._progressed_at = now
        elif now - self._progressed_at > GIVE_UP_SECONDS:
            self._logger.warning(
                "%d task runs have not been recorded by the Prefect server; the ledger has their outcome.", self.ahead
            )
            self.lost, self._progressed_at = self.lost + self.ahead, now
        self._news.set()

    async def _count(self, client: PrefectClient) -> int:
        answer = await client.request(
            "POST",
            "/task_runs/count",
            json={
                "flow_runs": {"id": {"any_": [str(self._flow_run_id)]}},
                "task_runs": {"name": {"like_": "send-"}, "state": {"type": {"any_": _ENDED}}},
            },
        )
        answer.raise_for_status()
        return int(answer.json())

    async def _look_for_a_stop(self, client: PrefectClient) -> None:
        if self.on_stop is None:
            return
        state = (await client.read_flow_run(self._flow_run_id)).state
        if state is not None and (reason := _STOPPING.get(state.type)):
            self.on_stop(reason, f"the flow run was {(state.name or state.type.value).lower()} at the server")
            self.on_stop = None
