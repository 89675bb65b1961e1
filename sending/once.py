"""One message to one recipient, exactly accountable: a broadcast of one row, by the same ledger and the same rules."""

import asyncio
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

from ..blocks import Ledger
from ..blocks.sender import Sender
from ..ledger import Lease, Outcome, Row
from ..models import ACCEPTED_STATES, OPEN_STATES, Receipt, Recipient, SendState, StopReason
from ..models.errors import (
    AccountError,
    ErrorKind,
    NotSentError,
    OutcomeUnknownError,
    RecipientRefusedError,
    RetryLaterError,
)
from .admission import Admission
from .content import Message
from .delivery import Delivery
from .pace import Pace
from .stop import StopSignal
from .turns import Turns

T = TypeVar("T")

# How long a single send waits for its part of the account's rate, and how often it looks for it.
SHARE_SECONDS = 120.0
SHARE_POLL_SECONDS = 0.05

_looks, _sends = Turns(at_once=4), Turns()
_outages: dict[str, float] = {}  # when a send of this process last gave up on an outage, by its sender


async def send_once(
    key: str,
    message: Message,
    to: Recipient,
    sender: Sender,
    *,
    digest: str,
    label: str,
    ledger: Ledger | None = None,
    task_run_id: str = "",
) -> Receipt:
    """Send a message to a recipient unless it was sent under this key before.

    Args:
        key: The promise: under one key each recipient gets one message. It is a broadcast's name in the ledger.
        message: What is sent.
        to: Who gets it.
        sender: The sending account's block.
        digest: What the key is bound to.
        label: The same in words for a person.
        ledger: Where it is recorded; None for the default ledger.
        task_run_id: The task run that the ledger names beside it.

    Returns:
        The receipt, of this send or of the earlier one.

    Raises:
        BroadcastMismatchError: The key stands for another message or another account.
        OutcomeUnknownError: An earlier try, or this one, may have been accepted; it is not sent again.
        RecipientRefusedError: The service refused it for this recipient, or they opted out.
        NotSentError: It was surely not accepted; try again later.
        RetryLaterError: Another run is sending it at this moment, or others have used the account's whole rate for two minutes.
        AccountError: The account can't send now.
    """
    dialect, stop = sender.dialect(), StopSignal()
    place = ledger or Ledger()
    # Hundreds of mapped tasks at once would wait for each other at the ledger, and for their part of the rate.
    async with _looks.of(place.url), place.open() as store:
        record = await store.start_broadcast(
            key,
            kind=message.kind,
            provider=dialect.name,
            account=dialect.account,
            content=digest,
            content_label=label,
            sender=dialect.sender,
        )
        await store.plan(record, [to])
        row = await store.find_row(record, to)
    if row.state not in OPEN_STATES:
        return _receipt(row, to)
    waits_since = time.monotonic()
    async with _sends.of(dialect.sender), place.open() as store:
        if _outages.get(dialect.sender, 0.0) > waits_since:  # else each of hundreds would try for a minute
            raise NotSentError(
                f"the service was away while the message to {to.masked} waited for its turn", provider=dialect.name
            )
        async with (
            store.join(record, sender=dialect.sender, messages_per_second=sender.messages_per_second) as lease,
            sender.get_async_client(connections=1) as client,
        ):
            await lease.recover()  # what a run that is gone had begun becomes unknown
            taken = await _take(lease, to)
            if not taken and lease.share <= 0:
                raise RetryLaterError(
                    f"other runs use all of this account's rate, so the message to {to.masked} was not sent",
                    provider=dialect.name,
                    kind=ErrorKind.THROTTLE,
                )
            if taken:
                pace = Pace(lambda: lease.share, spacing=sender.random_spacing)
                async with Admission(lease, pace, stop, in_flight=1) as admission:
                    delivery = Delivery(lease, client, message, admission=admission, stop=stop)
                    outcome = await delivery.send(taken[0], task_run_id)
                if outcome.state is SendState.QUEUED:
                    if stop.reason is StopReason.OUTAGE:
                        _outages[dialect.sender] = time.monotonic()
                    raise _not_sent(outcome, stop, dialect.name)
        row = await store.find_row(record, to)
        if row.state in OPEN_STATES:
            raise RetryLaterError(
                f"another run is sending {key!r} to {to.masked} at this moment",
                provider=dialect.name,
                kind=ErrorKind.TRANSIENT,
            )
        return _receipt(row, to)


async def _take(lease: Lease, to: Recipient) -> list[Row]:
    """Reserve the row. What joins beside other runs, or right after one, has no part of the rate at first."""
    deadline = time.monotonic() + SHARE_SECONDS
    while True:
        taken = await lease.take(1, account_key=to.account_key)
        if taken or lease.share > 0 or time.monotonic() > deadline:
            return taken
        await asyncio.sleep(SHARE_POLL_SECONDS)


def _receipt(row: Row, to: Recipient) -> Receipt:
    if row.state in ACCEPTED_STATES:
        return Receipt(
            provider=row.provider,
            account=row.account,
            recipient=to.to,
            message_id=row.message_id,
            status_text=row.status_text,
        )
    if row.state is SendState.UNKNOWN:
        raise OutcomeUnknownError(
            row.error_text or f"the message to {to.masked} may have been accepted: it is not sent again",
            provider=row.provider,
        )
    raise RecipientRefusedError(
        row.error_text or f"the message to {to.masked} was {row.state}",
        provider=row.provider,
        code=row.error_code,
        kind=ErrorKind(row.error_kind) if row.error_kind in [*ErrorKind] else ErrorKind.UNSPECIFIED,
    )


def _not_sent(outcome: Outcome, stop: StopSignal, provider: str) -> Exception:
    sentence = stop.sentence or outcome.error_text or "the message was not sent"
    if stop.reason is StopReason.ACCOUNT:
        return AccountError(sentence, provider=provider, code=outcome.error_code)
    return NotSentError(sentence, provider=provider)


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end from a task that is not async, in its context, whether or not a loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(copy_context().run, asyncio.run, work).result()
