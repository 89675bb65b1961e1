"""Which events a server's automations are told, and when, where the event before is lost."""

import asyncio
import datetime
import gc
from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import pytest
from prefect.events.schemas.events import Event as ClientEvent
from prefect.server.events.ordering import EventArrivedEarly, get_triggers_causal_ordering, memory
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.settings import PREFECT_SERVER_EVENTS_CAUSAL_ORDERING, temporary_settings
from prefect_whatsapp.cli.prefect_server import SERVER_SETTINGS
from prefect_whatsapp.reporting.causal_ordering import GARBAGE_THRESHOLDS, PATIENCE, TRIES, CausalOrdering

SECOND = datetime.timedelta(seconds=1)


def now() -> datetime.datetime:
    """This moment."""
    return datetime.datetime.now(datetime.UTC)


def made(ago: datetime.timedelta) -> UUID:
    """The id of an event that was made so long ago, of version 7."""
    milliseconds = int((now() - ago).timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62) | (uuid4().int & ((1 << 62) - 1)))


def event(
    follows: UUID | None = None, *, received: datetime.timedelta = 0 * SECOND, name: str = "Crashed"
) -> ReceivedEvent:
    """A flow run's event, received so long ago."""
    return ReceivedEvent(
        id=made(received),
        occurred=now() - received,
        received=now() - received,
        event=f"prefect.flow-run.{name}",
        resource={"prefect.resource.id": "prefect.flow-run.1"},
        follows=follows,
    )


class Seen:
    """What an ordering lets through."""

    def __init__(self, ordering: memory.CausalOrdering) -> None:
        self.ordering = ordering
        self.events: list[UUID] = []

    async def take(self, arrived: ReceivedEvent, depth: int = 0) -> None:
        """As Prefect's triggers take an event."""
        async with self.ordering.preceding_event_confirmed(self.take, arrived, depth):
            self.events.append(arrived.id)


@pytest.fixture(autouse=True)
def _garbage_as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


@pytest.fixture
def seen() -> Iterator[Seen]:
    """A server that has just started."""
    ordering = CausalOrdering("of a test")
    yield Seen(ordering)
    CausalOrdering.clear_all_scopes()


def test_prefects_ids_tell_when_they_were_made() -> None:
    then = ClientEvent(event="prefect.flow-run.Running", resource={"prefect.resource.id": "x"}).id
    assert abs((then.int >> 80) / 1000 - now().timestamp()) < 60
    assert then.version == 7


def test_prefect_takes_the_module_that_the_settings_name() -> None:
    named = SERVER_SETTINGS["PREFECT_SERVER_EVENTS_CAUSAL_ORDERING"]
    with temporary_settings({PREFECT_SERVER_EVENTS_CAUSAL_ORDERING: named}):
        ordering = get_triggers_causal_ordering()
        assert type(ordering) is CausalOrdering
        assert get_triggers_causal_ordering() is ordering
    assert type(get_triggers_causal_ordering()) is memory.CausalOrdering
    CausalOrdering.clear_all_scopes()


def test_in_the_server_garbage_is_looked_for_less_often(seen: Seen) -> None:
    assert gc.get_threshold() == GARBAGE_THRESHOLDS
    gc.set_threshold(700, 10, 10)
    CausalOrdering("of a test")
    assert gc.get_threshold() == (700, 10, 10), "set once: whoever sets it otherwise is heard"


async def test_what_follows_an_event_of_before_the_restart_goes_through(seen: Seen) -> None:
    crashed = event(made(PATIENCE + SECOND))
    await seen.take(crashed)
    assert seen.events == [crashed.id]
    with pytest.raises(EventArrivedEarly):
        await Seen(memory.CausalOrdering("of a test")).take(crashed)  # what Prefect's own does


async def test_what_overtook_its_leader_waits_for_it(seen: Seen) -> None:
    leader = event(name="Running")
    follower = event(leader.id)
    with pytest.raises(EventArrivedEarly):
        await seen.take(follower)
    assert await seen.ordering.get_lost_followers() == []
    await seen.take(leader)
    assert seen.events == [leader.id, follower.id]
    assert await seen.ordering.get_lost_followers() == []


async def test_what_follows_an_old_leader_that_is_being_looked_at_waits_for_it(seen: Seen) -> None:
    leader = event(received=PATIENCE + SECOND, name="Running")
    follower = event(leader.id)
    async with seen.ordering.preceding_event_confirmed(seen.take, leader):
        taking = asyncio.create_task(seen.take(follower))
        await asyncio.sleep(0.1)
        assert seen.events == []
        seen.events.append(leader.id)
    await taking
    assert seen.events == [leader.id, follower.id]


@pytest.mark.parametrize(
    "made_now", [lambda: made(0 * SECOND), uuid4], ids=["of Prefect 3.4 and later", "of an older Prefect"]
)
async def test_a_leader_that_never_comes_is_waited_for_half_a_minute(
    seen: Seen, made_now: Callable[[], UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = made_now()
    first, second = event(leader), event(leader)
    for each in (second, first):
        with pytest.raises(EventArrivedEarly):
            await seen.take(each)
    assert await seen.ordering.get_lost_followers() == []
    monkeypatch.setattr("prefect_whatsapp.reporting.causal_ordering.PATIENCE", datetime.timedelta(seconds=-1))
    lost = await seen.ordering.get_lost_followers()
    assert lost == [first, second]
    assert await seen.ordering.get_lost_followers() == [], "handed out once, also where evaluating them fails"
    for each in lost:
        await seen.take(each)
    assert seen.events == [first.id, second.id]
    assert await seen.ordering.get_lost_followers() == []


async def test_what_could_not_be_evaluated_is_kept_and_tried_again(seen: Seen) -> None:
    running, crashed = event(name="Running", received=SECOND), event()
    for each in (crashed, running):
        await fail(seen, each)
    assert await seen.ordering.get_lost_followers() == [running, crashed]
    await fail(seen, crashed)
    await seen.take(running)
    assert await seen.ordering.get_lost_followers() == [crashed]
    await seen.take(crashed)
    assert await seen.ordering.get_lost_followers() == []
    assert seen.events == [running.id, crashed.id]


async def test_what_follows_an_event_that_could_not_be_evaluated_waits_for_it(seen: Seen) -> None:
    running = event(name="Running")
    crashed = event(running.id)
    await fail(seen, running)
    with pytest.raises(EventArrivedEarly):
        await seen.take(crashed)
    (again,) = await seen.ordering.get_lost_followers()
    await seen.take(again)
    assert seen.events == [running.id, crashed.id]


async def test_what_never_can_be_evaluated_is_named_in_the_log(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    crashed = event()
    for number in range(TRIES):
        assert len(await seen.ordering.get_lost_followers()) == (number > 0)
        await fail(seen, crashed)
    assert await seen.ordering.get_lost_followers() == []
    assert "could not evaluate prefect.flow-run.Crashed of prefect.flow-run.1" in caplog.text


async def test_what_failed_is_not_tried_before_the_event_that_it_follows(seen: Seen) -> None:
    running, other = event(name="Running"), event()
    crashed = event(running.id)
    await seen.take(other)
    await fail(seen, running)
    seen.ordering._seen_events[running.id] = True  # as if it were evaluated, for the moment in which the next one fails
    await fail(seen, crashed)
    del seen.ordering._seen_events[running.id]
    assert await seen.ordering.get_lost_followers() == [running]
    await seen.take(running)
    assert await seen.ordering.get_lost_followers() == [crashed]


async def fail(seen: Seen, arrived: ReceivedEvent) -> None:
    """As Prefect's triggers take an event while its database is locked."""
    async with seen.ordering.preceding_event_confirmed(seen.take, arrived):
        raise ConnectionError("database is locked")


async def test_a_flow_runs_state_is_followed_after_more_sends_than_the_server_remembers(seen: Seen) -> None:
    running = event(received=PATIENCE + SECOND, name="Running")
    await seen.take(running)
    for _ in range(10_001):
        await seen.ordering.record_event_as_seen(event())
    assert not await seen.ordering.event_has_been_seen(running.id)
    completed = event(running.id, name="Completed")
    await seen.take(completed)
    assert seen.events == [running.id, completed.id]
