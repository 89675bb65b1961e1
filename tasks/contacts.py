"""Tasks for contact cards, sync and async."""

import asyncio
import time
from collections.abc import Sequence

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_logger

from ..blocks.sender import Sender
from ..models import Contact, Receipt, Recipient
from ..providers.dialect import Dialect
from ..sending.pair_pace import pair_wait
from .audio import recipient_of, send_run_name


@task(name="send-contacts", task_run_name=send_run_name("contacts"), cache_policy=NO_CACHE, persist_result=False)
def send_contacts(contacts: Sequence[Contact], to: Recipient | str, sender: Sender, *, reply_to: str = "") -> Receipt:
    """Send contact cards to one recipient, in one message.

    Args:
        contacts: The cards, at least one.
        to: A phone number with `+` and country code, a chat id, or a `Recipient`.
        sender: The sending account's block.
        reply_to: Id of the message to quote.

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
    with sender.get_client(connections=1) as client:
        return client.run(dialect.send_contacts(contacts, recipient))


@task(name="send-contacts", task_run_name=send_run_name("contacts"), cache_policy=NO_CACHE, persist_result=False)
async def asend_contacts(
    contacts: Sequence[Contact], to: Recipient | str, sender: Sender, *, reply_to: str = ""
) -> Receipt:
    """Send contact cards to one recipient, in one message; as `send_contacts`, without blocking the loop."""
    dialect, recipient = sender.dialect(), recipient_of(to, reply_to)
    _log_losses(dialect, contacts, recipient)
    await asyncio.sleep(pair_wait(dialect, recipient))  # as in `send_contacts`
    async with sender.get_async_client(connections=1) as client:
        return await client.run(dialect.send_contacts(contacts, recipient))


def _log_losses(dialect: Dialect, contacts: Sequence[Contact], to: Recipient) -> None:
    for loss in dialect.contact_losses(contacts, quotes=bool(to.reply_to)):
        get_logger("prefect_whatsapp.contacts").warning("Left out: %s", loss)
