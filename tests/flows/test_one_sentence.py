"""A failure is one sentence: as the state of the run, and as the end of its logs."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prefect.logging import get_logger
from prefect_whatsapp.flows import broadcast_audio, send_audio_message
from prefect_whatsapp.models.errors import AccountError, SourceError
from prefect_whatsapp.sandbox.server import RunningSandbox

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]
Arguments = Callable[..., dict[str, Any]]


@pytest.fixture
def logged() -> Iterator[list[logging.LogRecord]]:
    """What Prefect's engine logs of flow runs and task runs, as its server would get it."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    loggers = [get_logger(name) for name in ("flow_runs", "task_runs")]
    for logger in loggers:
        logger.addHandler(handler)
    yield records
    for logger in loggers:
        logger.removeHandler(handler)


async def test_a_failed_broadcast_says_why_in_its_state_and_last_in_its_logs(
    broadcast_arguments: Arguments, logged: list[logging.LogRecord]
) -> None:
    state: Any = await broadcast_audio(**broadcast_arguments(2, audio="nowhere.mp3"), return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "Failed")
    assert state.message.startswith("There is no file nowhere.mp3: ")
    assert "\n" not in state.message
    assert logged[-1].getMessage() == f"Finished in state Failed({state.message!r})"
    assert not [record for record in logged if record.exc_info]
    with pytest.raises(SourceError):
        await state.aresult()


async def test_so_does_a_single_message(
    sandbox: RunningSandbox, broadcast_arguments: Arguments, logged: list[logging.LogRecord]
) -> None:
    sandbox.faults(kind="expired_token", on="send")
    given = broadcast_arguments(1)
    arguments = {name: given[name] for name in ("sender", "audio", "ledger")}
    state: Any = await send_audio_message(to="+16505550123", **arguments, return_state=True)
    assert (state.type.value, "\n" in state.message) == ("FAILED", False)
    assert state.message in logged[-1].getMessage()
    assert not [record for record in logged if record.exc_info]
    with pytest.raises(AccountError):
        await send_audio_message(to="+16505550123", **arguments)


async def test_an_error_of_somebody_elses_keeps_its_traceback(
    broadcast_arguments: Arguments, logged: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault of the program")

    monkeypatch.setattr("prefect_whatsapp.flows.steps.Broadcast.run", broken)
    state: Any = await broadcast_audio(**broadcast_arguments(1), return_state=True)
    assert "ZeroDivisionError" in state.message
    assert [record for record in logged if record.exc_info]


async def test_a_flow_with_retries_is_retried_as_prefect_does(broadcast_arguments: Arguments) -> None:
    """A failed state that is returned is taken for the flow's end, and a run with retries would wait for ever."""
    retried = broadcast_audio.with_options(retries=1, retry_delay_seconds=0)
    with pytest.raises(SourceError):
        await retried(**broadcast_arguments(1, audio="nowhere.mp3"))
