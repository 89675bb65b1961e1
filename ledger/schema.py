"""The ledger's tables, the same on SQLite and PostgreSQL.

Names begin with `whatsapp_`. A ledger has a database of its own: in one that holds another program's tables none are made.
A broadcast has a number for the tables and an opaque id for the world: 100,000 rows in four indexes are half as large so.
Columns of type `Sealed` are encrypted where the ledger has a key, and those of type `Hashed` keep no number in any.
"""

import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from .vault import vault_of

SCHEMA_VERSION = "0011"
VERSION_TABLE = "whatsapp_ledger_version"


class UtcDateTime(TypeDecorator[datetime.datetime]):
    """A moment in UTC; SQLite has no time zones, so it gets and gives the bare UTC time."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        """Give SQLite the bare UTC time."""
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(datetime.UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        """Say that what SQLite gave is UTC."""
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=datetime.UTC)


class Sealed(TypeDecorator[str]):
    """What tells who somebody is, or may hold a number: encrypted where the ledger has a key, as it is where not.

    Args:
        matched: Whether it is looked up by its value.
    """

    impl = sa.Text
    cache_ok = True

    def __init__(self, *, matched: bool = False) -> None:
        super().__init__()
        self.matched = matched

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Encrypt what goes in."""
        return vault_of(dialect).seal(value, matched=self.matched) if value else value

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """Decrypt what comes out."""
        return vault_of(dialect).open(value) if value else value


class Hashed(TypeDecorator[str]):
    """An address that is only ever compared: kept as the ledger's keyed hash of it."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Hash what goes in; what comes out is the hash."""
        return vault_of(dialect).hash(value) if value else value


metadata = sa.MetaData()

# SQLite makes only an INTEGER primary key the row's own number.
_Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

broadcasts = sa.Table(
    "whatsapp_broadcasts",
    metadata,
    sa.Column("number", _Number, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("content_label", sa.Text, nullable=False),
    # Digest of what the content was made of: one audio file is another content for each way in which it is sent.
    sa.Column("source", sa.Text, nullable=False, server_default=""),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("planned_at", UtcDateTime),
    sa.Column("removed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("scheduled_at", UtcDateTime),
    sa.Column("sender", sa.Text, nullable=False, server_default=""),  # `provider:account`, with its server's host
    # The digits of the number that was logged in when it began, where another may log in under the same account.
    sa.Column("phone", sa.Text, nullable=False, server_default=""),
    # How many times a list was begun. `planned_at` is that of the last one, and NULL until it was read to its end.
    sa.Column("plan", sa.Integer, nullable=False, server_default="0"),
    sa.Column("purged_at", UtcDateTime),  # since when only the counts of its rows are kept
)
# How many rows of a purged broadcast were in which state.
purged_counts = sa.Table(
    "whatsapp_purged_counts",
    metadata,
    sa.Column("broadcast", _Number, sa.ForeignKey("whatsapp_broadcasts.number"), primary_key=True),
    sa.Column("state", sa.Text, primary_key=True),
    sa.Column("rows", sa.Integer, nullable=False),
)

sends = sa.Table(
    "whatsapp_sends",
    metadata,
    sa.Column("id", _Number, primary_key=True),
    sa.Column("broadcast", _Number, sa.ForeignKey("whatsapp_broadcasts.number"), nullable=False),
    sa.Column("recipient", Sealed(matched=True), nullable=False),
    # What repeats are found by: the same for each spelling of one WhatsApp account (`models.recipient.account_key`).
    sa.Column("account_key", Hashed, nullable=False, server_default=""),
    sa.Column("name", Sealed(), nullable=False, server_default=""),
    sa.Column("reply_to", Sealed(), nullable=False, server_default=""),
    sa.Column("state", sa.Text, nullable=False, server_default="queued"),
    sa.Column("owner", _Number),  # the lease that reserved or is sending it; NULL where none does
    sa.Column("claim", sa.Text, nullable=False, server_default=""),  # token of the last claim, never cleared
    sa.Column("line", sa.BigInteger, nullable=False, server_default="0"),  # of the list, by which reports name a row
    # The flow run that may send an unknown row again, and has done so where ` sent` follows.
    sa.Column("resend", sa.Text, nullable=False, server_default=""),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("message_id", Sealed(), nullable=False, server_default=""),
    sa.Column("status_text", Sealed(), nullable=False, server_default=""),
    sa.Column("error_code", sa.Text, nullable=False, server_default=""),
    sa.Column("error_text", Sealed(), nullable=False, server_default=""),
    sa.Column("error_kind", sa.Text, nullable=False, server_default=""),
    sa.Column("task_run_id", sa.Text, nullable=False, server_default=""),
    sa.Column("claimed_at", UtcDateTime),
    sa.Column("settled_at", UtcDateTime),
    sa.Column(
        "bare_id", Sealed(matched=True), nullable=False, server_default=""
    ),  # the message id as every webhook tells it
    sa.Column(
        "alias", Sealed(matched=True), nullable=False, server_default=""
    ),  # another address of the recipient, from a webhook
    sa.Column("resolved_by", sa.Text, nullable=False, server_default=""),  # what ended `unknown`
    # When the service says that it was; a later one stands in for those that were left out.
    sa.Column("sent_at", UtcDateTime),
    sa.Column("failed_at", UtcDateTime),
    sa.Column("delivered_at", UtcDateTime),
    sa.Column("read_at", UtcDateTime),
    sa.Column("played_at", UtcDateTime),
    # Whoever it was is not named here any more, and their row is never sent.
    sa.Column("forgotten_at", UtcDateTime),
    sa.UniqueConstraint("broadcast", "recipient", name="whatsapp_sends_once"),
)
sa.Index("whatsapp_sends_one_account", sends.c.broadcast, sends.c.account_key, unique=True)
sa.Index("whatsapp_sends_by_state", sends.c.broadcast, sends.c.state, sends.c.id)
sa.Index("whatsapp_sends_in_order", sends.c.broadcast, sends.c.id)
sa.Index(
    "whatsapp_sends_held",
    sends.c.broadcast,
    sends.c.owner,
    sqlite_where=sends.c.owner.is_not(None),
    postgresql_where=sends.c.owner.is_not(None),
)
for _name in ("bare_id", "alias"):
    _told = sa.text(f"{_name} <> ''")
    sa.Index(f"whatsapp_sends_by_{_name}", sends.c[_name], sqlite_where=_told, postgresql_where=_told)

removed = sa.Table(
    "whatsapp_removed",
    metadata,
    sa.Column("broadcast", _Number, sa.ForeignKey("whatsapp_broadcasts.number"), primary_key=True),
    sa.Column("line", _Number, primary_key=True, autoincrement=False),
    sa.Column("value", Sealed(), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("plan", sa.Integer, nullable=False, server_default="0"),  # the list that it is a line of
)

leases = sa.Table(
    "whatsapp_owners",
    metadata,
    sa.Column("id", _Number, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("broadcast", _Number, sa.ForeignKey("whatsapp_broadcasts.number"), nullable=False),
    sa.Column("sender", sa.Text, nullable=False),
    sa.Column("flow_run_id", sa.Text, nullable=False, server_default=""),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("process", sa.Text, nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("rate", sa.Double, nullable=False),  # messages a second its sender may send; 0 is without limit
    sa.Column("share", sa.Double, nullable=False, server_default="0"),
    sa.Column("joined_at", UtcDateTime, nullable=False),
    sa.Column("left_at", UtcDateTime),
    sa.Column("left_tick", sa.Double),  # the same moment by the clock of its host that nobody can set
)
# Those that live, or left so lately that its share is not yet free: a few of all the runs that ever were. The literal must
# be the same in the query, or neither database sees that the index serves it.
lease_counts = sa.text("(left_at IS NULL OR share <> 0)")
for _name, _column in (("sender", leases.c.sender), ("broadcast", leases.c.broadcast)):
    sa.Index(f"whatsapp_owners_by_{_name}", _column, sqlite_where=lease_counts, postgresql_where=lease_counts)

# One row: the key of the ledger's hashes, encrypted where the ledger is.
keys = sa.Table(
    "whatsapp_keys",
    metadata,
    sa.Column("id", _Number, primary_key=True),
    sa.Column("hash_key", sa.Text, nullable=False),
)

media = sa.Table(
    "whatsapp_media",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("sender", sa.Text, primary_key=True),
    sa.Column("media_id", sa.Text, nullable=False),
    sa.Column("uploaded_at", UtcDateTime, nullable=False),
    sa.Column("expires_at", UtcDateTime, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False, server_default="0"),  # bytes; 0 where an older version uploaded it
)

approvals = sa.Table(
    "whatsapp_approvals",
    metadata,
    sa.Column("broadcast", _Number, sa.ForeignKey("whatsapp_broadcasts.number"), primary_key=True, autoincrement=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("last_row", sa.BigInteger, nullable=False),
    sa.Column("requested_at", UtcDateTime, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("approved_at", UtcDateTime),
    sa.Column("approved_by", sa.Text, nullable=False, server_default=""),
)

canaries = sa.Table(
    "whatsapp_canaries",
    metadata,
    sa.Column("broadcast", _Number, sa.ForeignKey("whatsapp_broadcasts.number"), primary_key=True, autoincrement=False),
    sa.Column("first_row", sa.BigInteger, nullable=False),
    sa.Column("last_row", sa.BigInteger, nullable=False),
    sa.Column("begun_at", UtcDateTime, nullable=False),
    sa.Column("passed_at", UtcDateTime),
)

history = sa.Table(  # triggers refuse every change but an insertion
    "whatsapp_history",
    metadata,
    sa.Column("id", _Number, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("broadcast", sa.Text, nullable=False, server_default=""),
    sa.Column("username", sa.Text, nullable=False, server_default=""),
    sa.Column("host", sa.Text, nullable=False, server_default=""),
    sa.Column("flow_run_id", sa.Text, nullable=False, server_default=""),
    sa.Column("detail", sa.Text, nullable=False, server_default=""),
)

# What webhooks told: so that none counts twice, and so that one that came before its send was settled is found then.
receipts = sa.Table(
    "whatsapp_receipts",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),  # `provider:account`, as in `leases.sender`
    sa.Column("bare_id", Sealed(matched=True), primary_key=True),
    sa.Column("state", sa.Text, primary_key=True),
    sa.Column("send", _Number),  # NULL while no row is known that it is about
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
    sa.Column("code", sa.Text, nullable=False, server_default=""),
    sa.Column("text", Sealed(), nullable=False, server_default=""),
    sa.Column("alias", Sealed(matched=True), nullable=False, server_default=""),
)
_parked = sa.text("send IS NULL")
sa.Index("whatsapp_receipts_parked", receipts.c.received_at, sqlite_where=_parked, postgresql_where=_parked)
sa.Index("whatsapp_receipts_by_age", receipts.c.received_at)

people = sa.Table(
    "whatsapp_people",
    metadata,
    sa.Column("id", _Number, primary_key=True),
    sa.Column("opted_out", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("source", sa.Text, nullable=False, server_default=""),  # of the last change: a word, `import`, …
    # By words, lists and commands, and in WhatsApp itself: each START takes back only a STOP of its own kind.
    sa.Column("said_stop_at", UtcDateTime),
    sa.Column("said_start_at", UtcDateTime),
    sa.Column("native_stop_at", UtcDateTime),
    sa.Column("native_start_at", UtcDateTime),
)
addresses = sa.Table(
    "whatsapp_addresses",
    metadata,
    sa.Column("address", Sealed(matched=True), primary_key=True),
    # What a row's recipient is found by; as with `sends.account_key`, and all that is left of who was forgotten.
    sa.Column("account_key", Hashed, nullable=False, server_default=""),
    sa.Column("person", _Number, sa.ForeignKey("whatsapp_people.id"), nullable=False),
)
sa.Index("whatsapp_addresses_by_account", addresses.c.account_key)
sa.Index("whatsapp_addresses_by_person", addresses.c.person)
conversations = sa.Table(
    "whatsapp_conversations",
    metadata,
    sa.Column("person", _Number, sa.ForeignKey("whatsapp_people.id"), primary_key=True),
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("last_inbound_at", UtcDateTime, nullable=False),
)
replies = sa.Table(
    "whatsapp_replies",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("bare_id", Sealed(matched=True), primary_key=True),
    sa.Column("person", _Number, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("word", sa.Text, nullable=False, server_default=""),  # what matched a word list; no other text is kept
    sa.Column("send", _Number),  # the row it answers
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
)
sa.Index("whatsapp_replies_by_age", replies.c.received_at)
sa.Index("whatsapp_replies_by_person", replies.c.person)

unread = sa.Table(
    "whatsapp_unread_webhooks",
    metadata,
    sa.Column("id", _Number, primary_key=True),
    sa.Column("account", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("content", Sealed(), nullable=False),
    sa.Column("received_at", UtcDateTime, nullable=False),
)
receivers = sa.Table(
    "whatsapp_receivers",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("alive_since", UtcDateTime, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
)

# The last departure of senders that wait for a second or more between two sends; the others' is over within the rate's
# own second.
departures = sa.Table(
    "whatsapp_departures",
    metadata,
    sa.Column("sender", sa.Text, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("tick", sa.Double, nullable=False),  # the same moment by that host's clock that nobody can set
)
