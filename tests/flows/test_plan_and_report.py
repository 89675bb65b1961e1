"""What the artifacts of a broadcast tell a person: the plan, the rows that were removed, and what this run itself sent."""

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from artifacts import artifacts
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox
from senders import sender_of

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]

Arguments = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("dry_run", [True, False])
async def test_the_removed_rows_are_listed_by_line_and_reason_and_the_first_fifty_of_many(
    broadcast_arguments: Arguments, dry_run: bool
) -> None:
    good = [*sample_numbers(2)]
    arguments = broadcast_arguments(0, recipients=[good[0], "hello there", *(["+1"] * 60), good[1]], dry_run=dry_run)
    assert (await broadcast_audio(**arguments)).removed == 61
    (table,) = await artifacts(arguments["broadcast"], "removed")
    rows = json.loads(str(table.data))
    assert [row["line"] for row in rows] == [str(line) for line in range(2, 52)]
    assert all(row["reason"] for row in rows)
    assert "hello" not in str(table.data)
    assert table.description == "Rows removed from the list: the first 50 of 61, by line and reason"


async def test_a_list_without_faults_has_no_such_table(broadcast_arguments: Arguments) -> None:
    arguments = broadcast_arguments(2, dry_run=True)
    await broadcast_audio(**arguments)
    assert not await artifacts(arguments["broadcast"], "removed")


async def test_the_same_file_sent_as_basic_audio_is_the_same_audio(broadcast_arguments: Arguments) -> None:
    earlier = broadcast_arguments(2)
    await broadcast_audio(**earlier)
    again = broadcast_arguments(2, voice=False, dry_run=True)
    await broadcast_audio(**again)
    (plan,) = await artifacts(again["broadcast"], "plan")
    assert f"2 from {earlier['broadcast']}" in str(plan.data).replace("\\", "")


@pytest.mark.parametrize("dry_run", [True, False])
async def test_the_plan_warns_where_people_had_this_audio_lately_under_another_name(
    broadcast_arguments: Arguments, dry_run: bool
) -> None:
    earlier = broadcast_arguments(3)
    await broadcast_audio(**earlier)
    again = broadcast_arguments(5, dry_run=dry_run)
    await broadcast_audio(**again)
    (plan,) = await artifacts(again["broadcast"], "plan")
    assert (
        f"Sent before: people on this list got this audio within the last 30 days, 3 from {earlier['broadcast']}"
        in (str(plan.data).replace("\\", ""))
    )
    assert "Waiting for approval" not in str(plan.data)


async def test_a_first_broadcast_warns_of_nothing(broadcast_arguments: Arguments) -> None:
    arguments = broadcast_arguments(3)
    await broadcast_audio(**arguments)
    (plan,) = await artifacts(arguments["broadcast"], "plan")
    assert "Sent before" not in str(plan.data)


async def test_a_dry_run_of_a_form_that_asks_for_approval_waits_for_none(broadcast_arguments: Arguments) -> None:
    arguments = broadcast_arguments(2, dry_run=True, approve=True)
    await broadcast_audio(**arguments)
    (plan,) = await artifacts(arguments["broadcast"], "plan")
    assert "approval" not in str(plan.data)
    assert "> Dry run: nothing is sent." in str(plan.data).replace("\\", "")


async def test_the_report_of_a_run_that_sent_nothing_says_so(broadcast_arguments: Arguments) -> None:
    arguments = broadcast_arguments(3)
    await broadcast_audio(**arguments)
    (first,) = await artifacts(arguments["broadcast"], "report")
    assert "by earlier runs" not in f"{first.description} {first.data}"
    await broadcast_audio(**arguments)
    second, _ = await artifacts(arguments["broadcast"], "report")
    assert second.description == "3 of 3 accepted (0 now, 3 by earlier runs)"
    assert "**Accepted:** 0 now, 3 by earlier runs." in str(second.data)


async def test_a_known_files_plan_keeps_its_warnings(broadcast_arguments: Arguments, ledger: Ledger) -> None:
    await broadcast_audio(**broadcast_arguments(1))
    with sqlite3.connect(ledger.url.get_secret_value()) as book:
        (size,) = book.execute("SELECT size FROM whatsapp_media").fetchone()
        book.execute("UPDATE whatsapp_media SET size = 600000")
    book.close()
    assert 1_000 < size < 500_000
    arguments = broadcast_arguments(1, dry_run=True)
    await broadcast_audio(**arguments)
    (plan,) = await artifacts(arguments["broadcast"], "plan")
    assert "has 600 kB, over the" in str(plan.data)
    assert "| size | 600,000 bytes |" in str(plan.data)  # what arrives, not the file that it was made of
    assert "| codec | opus in ogg, 1 channel |" in str(plan.data)
    assert "no: a download icon" in str(plan.data)


async def test_a_run_that_was_stopped_by_its_service_still_lists_what_needs_a_person(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    first, *_ = sample_numbers(3)
    sandbox.faults(kind="window", recipients=[first])
    arguments = broadcast_arguments(3)
    await broadcast_audio(**arguments)
    (table,) = await artifacts(arguments["broadcast"], "attention")
    (row,) = json.loads(str(table.data))
    assert list(row)[:6] == ["row", "line", "recipient", "reason", "state", "next step"]
    assert "Recipients: broadcast:NAME?state=skipped" in row["next step"]


async def test_the_estimated_time_is_that_of_the_slower_of_pace_and_pause(
    sandbox: RunningSandbox, broadcast_arguments: Arguments
) -> None:
    told = []
    for rate in (0.0, 0.01):
        paced = {"messages_per_second": rate, "min_seconds_between": 10, "max_seconds_between": 30}
        arguments = broadcast_arguments(3, sender=sender_of("waha", sandbox.url, **paced), dry_run=True)
        await broadcast_audio(**arguments)
        (plan,) = await artifacts(arguments["broadcast"], "plan")
        (line,) = [line for line in str(plan.data).splitlines() if "estimated time" in line]
        told.append(line)
    assert told == ["| estimated time | 1 min |", "| estimated time | 5 min |"]
