"""The state in which a broadcast's flow run ends, and a broadcast of another's rows."""

from collections.abc import Callable
from typing import Any

import pytest
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.models import Report
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

Arguments = Callable[..., dict[str, Any]]


async def test_a_run_that_left_rows_to_a_person_ends_as_needs_attention_and_gives_its_report(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    sandbox.faults(kind="window", recipients=[next(iter(sample_numbers(1)))])
    arguments = broadcast_arguments(3)
    state = await broadcast_audio(**arguments, return_state=True)
    assert (state.type, state.name) == ("COMPLETED", "Needs attention")
    assert state.message == "1 of 3 needs attention: 1 skipped"
    report = await state.aresult()
    assert isinstance(report, Report)
    assert (await broadcast_audio(**arguments)).skipped == 1, "who calls the flow gets the report"


async def test_a_run_that_left_nobody_ends_as_completed(broadcast_arguments: Arguments) -> None:
    state = await broadcast_audio(**broadcast_arguments(2), return_state=True)
    assert (state.name, state.message) == ("Completed", "2 of 2 accepted")


async def test_a_dry_run_says_so_where_its_state_is_shown(broadcast_arguments: Arguments) -> None:
    state = await broadcast_audio(**broadcast_arguments(2, dry_run=True), return_state=True)
    assert state.message == "Dry run: nothing was sent; 2 would be sent, 0 removed from the list"


async def test_a_broadcast_is_made_of_another_ones_skipped_rows(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    first, *others = sample_numbers(3)
    sandbox.faults(kind="window", recipients=[first])
    arguments = broadcast_arguments(3)
    await broadcast_audio(**arguments)
    sandbox.behave()
    rows = f"broadcast:{arguments['broadcast']}?state=skipped"
    report = await broadcast_audio(**{**arguments, "broadcast": "their-turn", "recipients": rows})
    assert (report.planned, report.accepted) == (1, 1)
    assert sandbox.truth()["accepted_total"] == 1 + len(others)
