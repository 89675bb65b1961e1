"""A receiver beside a program: in a thread of it, for as long as a `with` lasts."""

import asyncio
import contextvars
import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from ..blocks import Ledger
from ..blocks.sender import Sender
from .app import create_app

_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


class RunningReceiver:
    """A receiver in a thread of this process, on 127.0.0.1; for demonstrations and tests.

    Args:
        senders: The accounts' blocks by path, as for `create_app`.
        ledger: The ledger that the broadcasts use; the embedded one by default.
        port: Port; 0 takes a free one.
        others: More arguments of `create_app`.

    Attributes:
        url: Where it answers.

    Example:
        >>> with RunningReceiver({}) as receiver:  # doctest: +SKIP
        ...     print(receiver.url)
    """

    def __init__(
        self, senders: Mapping[str, Sender], *, ledger: Ledger | None = None, port: int = 0, **others: Any
    ) -> None:
        self._app = create_app(senders, ledger=ledger, **others)
        self._port = port
        self._server: Any = None
        self._thread: threading.Thread | None = None
        self.url = ""

    def __enter__(self) -> Self:
        import uvicorn

        config = uvicorn.Config(
            self._app, log_config=None, log_level="critical", access_log=False, timeout_graceful_shutdown=5
        )
        self._server = server = uvicorn.Server(config)
        started = threading.Event()

        async def run() -> None:
            with socket.create_server(("127.0.0.1", self._port), backlog=2048) as listener:
                self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
                serving = asyncio.ensure_future(server.serve(sockets=[listener]))
                while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
                    await asyncio.sleep(0.005)
                started.set()
                await serving

        # The caller's context: Prefect keeps there with which server it talks.
        inside = contextvars.copy_context()
        self._thread = threading.Thread(
            target=inside.run, args=(lambda: asyncio.run(run()),), daemon=True, name="whatsapp-receiver"
        )
        self._thread.start()
        if not started.wait(_START_SECONDS) or not server.started:
            raise RuntimeError("the receiver did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take what is under way, bring the reports up to date, and end."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(_STOP_SECONDS)
