"""What the doctor looks at beyond Prefect: ledgers, the saved accounts and their webhooks, the receiver."""

import datetime
import email.utils
from collections.abc import AsyncIterator
from functools import partial
from typing import cast
from urllib.parse import urlsplit

import httpx
from prefect.blocks.core import Block
from prefect.client.orchestration import PrefectClient
from pydantic import SecretStr

from ..blocks import Ledger
from ..blocks.sender import Sender
from ..blocks.senders import sender_blocks
from ..ledger.address import Address, read_address
from ..ledger.file_systems import IN_MEMORY, file_system, in_container, is_forgotten, read_mounts
from ..models import mask_numbers
from ..models.errors import InputError, WhatsAppError
from ..models.plurals import counted
from ..providers.dialect import Subscription
from .findings import Finding, looked

# Graph refuses nothing for a clock, but S3 does beyond 15 minutes, and receipts are dated by the service.
CLOCK_SECONDS = 30.0
ASK_SECONDS = 15.0
# What the receiver reads, where a service says what it posts to an address.
EVENTS = {"waha": frozenset({"message", "message.any", "message.ack", "message.reaction"})}


async def look_at_ledger(name: str, url: str, key: SecretStr | str = "") -> list[Finding]:
    """Look whether a ledger can be reached, is durable and has the newest schema.

    Args:
        name: What it is called.
        url: Its address.
        key: Its encryption key, as `LedgerStore.open` takes it.
    """
    from ..ledger.look import look
    from ..ledger.schema import SCHEMA_VERSION

    what = f"ledger {name}"
    address = read_address(url)
    if forgotten := _forgotten(address):
        return [Finding(what, "problem", f"{address.shown} is {forgotten}", "put it on a disk or volume that lasts")]
    if address.path and not address.path.exists():
        return [Finding(what, "ok", f"{address.shown}: the first broadcast creates it")]
    seen = await look(url, patience_seconds=3.0, encryption_key=key)
    if not seen.version:
        return [Finding(what, "ok", f"{address.shown}: empty; the first broadcast creates its tables")]
    if not seen.is_current:
        found = f"{address.shown}: schema {seen.version}, and this version of prefect-whatsapp uses {SCHEMA_VERSION}"
        advice = (
            "back it up: the next command or broadcast that opens it migrates it, and older versions then refuse it"
        )
        return [Finding(what, "warning", found, advice)]
    return [
        Finding(what, "ok", f"{address.shown}: {counted(seen.broadcasts or 0, 'broadcast')}, schema {seen.version}")
    ]


def _forgotten(address: Address) -> str:
    """Why a ledger's file would not last; empty where it does, or where whoever named it in a container says so."""
    if address.path is None:
        return ""
    path, mounts = address.path.resolve(), read_mounts()
    if (kind := file_system(path, mounts)) in IN_MEMORY:
        return f"in memory ({kind}): a restart deletes the send history, and everyone gets the messages again"
    if address.embedded and in_container() and is_forgotten(path, mounts):
        return "deleted with this container, so broadcasts refuse it"
    return ""


# Blocks and services --------------------------------------------------------------------------------------------------


async def look_at_blocks(client: PrefectClient, *, receiver: str = "") -> list[Finding]:
    """Look at every saved account and ledger.

    Args:
        client: A client of the Prefect server.
        receiver: Address of the receiver; where one is named, accounts that post nothing to it are findings.
    """
    found = [finding async for finding in _senders(client, receiver)]
    if not found:
        found = [Finding("accounts", "warning", "no account is saved as a block", "save one in the UI, under Blocks")]
    for name, block in await _saved(client, Ledger):
        if isinstance(block, Finding):
            found.append(block)
        else:
            saved = cast("Ledger", block)
            look = partial(look_at_ledger, name, saved.url.get_secret_value(), saved.encryption_key)
            found += await looked(f"ledger {name}", look)
    return found


async def _senders(client: PrefectClient, receiver: str) -> AsyncIterator[Finding]:
    for kind in sender_blocks().values():
        for name, block in await _saved(client, kind):
            if isinstance(block, Finding):
                yield block
                continue
            sender, what = cast("Sender", block), f"{kind.get_block_type_slug()}/{name}"
            for finding in await looked(what, partial(_account, what, sender)):
                yield finding
            webhooks = f"webhooks of {what}"
            for finding in await looked(webhooks, partial(look_at_webhooks, webhooks, name, sender, receiver=receiver)):
                yield finding


async def _saved(client: PrefectClient, kind: type[Block]) -> list[tuple[str, Block | Finding]]:
    """The saved blocks of a type, loaded; one that can't be is a finding."""
    slug = kind.get_block_type_slug()
    if all(each.slug != slug for each in await client.read_block_types()):
        return []
    blocks: list[tuple[str, Block | Finding]] = []
    for document in await client.read_block_documents_by_type(slug):
        name = str(document.name)
        try:
            blocks.append((name, cast("Block", await kind.aload(name))))
        except Exception as failure:  # a block of any make or age: the others are looked at all the same
            advice = "open it in the UI and save it again"
            what = f"{slug}/{name}"
            blocks.append((name, Finding(what, "problem", f"it can't be loaded: {type(failure).__name__}", advice)))
    return blocks


async def _account(what: str, sender: Sender) -> list[Finding]:
    try:
        status = await sender.acheck()
    except WhatsAppError as failure:
        return [
            Finding(
                what,
                "problem",
                mask_numbers(failure.message),
                "correct the block, or resolve the problem with the account",
            )
        ]
    found = mask_numbers(f"{status.state} {status.detail}".strip())
    if not status.ready:
        return [
            Finding(what, "problem", f"can't send now: {found}", "resolve the problem with the account at the service")
        ]
    return [Finding(what, "ok", found), *await look_at_clock(what, sender)]


async def look_at_webhooks(what: str, name: str, sender: Sender, *, receiver: str = "") -> list[Finding]:
    """Ask the service where it posts the account's webhooks, where receipts are set up, or a receiver is named.

    Args:
        what: What the finding is about.
        name: The block's name, the last part of the webhook's path.
        sender: The account.
        receiver: Address of the receiver; empty where there is none.
    """
    try:
        service = sender.webhooks().name
    except InputError as missing:  # nobody asked for receipts
        return [Finding(what, "warning", missing.message, "fill it in to get receipts")] if receiver else []
    path = f"/{service}/{name}"
    try:
        async with sender.get_async_client(connections=1) as client:
            subscriptions = await client.run(client.dialect.subscriptions())
    except WhatsAppError as failure:
        advice = "give the token the permission whatsapp_business_management" if service == "graph" else ""
        return [Finding(what, "warning", f"the service did not say: {mask_numbers(failure.message)}", advice)]
    if subscriptions is None:
        return [Finding(what, "ok", f"{service} can't be asked; the path is {path}")]
    ours = [each for each in subscriptions if urlsplit(each.address).path.endswith(path)]
    if not ours:
        elsewhere = ", ".join(sorted({_host(each) for each in subscriptions}))
        found = f"it posts to {elsewhere}, at another path" if elsewhere else "it posts nowhere: no receipts will come"
        return [Finding(what, "warning", found, f"enter the receiver's address at the service; its path is {path}")]
    said = frozenset().union(*(each.events for each in ours))
    missing_events = sorted(EVENTS.get(service, frozenset()) - said) if "*" not in said else []
    found = ", ".join(sorted({_host(each) for each in ours}))
    if missing_events:
        found = f"{found} is not told of {', '.join(missing_events)}"
        return [Finding(what, "warning", found, "add these events to the session's webhook")]
    return [Finding(what, "ok", f"posted to {found}")]


def _host(subscription: Subscription) -> str:
    """Where an address is, without what may be secret in it."""
    address = urlsplit(subscription.address)
    return f"{address.scheme}://{address.hostname or ''}"


async def look_at_clock(what: str, sender: Sender) -> list[Finding]:
    """Compare this machine's clock with the `Date` of the service's answer, whatever the answer is."""
    address = urlsplit(sender.base_url)
    async with httpx.AsyncClient(timeout=ASK_SECONDS) as plain:
        began = datetime.datetime.now(datetime.UTC)
        answer = await plain.get(f"{address.scheme}://{address.netloc}/")
    told = answer.headers.get("date")
    if not told:
        return []
    behind = (email.utils.parsedate_to_datetime(told) - began).total_seconds()
    if abs(behind) > CLOCK_SECONDS:
        way = "behind" if behind > 0 else "ahead of"
        advice = "turn on time synchronisation: schedules, link lifetimes and receipts depend on the clock"
        return [Finding(f"clock, by {what}", "problem", f"{abs(behind):.0f} s {way} the service's", advice)]
    return [Finding(f"clock, by {what}", "ok", f"within {CLOCK_SECONDS:.0f} s of the service's")]


async def look_at_receiver(address: str) -> list[Finding]:
    """Look whether the receiver would take webhooks now; an empty address is none."""
    if not address:
        return [Finding("receiver", "ok", "not checked: no receiver was named (--receiver)")]
    async with httpx.AsyncClient(timeout=ASK_SECONDS) as plain:
        try:
            answer = await plain.get(f"{address.rstrip('/')}/health")
        except httpx.HTTPError as failure:
            found = f"{address} does not answer: {type(failure).__name__}"
            return [Finding("receiver", "problem", found, "start it: prefect-whatsapp receive graph/NAME")]
    if answer.status_code != 200:
        return [Finding("receiver", "problem", f"{address}/health answers HTTP {answer.status_code}", "check its log")]
    return [Finding("receiver", "ok", f"{address} responds")]
