"""In which order a Prefect server's automations see events: without a long wait for a lost one, and again where that failed.

The state events of a flow run name the one that they follow. Prefect's own ordering holds an event back until it has seen
that one, for 15 minutes at most, and knows only the last 10,000 events that this process saw. After a restart of the
server, or 10,000 sends later, the state before is unknown: a crashed run would not be run again, and an alert would
come a quarter of an hour late. What arrives in the wrong order does so within milliseconds, so half a minute is enough.

An event that the automations could not evaluate, as SQLite was locked for a moment, Prefect gives them again at once, four
times in a tenth of a second, and then drops it: the news of a crash was lost so, and that a run waits for approval. Here
such an event is kept, and tried again every five seconds.

As it is what this package has running in the server, it also lets Python's garbage collector look less often: at its default of
700 new objects it took a quarter of the server's CPU while task runs were recorded (3.4 to 3.8 ms a run against 2.7).

It runs inside the Prefect server, where the package has to be installed, by this setting:

    PREFECT_SERVER_EVENTS_CAUSAL_ORDERING=prefect_whatsapp.reporting.causal_ordering

Source: https://docs.prefect.io/v3/api-ref/settings-ref (`server.events.causal_ordering`); the module that it replaces is
`prefect.server.events.ordering.memory`. Several servers share `prefect_redis.ordering`, which outlives a restart.
"""

import asyncio
import contextlib
import datetime
import gc
from collections.abc import AsyncGenerator
from uuid import UUID

from prefect.logging import get_logger
from prefect.server.events.ordering import event_handler, memory
from prefect.server.events.schemas.events import ReceivedEvent

PATIENCE = datetime.timedelta(seconds=30)
# Prefect asks for what waits every five seconds: more than a minute and a half, and as long again where each try waits.
TRIES = 20
_KEPT_AT_MOST = 1_000
# New objects, and younger collections, before the garbage collector looks at each of its three generations.
GARBAGE_THRESHOLDS = (50_000, 50, 100)

logger = get_logger(__name__)


class CausalOrdering(memory.CausalOrdering):
    """Prefect's ordering in memory, which waits for an event's leader until the leader is `PATIENCE` old and no longer.

    Making it sets the garbage collector of its process, the server's, to `GARBAGE_THRESHOLDS`.

    Args:
        scope: Who asks, as Prefect names it; there is one object a scope.
    """

    # Prefect's class has its own; not shared with it.
    _instances: dict[str, memory.CausalOrdering] = {}  # noqa: RUF012  # declared so in Prefect's
    _locks: dict[str, asyncio.Lock] = {}  # noqa: RUF012  # declared so in Prefect's
    _held: dict[UUID, ReceivedEvent]
    _failed: dict[UUID, tuple[ReceivedEvent, int]]

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        if not hasattr(self, "_held"):  # Prefect asks for the object anew at each event
            self._held, self._failed = {}, {}
            gc.set_threshold(*GARBAGE_THRESHOLDS)

    @contextlib.asynccontextmanager
    async def preceding_event_confirmed(
        self, handler: event_handler, event: ReceivedEvent, depth: int = 0
    ) -> AsyncGenerator[None, None]:
        """Let an event be evaluated in its turn; one whose evaluation fails is kept to be tried again.

        Args:
            handler: What evaluates those that waited for this one.
            event: What is to be evaluated.
            depth: How many events led to this one.

        Raises:
            EventArrivedEarly: The leader may still arrive; the event waits.
        """
        begun = False
        try:
            async with super().preceding_event_confirmed(handler, event, depth):
                begun = True
                yield
        except Exception as failure:  # whatever it was: Prefect would drop the event
            tries = self._failed.get(event.id, (event, 0))[1] + 1
            if not begun or (tries == 1 and len(self._failed) >= _KEPT_AT_MOST):
                raise
            if tries < TRIES:
                self._failed[event.id] = (event, tries)
                logger.info("%s of %s is tried again: %s", event.event, event.resource.id, type(failure).__name__)
            else:  # raised, it would take with it what is to be evaluated after it
                del self._failed[event.id]
                logger.exception("Automations could not evaluate %s of %s", event.event, event.resource.id)
        else:
            self._failed.pop(event.id, None)

    async def wait_for_leader(self, event: ReceivedEvent) -> None:
        """Return at once where the leader is lost; else as Prefect does.

        Args:
            event: What is to be evaluated.

        Raises:
            EventArrivedEarly: The leader may still arrive.
        """
        if event.follows and _is_overdue(event) and not await self.event_has_started_processing(event.follows):
            return
        await super().wait_for_leader(event)

    async def record_follower(self, event: ReceivedEvent) -> None:
        """Remember that an event waits for its leader."""
        await super().record_follower(event)
        self._held[event.id] = event

    async def forget_follower(self, follower: ReceivedEvent) -> None:
        """Forget that an event waited."""
        await super().forget_follower(follower)
        self._held.pop(follower.id, None)

    async def get_lost_followers(self) -> list[ReceivedEvent]:
        """What is to be evaluated now, in the order in which it occurred: what waited long enough, and what failed."""
        lost = [event for event in self._held.values() if _is_overdue(event)]
        for event in lost:
            await self.forget_follower(event)
        failed = [event for event, _ in self._failed.values() if await self._has_its_turn(event)]
        return sorted([*lost, *failed], key=lambda event: event.occurred)

    async def _has_its_turn(self, event: ReceivedEvent) -> bool:
        return not event.follows or _is_overdue(event) or await self.event_has_been_seen(event.follows)


def _is_overdue(event: ReceivedEvent) -> bool:
    """Whether the event that this one follows was made, or this one received, more than `PATIENCE` ago."""
    now = datetime.datetime.now(datetime.UTC)
    made = _made_at(event.follows) if event.follows else None
    return now - event.received > PATIENCE or (made is not None and now - made > PATIENCE)


def _made_at(event: UUID) -> datetime.datetime | None:
    """When an event with this id was made: in version 7 (RFC 9562), as of Prefect, it begins with the milliseconds since 1970."""
    if event.version != 7:
        return None
    return datetime.datetime.fromtimestamp((event.int >> 80) / 1000, datetime.UTC)
