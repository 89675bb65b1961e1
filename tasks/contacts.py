"""Tasks for contact cards, sync and async."""

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_logger
from prefect.runtime import task_run

from ..blocks import Ledger
from ..blocks.sender import Sender
from ..models import Contact, Receipt, Recipient
from ..models.plurals import counted
from ..providers.dialect import Dialect
from ..providers.http_types import Exchange
from ..sending.pair_pace import pair_wait
from .audio import recipient_of, send_run_name, surely_not_sent


def contacts_digest(contacts: Sequence[Contact]) -> str:
    """Give what a broadcast of these cards is bound to: 64 hexadecimal digits, others for any other content."""
    cards = json.dumps([card.model_dump() for card in contacts], sort_keys=True)
    return hashlib.sha256(cards.encode()).hexdigest()


def contacts_label(contacts: Sequence[Contact]) -> str:
    """Give what a person calls these cards by: how many, and the first characters of their digest."""
    return f"{counted(len(contacts), 'contact card')} ({contacts_digest(contacts)[:12]})"


async def _send_once(
    contacts: Sequence[Contact], to: Recipient, sender: Sender, key: str, ledger: Ledger | None
) -> Receipt:
    # The ledger's drivers are imported by who uses them.
    from ..sending.content import Message, reserving
    from ..sending.once import send_once

    dialect = sender.dialect()

    def build(to: Recipient, *, callback: str) -> Exchange[Receipt]:
        return dialect.send_contacts(contacts, to, callback=callback)

    return await send_once(
        key,
        Message(build, kind="contacts", reserve=reserving(dialect)),
        to,
        sender,
        digest=contacts_digest(contacts),
        label=contacts_label(contacts),
        ledger=ledger,
        task_run_id=str(task_run.id or ""),
    )


@task(
    name="send-contacts",
    task_run_name=send_run_name("contacts"),
    cache_policy=NO_CACHE,
    persist_result=False,
    retry_condition_fn=surely_not_sent,
)
def send_contacts(
    contacts: Sequence[Contact],
    to: Recipient | str,
    sender: Sender,
    *,
    reply_to: str = "",
    once: str = "",
    ledger: Ledger | None = None,
) -> Receipt:
    """Send contact cards to one recipient, in one message.

    Args:
        contacts: The cards, at least one.
        to: A phone number with `+` and country code, a chat id, or a `Recipient`.
        sender: The sending account's block.
        reply_to: Id of the message to quote.
        once: A key under which each recipient gets one message, whatever is retried, rerun or crashes: it is recorded in
            the ledger as a broadcast of that name. Empty sends at each call.
        ledger: Where `once` is recorded; None for the default ledger.

    Returns:
        The service's receipt. Accepted is not delivered.

    Raises:
        InputError: Before any request: a card, the recipient or a parameter isn't for this service.
        ProviderError: One of the four verdicts.
        NotSentError: No connection; safe to send again.
        OutcomeUnknownError: The answer was lost; the message may have been accepted.

    Example:
        ```python
        receipt = send_contacts([Contact(name="Ada Byron", phone="+442079460000")], "+16505550123", sender)
        ```
    """
    dialect, recipient = sender.dialect(), recipient_of(to, reply_to)
    _log_losses(dialect, contacts, recipient)
    time.sleep(pair_wait(dialect, recipient))  # beyond its pair limit the service refuses the message (131056)
    if once:
        from ..sending.once import wait_for

        return wait_for(_send_once(contacts, recipient, sender, once, ledger))
    with sender.get_client(connections=1) as client:
        return client.run(dialect.send_contacts(contacts, recipient))


@task(
    name="send-contacts",
    task_run_name=send_run_name("contacts"),
    cache_policy=NO_CACHE,
    persist_result=False,
    retry_condition_fn=surely_not_sent,
)
async def asend_contacts(
    contacts: Sequence[Contact],
    to: Recipient | str,
    sender: Sender,
    *,
    reply_to: str = "",
    once: str = "",
    ledger: Ledger | None = None,
) -> Receipt:
    """Send contact cards to one recipient, in one message; as `send_contacts`, without blocking the loop."""
    dialect, recipient = sender.dialect(), recipient_of(to, reply_to)
    _log_losses(dialect, contacts, recipient)
    await asyncio.sleep(pair_wait(dialect, recipient))  # as in `send_contacts`
    if once:
        return await _send_once(contacts, recipient, sender, once, ledger)
    async with sender.get_async_client(connections=1) as client:
        return await client.run(dialect.send_contacts(contacts, recipient))


def _log_losses(dialect: Dialect, contacts: Sequence[Contact], to: Recipient) -> None:
    for loss in dialect.contact_losses(contacts, quotes=bool(to.reply_to)):
        get_logger("prefect_whatsapp.contacts").warning("Left out: %s", loss)
