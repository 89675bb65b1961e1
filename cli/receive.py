"""`prefect-whatsapp receive`: the receiver of webhooks, run by uvicorn."""

import asyncio
from collections.abc import Sequence

import uvicorn

from ..blocks import Ledger
from ..blocks.sender import Sender
from ..models.errors import InputError
from ..receipts import create_app
from ..receipts.words import Words
from .broadcast import load_sender


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
    # No access log: the path of a service that signs nothing holds its secret.
    uvicorn.run(app, host=host, port=port, access_log=False, log_level="warning", server_header=False)


async def _load(accounts: Sequence[str]) -> dict[str, Sender]:
    return {account: await load_sender(account) for account in accounts}
