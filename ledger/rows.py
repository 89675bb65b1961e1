"""Reading rows and broadcasts out of their tables."""

from typing import Any

from ..models.states import SendState
from .records import BroadcastRecord, Row


def as_row(entry: Any, record: BroadcastRecord) -> Row:
    """Make a row of what `select(sends)` gave."""
    return Row(
        id=entry.id,
        broadcast_id=record.id,
        recipient=entry.recipient,
        name=entry.name,
        reply_to=entry.reply_to,
        state=SendState(entry.state),
        attempts=entry.attempts,
        message_id=entry.message_id,
        status_text=entry.status_text,
        error_code=entry.error_code,
        error_text=entry.error_text,
        error_kind=entry.error_kind,
        task_run_id=entry.task_run_id,
        provider=record.provider,
        account=record.account,
        claimed_at=entry.claimed_at,
        settled_at=entry.settled_at,
        resolved_by=entry.resolved_by,
        sent_at=entry.sent_at,
        failed_at=entry.failed_at,
        delivered_at=entry.delivered_at,
        read_at=entry.read_at,
        played_at=entry.played_at,
    )


def as_broadcast(entry: Any) -> BroadcastRecord:
    """Make a record of what `select(broadcasts)` gave."""
    return BroadcastRecord(
        id=entry.id,
        name=entry.name,
        kind=entry.kind,
        provider=entry.provider,
        account=entry.account,
        content=entry.content,
        content_label=entry.content_label,
        created_at=entry.created_at,
        planned_at=entry.planned_at,
        removed=entry.removed,
        scheduled_at=entry.scheduled_at,
        plan=entry.plan,
        sender=entry.sender,
        number=entry.number,
    )
