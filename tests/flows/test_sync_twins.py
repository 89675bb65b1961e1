"""The flows for code that is not async."""

import inspect
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.runtime import flow_run
from prefect_whatsapp import flows
from prefect_whatsapp.flows import broadcast_audio_sync
from prefect_whatsapp.models.errors import InputError

Arguments = Callable[..., dict[str, Any]]


def test_every_flow_has_one() -> None:
    assert {f"{name}_sync" for name in flows.__all__ if not name.endswith("_sync")} == {
        name for name in flows.__all__ if name.endswith("_sync")
    }


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_it_sends_as_a_subflow_of_a_flow_that_is_not_async(broadcast_arguments: Arguments) -> None:
    @flow
    def weekly() -> tuple[str, int]:
        return str(flow_run.id), broadcast_audio_sync(**broadcast_arguments(2)).accepted

    parent, accepted = await anyio.to_thread.run_sync(weekly)  # a thread without a loop, as a script's
    assert accepted == 2
    async with get_client() as client:
        (child,) = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]))  # type: ignore[list-item]
        )
    assert child.name.startswith("test-")


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_it_raises_what_the_flow_raises_and_runs_beside_a_loop_too(broadcast_arguments: Arguments) -> None:
    with pytest.raises(InputError, match="audio is empty"):
        broadcast_audio_sync(**broadcast_arguments(1, audio=" "))


def test_it_is_no_coroutine_function() -> None:
    assert not inspect.iscoroutinefunction(broadcast_audio_sync)
