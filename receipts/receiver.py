"""A running receiver: takes verified webhooks into the ledger and keeps house there."""

import asyncio
import datetime
import logging
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect.events import emit_event

from ..blocks import Ledger
from ..ledger import LedgerStore
from ..ledger.matching import Recorded
from ..ledger.replies import Reply
from ..models.errors import LedgerError
from ..models.masking import mask_numbers
from ..models.updates import Inbound, Item
from ..providers.webhooks import WebhookDialect
from .bounded_log import BoundedLog
from .inbox import Inbox
from .words import Words

logger = logging.getLogger(__name__)

# A service posts again, so that it should hear soon that the ledger is away.
_PATIENCE_SECONDS = 5.0
_SWEEP_SECONDS = 2.0
_SWEEP_YOUNG = datetime.timedelta(minutes=3)  # longer than any answer is waited for
_SWEEP_ALL_SECONDS = 60.0
_BEAT_SECONDS = 30.0
_TIDY_SECONDS = 3_600.0
_SHOW_SECONDS = 10.0
# A ledger that was found to be away is not asked again for so long: who posts meanwhile hears it at once.
_AWAY_SECONDS = 1.0
_CHECK_SECONDS = 1.0

Moved = Callable[[LedgerStore, set[int]], Awaitable[None]]


class Receiver:
    """What stands behind the app of `create_app`.

    Args:
        accounts: Whose webhooks come, by path, such as `graph/weekly`.
        ledger: Where they go.
        words: What opts out and in.
        events: Whether replies become Prefect events.
        moved: Told at most every ten seconds which broadcasts' rows changed, by their numbers.
    """

    def __init__(
        self,
        accounts: Iterable[WebhookDialect],
        *,
        ledger: Ledger,
        words: Words | None = None,
        events: bool = True,
        moved: Moved | None = None,
    ) -> None:
        self._accounts = [f"{each.name}:{each.account}" for each in accounts]
        self._ledger, self._words, self._events, self._on_moved = ledger, words or Words(), events, moved
        self._stack: AsyncExitStack | None = None
        self._starting = asyncio.Lock()
        self._inbox: Inbox | None = None
        self._store: LedgerStore | None = None
        self._away: tuple[float, LedgerError] | None = None
        self._checked = -_CHECK_SECONDS
        self._moved: set[int] = set()
        self._shown = True
        self._emitting: set[asyncio.Task[None]] = set()
        self._log = BoundedLog(logger)

    async def start(self) -> Inbox:
        """Open the ledger, where it is not open yet.

        Raises:
            LedgerError: It can't be reached.
        """
        async with self._starting:
            if self._inbox is None:
                if self._away and time.monotonic() - self._away[0] < _AWAY_SECONDS:
                    raise self._away[1].with_traceback(None)
                stack = AsyncExitStack()
                try:
                    store = await stack.enter_async_context(_opened(self._ledger))
                    await store.receipts.receiving(self._accounts)
                    inbox = Inbox(store.receipts, self._told)
                    stack.push_async_callback(inbox.close)
                    await stack.enter_async_context(self._keeping_house(store))
                except BaseException as failure:
                    await stack.aclose()
                    if isinstance(failure, LedgerError):
                        self._away = time.monotonic(), failure
                    raise
                self._stack, self._store, self._inbox, self._away = stack, store, inbox, None
            return self._inbox

    async def check(self) -> None:
        """Find out whether a webhook could be made durable now, by writing that this receiver is alive.

        Raises:
            LedgerError: It could not.
        """
        await self.start()
        if self._store and time.monotonic() - self._checked >= _CHECK_SECONDS:
            await self._store.receipts.receiving(self._accounts)
            self._checked = time.monotonic()

    async def stop(self) -> None:
        """Finish what is under way and close the ledger."""
        stack, self._stack = self._stack, None
        if stack is not None:
            await stack.aclose()
        self._inbox = self._store = None
        await asyncio.gather(*self._emitting, return_exceptions=True)

    async def take(self, dialect: WebhookDialect, body: Any) -> int:
        """Read a verified webhook and return when it is durable.

        Args:
            dialect: Whose it is.
            body: Its parsed JSON.

        Returns:
            How many items it held.

        Raises:
            WebhookRefusedError: It is none of this service's; nothing is stored.
            LedgerError: It is not durable; the service is to post it again.
        """
        now = datetime.datetime.now(datetime.UTC)
        items = [self._with_word(item) for item in dialect.items(body, now)]
        if items:
            await (await self.start()).take(dialect.name, items)
        return len(items)

    def _with_word(self, item: Item) -> Item:
        """What a reply's text means; the text itself goes no further."""
        if not isinstance(item, Inbound):
            return item
        word, opted_out = self._words.meaning(item.text) if item.text else ("", None)
        return replace(item, text="", word=word, opted_out=opted_out)

    def _told(self, recorded: Recorded) -> None:
        self._moved |= recorded.moved
        if self._events and recorded.replies:
            # Outside the request: what it answered is durable, and an event is only a hint.
            task = asyncio.create_task(asyncio.to_thread(_tell_replies, recorded.replies))
            self._emitting.add(task)
            task.add_done_callback(self._emitting.discard)

    # House-keeping --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _keeping_house(self, store: LedgerStore) -> AsyncIterator[None]:
        task = asyncio.create_task(self._keep_house(store), name="webhook house-keeping")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._show(store)

    async def _keep_house(self, store: LedgerStore) -> None:
        due = dict.fromkeys(("sweep all", "beat", "tidy", "show"), time.monotonic())
        every = {"sweep all": _SWEEP_ALL_SECONDS, "beat": _BEAT_SECONDS, "tidy": _TIDY_SECONDS, "show": _SHOW_SECONDS}
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            ready = {name for name, when in due.items() if when <= time.monotonic()}
            due |= {name: time.monotonic() + every[name] for name in ready}
            try:
                young = None if "sweep all" in ready else datetime.datetime.now(datetime.UTC) - _SWEEP_YOUNG
                self._moved |= (await store.receipts.match_parked(newer_than=young)).moved
                if "beat" in ready:
                    await store.receipts.receiving(self._accounts)
                if "tidy" in ready:
                    await store.receipts.forget_old()
            except LedgerError as failure:
                self._log.warning(f"The receiver's cleanup waits for the ledger: {failure}")
            except Exception as failure:  # the next round may do better; without rounds nothing early is ever matched
                # Where, and not its words: a driver's may hold what is in a row.
                where = "".join(traceback.format_tb(failure.__traceback__))
                self._log.warning(f"The receiver's cleanup failed: {type(failure).__name__}\n{where}")
            if "show" in ready:
                began = time.monotonic()
                await self._show(store)
                # A report of 100,000 rows takes seconds: it must not keep the machine from what it tells of.
                due["show"] = time.monotonic() + max(_SHOW_SECONDS, 10 * (time.monotonic() - began))

    async def _show(self, store: LedgerStore) -> None:
        moved, self._moved = self._moved, set()
        if moved and self._on_moved:
            try:
                await self._on_moved(store, moved)
                self._shown = True
            except Exception as failure:  # what is shown is not what is kept
                self._moved |= moved
                if self._shown:
                    logger.warning("A report could not be updated, and is tried again: %s.", type(failure).__name__)
                self._shown = False


def _opened(ledger: Ledger) -> AbstractAsyncContextManager[LedgerStore]:
    return LedgerStore.open(
        ledger.url,
        patience_seconds=_PATIENCE_SECONDS,
        encryption_key=ledger.encryption_key,
    )


def reply_event_id(reply: Reply) -> UUID:
    """The id of a reply's event, the same whenever it is told: Prefect stores an id once.

    Example:
        >>> import datetime
        >>> reply = Reply("graph", "1", "wamid.1", "text", datetime.datetime.now(datetime.UTC))
        >>> reply_event_id(reply) == reply_event_id(reply)
        True
    """
    return uuid5(NAMESPACE_URL, f"prefect-whatsapp:{reply.provider}:{reply.account}:{reply.message_id}")


def _tell_replies(replies: list[Reply]) -> None:
    for reply in replies:
        event_id = reply_event_id(reply)
        emit_event(
            event="prefect-whatsapp.reply.received",
            occurred=reply.at,
            id=event_id,
            resource={
                "prefect.resource.id": f"prefect-whatsapp.reply.{event_id}",
                "prefect-whatsapp.provider": reply.provider,
                "prefect-whatsapp.kind": reply.kind,
                "prefect-whatsapp.broadcast": mask_numbers(reply.broadcast),
            },
            # No message id: a wamid holds the phone number.
            payload={
                "reply": str(event_id),
                "kind": reply.kind,
                "broadcast": mask_numbers(reply.broadcast),
                "row": reply.row,
                "opted_out": reply.opted_out,
                "opted_in": reply.opted_in,
            },
        )
