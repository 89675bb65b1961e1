"""How a broadcast waits for a person: without a process where it can be started anew, so that it outlives the machine."""

from uuid import UUID

from prefect import apause_flow_run, asuspend_flow_run
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.runtime import deployment, flow_run


async def wait_for_resume(key: str, *, seconds: int) -> None:
    """Return once somebody has chosen Resume for this wait, and at once where that has happened before.

    A deployed run is suspended: its process ends here, and Resume starts it anew on any worker, from the top. A run of
    nobody's deployment keeps its process and looks every few seconds.

    Only Resume counts. A run that was started again for another reason (its machine died while it waited, somebody
    pressed Retry) waits anew: for Prefect alone a wait is over as soon as it has begun once.

    Args:
        key: What is waited for: a resume of another key's wait does not end this one.
        seconds: How long the run may wait; then Prefect lets nobody resume it.

    Raises:
        prefect.exceptions.Pause: The process is to end here; Prefect's engine takes it.
    """
    async with get_client() as client:
        states = await client.read_flow_run_states(UUID(str(flow_run.id)))
    if was_resumed(states, key):
        return
    waits = sum(state.type is StateType.PAUSED for state in states)
    if waits_without_process():
        await asuspend_flow_run(timeout=seconds, key=f"{key}-{waits}")
    else:
        await apause_flow_run(timeout=seconds, poll_interval=3, key=f"{key}-{waits}")


async def resumed_from(prefix: str) -> bool:
    """Whether this run goes on after a wait whose key begins so: what it did before the wait is not to be done anew."""
    if not flow_run.id:
        return False
    async with get_client() as client:
        states = await client.read_flow_run_states(UUID(str(flow_run.id)))
    return (_resumed_key(states) or "").startswith(prefix)


async def started_though_cancelled() -> bool:
    """Whether this run was cancelled and nobody but an automation started it again."""
    if not flow_run.id or int(flow_run.run_count or 0) < 2:
        return False
    async with get_client() as client:
        return was_cancelled(await client.read_flow_run_states(UUID(str(flow_run.id))))


def was_cancelled(states: list[State]) -> bool:
    """Whether a run's last start is one that its cancellation forbids.

    A process that is cancelled ends as Crashed until its worker says Cancelled, 5 to 42 seconds later as measured; the
    automation that starts crashed runs again may come in between. Somebody's own Retry has another message.

    Example:
        >>> from prefect.states import AwaitingRetry, Cancelled, Cancelling, Crashed, Pending, Running
        >>> cancelled, again = [Running(), Cancelling(), Crashed()], AwaitingRetry(message=STARTED_AGAIN)
        >>> was_cancelled([*cancelled, again, Pending(), Running()])
        True
        >>> was_cancelled([Running(), Crashed(), AwaitingRetry(message=STARTED_AGAIN), Running()])
        False
        >>> was_cancelled([*cancelled, Cancelled(), AwaitingRetry(), Running()])
        False
    """
    history = sorted(states, key=lambda state: state.timestamp)
    started = max((place for place, state in enumerate(history) if state.type is StateType.SCHEDULED), default=-1)
    if started < 0:
        return False
    if any(state.type is StateType.CANCELLED for state in history[started:]):
        return True
    ran = max((place for place in range(started) if history[place].type is StateType.RUNNING), default=0)
    cancelled = any(state.type in _CANCELS for state in history[ran:started])
    return cancelled and (history[started].message or "").startswith(STARTED_AGAIN)


# How the automations that start crashed runs again begin their message (deployments/automations/).
STARTED_AGAIN = "The run crashed and "
_CANCELS = (StateType.CANCELLING, StateType.CANCELLED)


def waits_without_process() -> bool:
    """Whether the process of this run ends while it waits."""
    return bool(deployment.id) and not flow_run.parent_flow_run_id


def was_resumed(states: list[State], key: str) -> bool:
    """Whether the last wait in a flow run's history was for this key, and ended by Resume.

    Example:
        >>> from prefect.states import AwaitingRetry, Crashed, Running, Scheduled, Suspended
        >>> waits = [Running(), Suspended(timeout_seconds=60, pause_key="plan-0")]
        >>> was_resumed([*waits, Scheduled(name="Resuming"), Running()], "plan")
        True
        >>> was_resumed([*waits, Crashed(), AwaitingRetry(), Running()], "plan")
        False
    """
    return _resumed_key(states) == key


def _resumed_key(states: list[State]) -> str | None:
    """For what the last wait was, if Resume ended it."""
    history = sorted(states, key=lambda state: state.timestamp)
    last = max((place for place, state in enumerate(history) if state.type is StateType.PAUSED), default=-1)
    if last < 0 or last + 1 >= len(history) or history[last + 1].name != "Resuming":
        return None
    return (history[last].state_details.pause_key or "").rpartition("-")[0]
