"""A wait for a person ends by Resume, and by nothing else."""

import datetime

import pytest
from prefect.client.schemas.objects import State
from prefect.states import AwaitingRetry, Cancelled, Crashed, Pending, Running, Scheduled, Suspended
from prefect_whatsapp.flows.wait import was_resumed

RESUMING = Scheduled(name="Resuming")


def _waits(key: str) -> State:
    return Suspended(timeout_seconds=600, pause_key=key)


@pytest.mark.parametrize(
    ("history", "resumed"),
    [
        ([], False),
        ([Pending(), Running()], False),
        ([Running(), _waits("plan-0"), RESUMING, Pending(), Running()], True),
        ([Running(), _waits("plan-0"), RESUMING, Pending(), Running(), Crashed(), AwaitingRetry(), Running()], True),
        ([Running(), _waits("plan-0"), Crashed(), AwaitingRetry(), Pending(), Running()], False),
        ([Running(), _waits("plan-0"), Scheduled(), Pending(), Running()], False),
        ([Running(), _waits("plan-0"), Cancelled()], False),
        ([Running(), _waits("other-0"), RESUMING, Running()], False),
        ([Running(), _waits("plan-0"), RESUMING, Running(), _waits("other-1"), RESUMING, Running()], False),
        ([Running(), _waits("plan-0"), Crashed(), Running(), _waits("plan-1"), RESUMING, Running()], True),
    ],
)
def test_only_resume_of_the_last_wait_for_this_ends_it(history: list[State], resumed: bool) -> None:
    start = datetime.datetime.now(datetime.UTC)
    for place, state in enumerate(history):
        history[place] = state.model_copy(update={"timestamp": start + datetime.timedelta(seconds=place)})
    assert was_resumed([*reversed(history)], "plan") is resumed
