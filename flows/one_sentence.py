"""A failure is one sentence: as the flow run's state, and as the end of its logs, without a traceback of this package."""

import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.logging import get_logger
from prefect.states import Failed
from prefect_whatsapp.flows.parameters import CheckedFlow
from prefect_whatsapp.models.errors import WhatsAppError

F = TypeVar("F")
R = TypeVar("R")


class OneSentence(logging.Filter):
    """Takes the traceback of our own errors out of what Prefect's engine logs within our flows; DEBUG keeps it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass."""
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, WhatsAppError) and _in_a_flow_of_ours() and not get_logger().isEnabledFor(logging.DEBUG):
            record.exc_info = record.exc_text = None
        return True


_FILTER = OneSentence()


def failed(failure: WhatsAppError, *, name: str = "Failed") -> State[Any]:
    """Make the state of a run that failed: its message is the sentence, and who calls the flow gets the error raised.

    Args:
        failure: The error.
        name: The state's name.
    """
    return Failed(name=name, message=failure.message, data=failure)


def engine_retries() -> bool:
    """Whether Prefect's engine retries this flow: it does so for an exception, and after a state waits for ever."""
    context = FlowRunContext.get()
    return bool(context and context.flow and context.flow.retries)


def fails_in_one_sentence(
    function: Callable[[F], Coroutine[Any, Any, R]],
) -> Callable[[F], Coroutine[Any, Any, R]]:
    """Let a flow's function end in a state that says what its error says.

    Prefect's engine would say "Flow run encountered an exception", the error's type, and log a traceback.

    Args:
        function: Takes the flow's form.
    """

    @functools.wraps(function)
    async def run(form: F) -> R:
        for name in ("task_runs", "flow_runs"):
            get_logger(name).addFilter(_FILTER)
        try:
            return await function(form)
        except WhatsAppError as failure:
            if engine_retries():
                raise
            return cast("R", failed(failure))

    return run


def _in_a_flow_of_ours() -> bool:
    context = FlowRunContext.get()
    return bool(context and isinstance(context.flow, CheckedFlow))
