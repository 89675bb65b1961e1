"""The dispatch: all that one run's sending needs is opened, the dispatcher runs, and all of it is closed again."""

from contextlib import AsyncExitStack
from uuid import UUID

import httpx
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect_whatsapp.blocks.sender import Sender
from prefect_whatsapp.flows.broadcast_run import BroadcastRun
from prefect_whatsapp.flows.receipts import resolve_unknown_sends
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore
from prefect_whatsapp.models import SendState
from prefect_whatsapp.models.errors import InputError
from prefect_whatsapp.models.plurals import counted
from prefect_whatsapp.sending.backpressure import Backpressure
from prefect_whatsapp.sending.content import Message, check_build
from prefect_whatsapp.sending.dispatcher import Dispatcher
from prefect_whatsapp.sending.event_runs import ended_run_of, events_of_this_flow_run
from prefect_whatsapp.sending.pace import Pace
from prefect_whatsapp.sending.shards import Shards
from prefect_whatsapp.sending.stop import StopSignal
from prefect_whatsapp.sending.task_run_events import TaskRunEvents


async def dispatch(
    run: BroadcastRun,
    store: LedgerStore,
    record: BroadcastRecord,
    *,
    shards: Shards | None,
    stop: StopSignal,
    max_messages: int,
) -> int:
    """Send what is queued, if anything is.

    Args:
        run: The run.
        store: The ledger.
        record: The broadcast, planned and, where asked for, approved.
        shards: Child runs that help; None for none.
        stop: Says afterwards why it ended early, if it did.
        max_messages: Sends at most; 0 for no limit.

    Returns:
        How many sends this process made.

    Raises:
        InputError: A link to the audio would expire before the end.
    """
    settings = run.settings
    counts = await store.counts(record)
    resend = settings.on_unknown == "resend"
    if not (counts[SendState.QUEUED] or counts[SendState.SENDING] or (resend and counts[SendState.UNKNOWN])):
        return 0
    run.message.takes = _seconds_to_send(run, counts, resend=resend)
    _check_link_life(run, run.message.takes)
    message = await Message.bring(run.message, store, run.dialect)
    check_build(message.build)
    async with AsyncExitStack() as stack:
        max_messages = await _start_shards(run, shards, stack, store, record, stop, max_messages)
        client = await stack.enter_async_context(settings.sender.get_async_client(connections=64))
        lease = await stack.enter_async_context(
            store.join(
                record,
                flow_run_id=str(flow_run.id or ""),
                sender=run.dialect.sender,
                messages_per_second=_rate(settings.sender),
                remembers_departures=_is_slow(settings.sender),
                resend=resend,
            )
        )
        if (await store.counts(record))[SendState.UNKNOWN] > counts[SendState.UNKNOWN]:
            await resolve_unknown_sends(run, store, record)  # what a run that is gone was sending when it was killed
        run_id = _flow_run_id()
        events = await _task_run_events(run, stack) if run_id else None
        backpressure = (
            await stack.enter_async_context(Backpressure(run_id, stop=stop, lease=lease, events=events))
            if run_id
            else None
        )
        if events and backpressure:
            backpressure.started += await _tell_of_killed(run, events, store, record)
        dispatcher = Dispatcher(
            lease,
            client,
            message=message,
            pace=Pace(
                lambda: lease.share,
                spacing=settings.sender.random_spacing,
                idle=lambda: lease.seconds_since_departure,
            ),
            stop=stop,
            backpressure=backpressure,
            in_flight=run.scale.in_flight,
            runs=run.scale.runs,
            events=events,
            batch_size=run.scale.batch_size,
            max_messages=max_messages,
            on_batch=run.artifacts.batch,
        )
        if not run.part_of:
            shared = shards is not None
            await stack.enter_async_context(run.artifacts.progress(store, record, dispatcher, shared=shared))
        await dispatcher.run()
        if backpressure and not await backpressure.caught_up():
            run.log.warning("The Prefect server did not record %d task runs.", backpressure.lost)
    return dispatcher.tally.settled


async def _task_run_events(run: BroadcastRun, stack: AsyncExitStack) -> TaskRunEvents | None:
    if run.scale.runs != "send":
        return None
    events = await events_of_this_flow_run(run.message.kind)
    return await stack.enter_async_context(events) if events else None


async def _tell_of_killed(run: BroadcastRun, events: TaskRunEvents, store: LedgerStore, record: BroadcastRecord) -> int:
    """Tell of the sends that a killed process could not tell of any more; how many they were."""
    rows = await store.rows_of_ended_runs(record)
    if not rows:
        return 0
    try:
        told = await events.tell_those_missing([ended_run_of(run.message.kind, row) for row in rows])
    except httpx.HTTPError as failure:  # the server is away: the ledger has them all the same
        run.log.debug("The Prefect server was not asked about earlier sends: %s", type(failure).__name__)
        return 0
    if told:
        run.log.info("%s of a run that was killed: shown in Prefect now.", counted(told, "send"))
    return told


async def _start_shards(
    run: BroadcastRun,
    shards: Shards | None,
    stack: AsyncExitStack,
    store: LedgerStore,
    record: BroadcastRecord,
    stop: StopSignal,
    max_messages: int,
) -> int:
    """Start the child runs, if any are asked for; what this run itself may send at most."""
    if shards is None:
        return max_messages
    if store.on_one_machine:
        run.log.warning(
            "The ledger %s is a file: only workers on this machine that see this very file can help. For others, "
            "give the broadcast a saved Ledger block with a PostgreSQL URL.",
            store.address,
        )
    await stack.enter_async_context(shards)
    return await shards.start(record, stop, max_messages=max_messages, moving=lambda: store.counts(record))


def _seconds_to_send(run: BroadcastRun, counts: dict[SendState, int], *, resend: bool) -> float:
    """How long this run may send at its pace, with what dead runs held and, where asked for, what is unknown."""
    sends = counts[SendState.QUEUED] + counts[SendState.SENDING] + resend * counts[SendState.UNKNOWN]
    return run.pace_seconds({SendState.QUEUED: sends})


def _check_link_life(run: BroadcastRun, takes: float) -> None:
    """A link must outlive the broadcast, and the service's own queue after it."""
    life = run.settings.sender.link_life(takes)
    if run.message.kind == "audio" and run.dialect.carries_audio == "link" and takes > life:
        raise InputError(
            f"the link to the audio would expire after {life:,} s, but the broadcast takes about {takes:,.0f} s at this "
            "pace: raise link_seconds on the block, or send part of the list at a time with max_messages"
        )


def _flow_run_id() -> UUID | None:
    context = FlowRunContext.get()
    return context.flow_run.id if context and context.flow_run else None


def _rate(sender: Sender) -> float:
    """Messages a second that the runs of an account share; with random spacing the fastest that it may come to."""
    if not (spacing := sender.random_spacing):
        return sender.messages_per_second
    fastest = 1 / max(spacing[0], spacing[1] / 10)
    return min(fastest, sender.messages_per_second or fastest)


def _is_slow(sender: Sender) -> bool:
    """Whether it waits for so long between two sends that the next run must know of the last one."""
    return sender.random_spacing is not None or 0 < sender.messages_per_second < 1
