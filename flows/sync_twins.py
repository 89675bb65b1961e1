"""The flows for code that is not async: the same flow runs, by another way to call them."""

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from prefect import Flow
from prefect_whatsapp.flows.broadcasts import broadcast_audio, broadcast_contacts
from prefect_whatsapp.flows.single_messages import send_audio_message, send_contact_message

P = ParamSpec("P")
R = TypeVar("R")


def sync_twin(flow: Flow[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """Make a function that runs an async flow to its end, as a subflow where it is called in a flow.

    Args:
        flow: The async flow.

    Returns:
        A function with the flow's arguments; it blocks the thread that calls it.
    """

    def run(*positional: P.args, **given: P.kwargs) -> R:
        async def work() -> R:
            return await flow(*positional, **given)

        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(work())
        with ThreadPoolExecutor(1) as thread:  # a sync flow that was called in async code, or a notebook
            return thread.submit(contextvars.copy_context().run, asyncio.run, work()).result()

    name = flow.fn.__name__
    run.__name__ = run.__qualname__ = f"{name}_sync"
    run.__module__ = __name__
    run.__signature__ = inspect.signature(flow.fn)  # type: ignore[attr-defined]
    run.__doc__ = f"Run `{name}` in code that is not async; its arguments, result and errors are the same."
    return run


broadcast_audio_sync = sync_twin(broadcast_audio)
broadcast_contacts_sync = sync_twin(broadcast_contacts)
send_audio_message_sync = sync_twin(send_audio_message)
send_contact_message_sync = sync_twin(send_contact_message)
