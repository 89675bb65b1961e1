"""The one loop that drains a broadcast: a bounded window of rows, one client, one task run a send or a batch."""

import asyncio

from ..ledger import Lease
from ..models import StopReason
from ..models.options import Runs
from ..providers.transport import AsyncClient
from .admission import Admission
from .backpressure import Backpressure
from .content import Message
from .delivery import Delivery, Tally
from .event_runs import EventTaskRuns
from .pace import Pace
from .shutdown import imports_uncollected, quiet_task_logs, sigterm_stops
from .stop import StopSignal
from .task_run_events import TaskRunEvents
from .task_runs import BatchTaskRuns, EngineTaskRuns, OnBatch, TaskRuns


class Dispatcher:
    """Drains a broadcast's queued rows through one client.

    Args:
        lease: This run's hold on the ledger's rows.
        client: The account's open client.
        message: What is sent to everyone.
        pace: This process's part of the sender's rate.
        stop: Ends the sending, whoever sets it; says afterwards why it ended early.
        backpressure: Bounds how far the sends run ahead of what the Prefect server has recorded; None for no bound.
        in_flight: Requests at once; 0 chooses what the pace needs, at most 64.
        runs: `send`: a task run a send, told by its final event; `engine`: the same, run by Prefect's task engine; `batch`:
            a task run of up to `batch_size` sends.
        events: Tells the server of ended task runs; without it `send` is `engine`.
        batch_size: Sends a batch, at most.
        max_messages: Sends of this run, at most; 0 for no bound.
        on_batch: Told of each finished batch: its number, and each row with its outcome.
    """

    def __init__(
        self,
        lease: Lease,
        client: AsyncClient,
        *,
        message: Message,
        pace: Pace,
        stop: StopSignal,
        backpressure: Backpressure | None = None,
        in_flight: int = 0,
        runs: Runs = "send",
        events: TaskRunEvents | None = None,
        batch_size: int = 500,
        max_messages: int = 0,
        on_batch: OnBatch | None = None,
    ) -> None:
        self._stop = stop
        self._admission = admission = Admission(
            lease, pace, stop, backpressure=backpressure, in_flight=in_flight, max_messages=max_messages
        )
        self._delivery = delivery = Delivery(lease, client, message, admission=admission, stop=stop)
        self._task_runs: TaskRuns
        if runs == "batch":
            self._task_runs = BatchTaskRuns(
                delivery,
                admission,
                stop,
                backpressure=backpressure,
                kind=message.kind,
                batch_size=batch_size,
                on_batch=on_batch,
            )
        elif runs == "send" and events:
            self._task_runs = EventTaskRuns(
                delivery, admission, stop, backpressure=backpressure, kind=message.kind, events=events
            )
        else:
            self._task_runs = EngineTaskRuns(delivery, admission, stop, backpressure=backpressure, kind=message.kind)

    @property
    def tally(self) -> Tally:
        """What this run did so far."""
        return self._delivery.tally

    @property
    def in_flight(self) -> int:
        """Requests of this run that have left and have no answer yet."""
        return self._admission.requests.used

    async def run(self) -> Tally:
        """Send until nothing is queued, or until stopped.

        Returns:
            What this run did.

        Raises:
            LedgerError: The ledger can't be written; what was in flight is settled or `unknown`.
            asyncio.CancelledError: The flow run was cancelled; likewise.
        """
        with quiet_task_logs(), imports_uncollected(), sigterm_stops(self._stop):
            async with self._admission:
                await self._drain()
        if self._stop.failure:
            raise self._stop.failure
        return self.tally

    async def _drain(self) -> None:
        try:
            while row := await self._admission.row():
                self._task_runs.start(row)
        except asyncio.CancelledError:
            self._stop.set(StopReason.CANCELLED, "the flow run was cancelled")
            raise
        except Exception as failure:  # whatever it was: what is in flight settles first, then it is raised
            self._stop.fail(failure)
            raise
        finally:
            await self._task_runs.settled()
