"""A list that was not read to its end is no plan: what was written of it is not taken for the whole."""

from collections.abc import Callable
from typing import Any

import pytest
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.models.errors import RecipientListError
from prefect_whatsapp.sandbox.server import RunningSandbox

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]
Arguments = Callable[..., dict[str, Any]]


class Killed(BaseException):
    """Nothing in a run catches it."""


@pytest.mark.parametrize("earlier", [0, 3])
async def test_half_of_a_list_is_not_sent_by_a_run_without_one(
    sandbox: RunningSandbox, broadcast_arguments: Arguments, monkeypatch: pytest.MonkeyPatch, earlier: int
) -> None:
    """Also where a shorter list was planned, and sent, under the same name before."""
    arguments = broadcast_arguments(8)
    if earlier:
        await broadcast_audio(**{**arguments, "recipients": arguments["recipients"][:earlier]})

    async def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(LedgerStore, "mark_planned", die)
        with pytest.raises(Killed):
            await broadcast_audio(**arguments)
    with pytest.raises(RecipientListError, match="was not planned to the list's end"):
        await broadcast_audio(**{**arguments, "recipients": ""})
    assert sandbox.truth()["accepted_total"] == earlier
    report = await broadcast_audio(**arguments)
    assert (report.planned, report.accepted, sandbox.truth()["duplicates_total"]) == (8, 8, 0)
    assert (await broadcast_audio(**{**arguments, "recipients": ""})).accepted == 8
