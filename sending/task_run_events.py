"""Telling Prefect's server of ended sends: in lists, and again where it lost them.

What the server does with such an event, as measured on 3.8.8: told twice it makes one run; a second run with the same
`dynamic_key` in a flow run overwrites the first; one event that can't be recorded (its flow run was deleted) drops the
recorder's whole batch, other people's runs included; beyond 10,000 events that wait, more are dropped in silence.

Source: prefect.server.services.task_run_recorder.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.logging import get_logger

from .event_contract import EndedRun, EventContract

# 250 events are half a megabyte, and a quarter of a second is not felt in the UI.
LIST_LENGTH = 250
LIST_SECONDS = 0.25
# The server answers no more than 200 objects a request.
LOOKED_UP_AT_ONCE = 200
# More than a run may be ahead of the record, so that usually nothing is looked up before the end.
KEPT_AT_MOST = 4_000
# Before that the recorder may still have it: its flush takes up to five seconds, six tries of a batch as many more.
OVERDUE_SECONDS = 30.0
RETRY_PAUSES = (0.5, 1.0, 2.0, 5.0)
LAST_SECONDS = 5.0

_logger = get_logger("prefect_whatsapp.recorder")


class TaskRunEvents:
    """Tells the server of ended runs, in lists, and tells again what it lost. An async context manager.

    Args:
        contract: Builds the events.
        clock: Seconds by a clock that nobody sets.

    Attributes:
        told: Runs that were handed to `tell` so far.
        refusal: Why the server takes no such event, in a few words; empty while it takes them. Prefect's engine then makes
            the task runs.
        deleted: Whether the flow run is no longer on the server: then nothing more is told, as its runs could not be
            recorded and would take others' with them.
    """

    def __init__(self, contract: EventContract, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.told, self.refusal, self.deleted = 0, "", False
        self._contract, self._clock = contract, clock
        self._waiting: list[EndedRun] = []
        self._unseen: dict[UUID, tuple[EndedRun, float]] = {}  # posted, by when; not yet known to be recorded
        self._list_is_full, self._posting = asyncio.Event(), asyncio.Lock()
        self._telling: asyncio.Task[None] | None = None
        self._client: PrefectClient | None = None

    @property
    def seen(self) -> int:
        """Of those told, how many the server was seen to have; 0 where it takes none any more."""
        return 0 if self.refusal or self.deleted else self.told - len(self._waiting) - len(self._unseen)

    async def __aenter__(self) -> Self:
        self._client = await get_client().__aenter__()
        self._telling = asyncio.create_task(self._keep_telling(), name="task run events")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._telling:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
        try:
            # Prefect's client tries for a minute while the server is away; a run that is ended by a signal has less.
            async with asyncio.timeout(None if error is None else LAST_SECONDS):
                await self.flush()
        except Exception as failure:  # the server's trouble; the ledger has the outcomes
            _logger.warning(
                "%d task runs were not reported to the Prefect server (%s); the ledger has their outcome.",
                len(self._waiting),
                type(failure).__name__,
            )
        finally:
            if self._client:
                await self._client.__aexit__(kind, error, trace)

    def tell(self, ended: EndedRun) -> None:
        """Take a run to be told; returns at once."""
        self.told += 1
        self._waiting.append(ended)
        if len(self._waiting) >= LIST_LENGTH:
            self._list_is_full.set()

    async def flush(self) -> None:
        """Post what waits.

        Raises:
            httpx.HTTPError: The server is away, or does not take it; what was not taken still waits.
        """
        async with self._posting:
            while self._waiting and not self.deleted:
                told = self._waiting[:LIST_LENGTH]
                await self._post(told)
                del self._waiting[: len(told)]
                self._unseen.update((ended.id, (ended, self._clock())) for ended in told)
            if self.deleted:
                self._waiting.clear()

    def refuse(self, why: str) -> None:
        """Take note, and say once, that the server does not take such events.

        Args:
            why: What it does instead, to follow "it".
        """
        if not self.refusal:
            self.refusal = why
            self._waiting.clear()
            self._unseen.clear()
            _logger.warning(
                "This Prefect server does not record task runs by their final event: it %s. The broadcast goes on with"
                " Prefect's task engine, which is slower; runs='engine' chooses it from the start.",
                why,
            )

    def all_seen(self) -> None:
        """The server shows every run that was told: nothing need be kept to be told again."""
        self._unseen.clear()

    def flow_run_deleted(self) -> None:
        """Tell nothing more: the server has no such flow run."""
        if not self.deleted:
            self.deleted = True
            self._waiting.clear()
            self._unseen.clear()
            _logger.warning(
                "The flow run was deleted on the Prefect server, so its sends are no longer shown there; the ledger has"
                " their outcome."
            )

    async def state_of(self, run_id: UUID) -> dict[str, Any] | None:
        """What the server shows of a run; None where it has none."""
        found = await self._find([run_id])
        return found[0] if found else None

    async def tell_missing_again(self) -> int:
        """Look up what was told and not seen, and tell what the server lacks, one event a request.

        One by one, because whatever made the server drop them (a list that was lost, another's event that it could not
        record) is then not shared.

        Returns:
            How many were told again; 0 also where the flow run was deleted.

        Raises:
            httpx.HTTPError: The server is away.
        """
        if await self._flow_run_is_gone():
            self.flow_run_deleted()
            return 0
        return await self._tell_again([ended for ended, _ in self._unseen.values()])

    async def tell_those_missing(self, runs: Sequence[EndedRun]) -> int:
        """Tell of runs whose end may never have been told, because their process was killed.

        Returns:
            How many the server did not have.

        Raises:
            httpx.HTTPError: The server is away.
        """
        shown = await self._shown([ended.id for ended in runs])
        missing = [ended for ended in runs if ended.id not in shown]
        for ended in missing:
            self.tell(ended)
        return len(missing)

    async def _tell_again(self, runs: Sequence[EndedRun]) -> int:
        missing = 0
        for start in range(0, len(runs), LOOKED_UP_AT_ONCE):
            part = runs[start : start + LOOKED_UP_AT_ONCE]
            ids = [ended.id for ended in part]
            # Usually all are there, and counting costs the server a twentieth of listing them.
            shown = set(ids) if await self._count(ids) == len(ids) else await self._shown(ids)
            for ended in part:
                if ended.id in shown:
                    self._unseen.pop(ended.id, None)
                    continue
                missing += 1
                await self._post([ended], again=True)
                self._unseen[ended.id] = (ended, self._clock())
        if missing:
            _logger.info("%d task runs that the Prefect server had lost were reported again.", missing)
        return missing

    async def _keep_telling(self) -> None:
        failures = 0
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._list_is_full.wait(), LIST_SECONDS)
            self._list_is_full.clear()
            try:
                await self.flush()
                await self._look_after_the_oldest()
            except httpx.HTTPStatusError as refusal:
                if refusal.response.status_code in (400, 404, 405, 422):
                    self.refuse(f"answers with HTTP {refusal.response.status_code}")
                    return
                failures += 1
            except Exception as failure:  # whatever it was: the server is away, so they wait
                _logger.debug("The Prefect server did not take events: %s", type(failure).__name__)
                failures += 1
            else:
                failures = 0
                continue
            await asyncio.sleep(RETRY_PAUSES[min(failures, len(RETRY_PAUSES)) - 1])

    async def _look_after_the_oldest(self) -> None:
        """Keep memory bounded, and find what was dropped in the midst of a long broadcast."""
        if len(self._unseen) <= KEPT_AT_MOST:
            return
        oldest = [ended for ended, at in self._unseen.values() if self._clock() - at > OVERDUE_SECONDS]
        await self._tell_again(oldest[: KEPT_AT_MOST // 2])

    async def _post(self, runs: Sequence[EndedRun], *, again: bool = False) -> None:
        assert self._client
        events = [self._contract.event(ended, again=again) for ended in runs]
        await self._client.request("POST", "/events", json=events)

    async def _shown(self, ids: Sequence[UUID]) -> set[UUID]:
        shown: set[UUID] = set()
        for start in range(0, len(ids), LOOKED_UP_AT_ONCE):
            found = await self._find(ids[start : start + LOOKED_UP_AT_ONCE])
            shown |= {UUID(run["id"]) for run in found}
        return shown

    async def _count(self, ids: Sequence[UUID]) -> int:
        assert self._client
        body = {"task_runs": {"id": {"any_": [str(each) for each in ids]}}}
        return int((await self._client.request("POST", "/task_runs/count", json=body)).json())

    async def _find(self, ids: Sequence[UUID]) -> list[dict[str, Any]]:
        assert self._client
        answer = await self._client.request(
            "POST",
            "/task_runs/filter",
            json={"task_runs": {"id": {"any_": [str(each) for each in ids]}}, "limit": LOOKED_UP_AT_ONCE},
        )
        found: list[dict[str, Any]] = answer.json()
        return found

    async def _flow_run_is_gone(self) -> bool:
        assert self._client
        one = {"id": {"any_": [str(self._contract.flow_run_id)]}}
        answer = await self._client.request("POST", "/flow_runs/count", json={"flow_runs": one})
        return int(answer.json()) == 0
