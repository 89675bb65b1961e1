"""What a group commit writes: claims and settlements, in SQL that each engine fills in."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...models.message_ids import bare_message_id
from ..records import Outcome
from ..vault import Vault


@dataclass(frozen=True, slots=True)
class Claim:
    """Row `row_id`, reserved by `lease_id`, becomes `sending` under `token`; one that is unknown only by the consent `resend`."""

    row_id: int
    lease_id: int
    token: str
    task_run_id: str
    at: datetime.datetime
    resend: str = ""
    message_id: str = ""  # that the message will have, where the service lets us choose it


@dataclass(frozen=True, slots=True)
class Settlement:
    """Row `row_id` gets its outcome, where `token` is still the token of its last claim."""

    row_id: int
    token: str
    outcome: Outcome
    at: datetime.datetime


# A claim that is repeated finds its own token. A state that came by a delivery status is never taken back, and a
# row that was held as unknown, or queued again, is corrected while nobody else has claimed it. The coalesce keeps
# PostgreSQL from going by the index of `owner`, where all rows in hand are. A row that is unknown is claimed by the run that
# was told to send it again, which is then written beside it as done; where nothing left, it is unknown again, and not
# queued: what a run without that consent would send.
CLAIM = """UPDATE whatsapp_sends AS s SET state = 'sending', owner = {owner}, claim = {token},
    attempts = s.attempts + CASE WHEN s.claim = {token} THEN 0 ELSE 1 END,
    task_run_id = {task_run_id}, claimed_at = {at}, settled_at = NULL,
    message_id = CASE WHEN {message_id} <> '' THEN {message_id} ELSE s.message_id END,
    bare_id = CASE WHEN {bare_id} <> '' THEN {bare_id} ELSE s.bare_id END,
    resend = CASE s.state WHEN 'unknown' THEN s.resend || ' sent' WHEN 'queued' THEN '' ELSE s.resend END
{source} WHERE s.id = {id} AND coalesce(s.owner, 0) = {owner} AND s.forgotten_at IS NULL
    AND ((s.state = 'sending' AND s.claim = {token}) OR (
        (s.state = 'queued' OR (s.state = 'unknown' AND s.resend = {resend} AND {resend} <> '')) AND NOT EXISTS (
        SELECT 1 FROM whatsapp_addresses AS a JOIN whatsapp_people AS p ON p.id = a.person
        WHERE a.account_key = s.account_key AND p.opted_out)))"""
# A failure that a webhook told of an earlier message of this row says nothing of the one that was accepted now.
_OPEN = """(s.state IN ('sending', 'unknown', 'queued')
        OR (s.state = 'failed' AND s.bare_id <> '' AND {bare_id} <> '' AND s.bare_id <> {bare_id}))"""
SETTLE = f"""UPDATE whatsapp_sends AS s SET state = CASE WHEN {_OPEN} THEN
        CASE WHEN {{state}} = 'queued' AND s.resend LIKE '% sent' THEN 'unknown' ELSE {{state}} END ELSE s.state END,
    resend = CASE WHEN {{state}} = 'queued' THEN replace(s.resend, ' sent', '') ELSE s.resend END,
    owner = CASE WHEN {{state}} = 'queued' THEN s.owner END,
    message_id = CASE WHEN {{message_id}} <> '' THEN {{message_id}} ELSE s.message_id END,
    bare_id = CASE WHEN {{bare_id}} <> '' THEN {{bare_id}} ELSE s.bare_id END,
    status_text = CASE WHEN {_OPEN} THEN {{status_text}} ELSE s.status_text END,
    error_code = CASE WHEN {_OPEN} THEN {{error_code}} ELSE s.error_code END,
    error_text = CASE WHEN {_OPEN} THEN {{error_text}} ELSE s.error_text END,
    error_kind = CASE WHEN {_OPEN} THEN {{error_kind}} ELSE s.error_kind END,
    settled_at = CASE WHEN {_OPEN} THEN {{at}} ELSE s.settled_at END
{{source}} WHERE s.id = {{id}} AND s.claim = {{token}}"""  # noqa: S608 (only our own constants)
CLAIM_FIELDS = ("id", "owner", "token", "task_run_id", "resend", "message_id", "bare_id")
SETTLE_FIELDS = (
    "id",
    "token",
    "state",
    "message_id",
    "bare_id",
    "status_text",
    "error_code",
    "error_text",
    "error_kind",
)


class Commits(Protocol):
    """How a group is committed on one kind of database."""

    async def commit(self, group: Sequence[Claim | Settlement]) -> set[str]:
        """Make a group durable; the tokens of those that matched their row."""
        ...

    async def close(self) -> None:
        """Give the connection back."""
        ...


def claim_values(claim: Claim, vault: Vault) -> dict[str, Any]:
    """Give what fills in `CLAIM`, by `CLAIM_FIELDS`, as the columns keep it."""
    return {
        "id": claim.row_id,
        "owner": claim.lease_id,
        "token": claim.token,
        "task_run_id": claim.task_run_id,
        "resend": claim.resend,
        "message_id": vault.seal(claim.message_id, matched=False),
        "bare_id": vault.seal(bare_message_id(claim.message_id), matched=True),
    }


def settle_values(settlement: Settlement, vault: Vault) -> dict[str, Any]:
    """Give what fills in `SETTLE`, by `SETTLE_FIELDS`, as the columns keep it."""
    outcome = settlement.outcome
    return {
        "id": settlement.row_id,
        "token": settlement.token,
        "state": outcome.state.value,
        "message_id": vault.seal(outcome.message_id, matched=False),
        "bare_id": vault.seal(bare_message_id(outcome.message_id), matched=True),
        "status_text": vault.seal(outcome.status_text, matched=False),
        "error_code": outcome.error_code,
        "error_text": vault.seal(outcome.error_text, matched=False),
        "error_kind": outcome.error_kind,
    }
