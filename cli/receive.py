"""`prefect-whatsapp receive`: the receiver of webhooks, run by uvicorn."""

import asyncio
from collections.abc import Sequence

import uvicorn
from starlette.types import ASGIApp

from ..blocks import Ledger
from ..blocks.sender import Sender
from ..models.errors import InputError
from ..receipts import create_app
from ..receipts.words import Words
from .broadcast import load_sender

# Beyond these the answer is 503, and the service posts again: each may hold a body of some megabytes.
_CONNECTIONS = 500
_SHUTDOWN_SECONDS = 10  # for what is being taken; a connection that only hangs must not keep a service from ending


def run_receiver(
    accounts: Sequence[str], *, host: str, port: int, stop_words: Sequence[str], start_words: Sequence[str], ledger: str
) -> None:
    """Run until it is told to end.

    Raises:
        InputError: No account was named, or a block lacks what receiving needs.
    """
    if not accounts:
        raise InputError("name the accounts whose webhooks to receive, such as graph/weekly")
    app = create_app(
        asyncio.run(_load(accounts)),
        ledger=Ledger.model_validate({"url": ledger}),
        words=Words.of(stop=stop_words, start=start_words),
    )
    for account in accounts:
        print(f"http://{host}:{port}/{account}", flush=True)
    serve(app, host=host, port=port)


def serve(app: ASGIApp, *, host: str, port: int) -> None:
    """Serve the receiver's app until the process is told to end, by SIGTERM or Ctrl-C."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        access_log=False,  # the path of a service that signs nothing holds its secret
        log_level="warning",
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )


async def _load(accounts: Sequence[str]) -> dict[str, Sender]:
    return {account: await load_sender(account) for account in accounts}
