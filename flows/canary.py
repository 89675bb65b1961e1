"""The canary: a few messages first, and the rest only where not too many of them failed."""

import datetime

import anyio
from prefect_whatsapp.flows.broadcast_run import BroadcastRun
from prefect_whatsapp.flows.dispatch import dispatch
from prefect_whatsapp.ledger import BroadcastRecord, LedgerStore
from prefect_whatsapp.ledger.canaries import CanaryTally
from prefect_whatsapp.ledger.history import Action
from prefect_whatsapp.models import StopReason
from prefect_whatsapp.models.masking import mask_numbers
from prefect_whatsapp.sending.stop import StopSignal

WAIT_SECONDS = 600.0
FAILED_AT_MOST = 0.1  # of the canary
_POLL_SECONDS = 2.0


async def send_canary(
    run: BroadcastRun, store: LedgerStore, record: BroadcastRecord, *, stop: StopSignal
) -> int | None:
    """Send the canary, if one is asked for, wait for its receipts and judge it.

    Judged are failures, never silence: after ten minutes without receipts the rest goes. Where the canary stands is kept
    in the ledger, so that a run that was killed goes on where it was.

    Args:
        run: The run.
        store: The ledger.
        record: The broadcast, planned and, where asked for, approved.
        stop: Set where the canary failed, or its sending stopped.

    Returns:
        How many sends this run has made; None where the rest may not go in this run.
    """
    if run.part_of:
        return 0  # the parent has seen to it
    if not run.settings.canary:
        if await store.lift_canary(record):
            run.log.warning("The canary of an earlier run is dropped, because canary is 0 now.")
        return 0
    if not await store.begin_canary(record, run.settings.canary):
        return 0
    sends = await dispatch(run, store, record, shards=None, stop=stop, max_messages=run.settings.max_messages)
    if stop.is_set():
        return None
    tally = await _wait(run, store, record)
    if tally is None or not tally.beyond:  # nothing is left that it could be a warning for
        await store.pass_canary(record)
        return sends
    if tally.queued:
        return None  # max_messages ended this run before the canary was out
    if too_many_failed(tally):
        sentence = _why(tally)
        stop.set(StopReason.CANARY, sentence)
        await store.note(Action.CANARY_FAILED, run.actor, record, mask_numbers(sentence))
        return None
    said = f"{tally.sent:,} sent, {tally.failed:,} failed, nothing known of {tally.silent:,}"
    run.log.info("The canary passed: %s. The rest is sent now.", said)
    await store.pass_canary(record)
    await store.note(Action.CANARY_PASSED, run.actor, record, said)
    return sends


def too_many_failed(tally: CanaryTally) -> bool:
    """Whether more than a tenth of what was sent failed."""
    return tally.failed > tally.sent * FAILED_AT_MOST


async def _wait(run: BroadcastRun, store: LedgerStore, record: BroadcastRecord) -> CanaryTally | None:
    """Wait until what came back of the canary is all in, for ten minutes after its last send at most."""
    told = False
    while True:
        await store.receipts.match_parked()
        tally = await store.canary(record)
        if tally is None or tally.queued or not tally.beyond or not tally.silent or tally.last_sent_at is None:
            return tally
        left = WAIT_SECONDS - (datetime.datetime.now(datetime.UTC) - tally.last_sent_at).total_seconds()
        if left <= 0:
            return tally
        if not told:
            told = True
            run.log.info(
                "Waiting for the receipts of the canary (%s sent), for ten minutes at most.", f"{tally.sent:,}"
            )
            if await store.receipts.received_for(run.dialect.sender) is None:
                run.log.warning("No receiver is running for this account: only failures at once can stop the canary.")
        await anyio.sleep(min(_POLL_SECONDS, left))


def _why(tally: CanaryTally) -> str:
    """Say why the rest isn't sent.

    Example:
        >>> _why(CanaryTally(0, 50, 9, 0, None, [("131026", "Message undeliverable.", 9)], True)).partition(", so")[0]
        '9 of the 50 canary messages failed (131026: Message undeliverable, 9 times)'
    """
    reasons = "; ".join(
        f"{': '.join(filter(None, (code, text.rstrip('.'))))}, {count} times" for code, text, count in tally.reasons[:3]
    )
    return (
        f"{tally.failed:,} of the {tally.sent:,} canary messages failed ({reasons}), so the rest was not sent. Run it again "
        "with retry_failed to send the failed ones again, or with canary=0 to send the rest without a canary"
    )
