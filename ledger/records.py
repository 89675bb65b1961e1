"""What the ledger takes and gives: a broadcast, a row, an outcome."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..models.errors import NO_MORE_MESSAGES, ErrorKind
from ..models.masking import FORGOTTEN, mask
from ..models.states import ATTENTION_STATES, SendState

NAME_CHARACTERS = 500  # that are kept of a name, a label or a sentence


@dataclass(frozen=True, slots=True)
class BroadcastRecord:
    """A promise by its name: one content, from one account, to a list.

    Attributes:
        id: Opaque, for the world.
        name: What its people call it; unique in the ledger.
        kind: `audio` or `contacts`.
        provider: The service's name, such as `graph`.
        account: The sending account's public id.
        content: Digest of what is sent.
        content_label: The same in words for a person, such as `s3://bucket/weekly.mp3`.
        created_at: When the name was first used.
        planned_at: When its last list was read to the end; None where that was begun and not finished.
        removed: Rows of that list that were not planned.
        scheduled_at: Scheduled start of the schedule's run that it is; None where no schedule started it.
        sender: The account with its server's host, where each server has accounts of its own; empty where not known.
        plan: How many times a list was begun.
        phone: The digits of the number that was logged in when it began; empty where that isn't known.
        purged_at: Since when only the counts of its rows are kept; None where the rows are there.
        source: Digest of what the content was made of, such as the audio file; empty where that isn't known.
        number: Its number within the ledger's tables.
    """

    id: str
    name: str
    kind: str
    provider: str
    account: str
    content: str
    content_label: str
    created_at: datetime.datetime
    planned_at: datetime.datetime | None = None
    removed: int = 0
    scheduled_at: datetime.datetime | None = None
    plan: int = 0
    sender: str = ""
    phone: str = field(default="", repr=False)
    purged_at: datetime.datetime | None = None
    source: str = ""
    number: int = field(default=0, repr=False)


@dataclass(frozen=True, slots=True)
class RemovedRow:
    """A row that gets no message.

    Attributes:
        line: Its line in a text file, its row in Parquet, its place in a JSON array or a list in memory; from 1.
        value: What stood where the address should be, at most 200 characters, control characters replaced.
        reason: Why it can't be used; holds no whole phone number.
    """

    line: int
    value: str = field(repr=False)
    reason: str


@dataclass(frozen=True, slots=True)
class BroadcastSummary:
    """A broadcast with how many of its rows are in each state; a state without rows is absent."""

    record: BroadcastRecord
    counts: Mapping[SendState, int]

    @property
    def planned(self) -> int:
        """Recipients that it is to reach."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Row:
    """One recipient of one broadcast, as it was when it was read.

    Attributes:
        id: The row's number.
        broadcast_id: Id of its broadcast.
        broadcast: Name of its broadcast.
        recipient: Canonical address; `forgotten` of who was forgotten.
        name: How the list calls them.
        reply_to: Id of the message to quote.
        state: Where its message stands.
        attempts: Claims so far.
        message_id: The service's id of the message.
        status_text: The service's own text.
        error_code: The service's code of its refusal.
        error_text: Why it failed, was skipped or is unknown, in a sentence.
        error_kind: The refusal's kind, such as `throttle`, `window` or `media`.
        task_run_id: Prefect's task run that sent it last.
        provider: The service.
        account: The sending account.
        claimed_at: When it was last claimed.
        settled_at: When its outcome was recorded.
        resolved_by: What ended `unknown`: `callback`, `message id`, or the name of a look-up; empty where nothing had to.
        line: The line of the list that it was planned from; 0 where that is not known.
        sent_at: When the message left the service, as the service says; likewise `failed_at`, `delivered_at`, `read_at`
            and `played_at`.
    """

    id: int
    broadcast_id: str
    recipient: str
    name: str
    reply_to: str
    state: SendState
    attempts: int
    message_id: str
    status_text: str
    error_code: str
    error_text: str
    error_kind: str
    task_run_id: str
    provider: str
    account: str
    claimed_at: datetime.datetime | None = None
    settled_at: datetime.datetime | None = None
    resolved_by: str = ""
    sent_at: datetime.datetime | None = None
    failed_at: datetime.datetime | None = None
    delivered_at: datetime.datetime | None = None
    read_at: datetime.datetime | None = None
    played_at: datetime.datetime | None = None
    line: int = 0
    broadcast: str = ""

    @property
    def forgotten(self) -> bool:
        """Whether `forget` took away who it was."""
        return self.recipient == FORGOTTEN

    @property
    def failed_late(self) -> bool:
        """Whether the service took the message first and told of its failure later."""
        return self.state is SendState.FAILED and self.error_kind == ErrorKind.FAILED_LATER

    @property
    def needs_attention(self) -> bool:
        """Whether a person has to see to it: not to somebody who asked for no more messages."""
        return self.state in ATTENTION_STATES and not (
            self.state is SendState.SKIPPED and self.error_kind in NO_MORE_MESSAGES
        )

    @property
    def callback(self) -> str:
        """The opaque id that travels with a message (`biz_opaque_callback_data`) and comes back with its statuses.

        It holds the number of the attempt: services repeat webhooks, and one of an earlier message of the same row must
        not be taken for one of a later message whose answer was lost.
        """
        return f"{self.broadcast_id}:{self.id}:{self.attempts}"

    def __repr__(self) -> str:
        return f"Row({self.id}, {mask(self.recipient)!r}, {self.state})"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one claimed row.

    Attributes:
        state: `accepted`, `failed`, `skipped`, `unknown`, or `queued`: surely not accepted, to be tried again.
        message_id: The service's id of the message.
        status_text: The service's own text.
        error_code: Its code, where it refused.
        error_text: Why, in a sentence.
        error_kind: The refusal's kind.
    """

    state: SendState
    message_id: str = ""
    status_text: str = ""
    error_code: str = ""
    error_text: str = ""
    error_kind: str = ""


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What a broadcast still has to do.

    Attributes:
        queued: Rows that anyone may take.
        held_by_others: Rows that another run reserved or is sending.
    """

    queued: int
    held_by_others: int


def storable(text: str, limit: int = 2000) -> str:
    """Cut a text of unknown origin, and take out what PostgreSQL can't hold: NULs and half surrogates."""
    return text[:limit].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
