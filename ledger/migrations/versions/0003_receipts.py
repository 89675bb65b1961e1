"""Receipts, people, replies, and the columns of a send that they move.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_BATCH = 5_000


def upgrade() -> None:
    """Add the columns and tables, and give each message its bare id."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    moment = sa.DateTime(timezone=True)

    for column in ("bare_id", "alias", "resolved_by"):
        op.add_column("whatsapp_sends", sa.Column(column, sa.Text, nullable=False, server_default=""))
    for column in ("sent_at", "failed_at", "delivered_at", "read_at", "played_at"):
        op.add_column("whatsapp_sends", sa.Column(column, moment))
    _fill_bare_ids(op.get_bind())
    op.drop_index("whatsapp_sends_by_message", "whatsapp_sends")
    for column in ("bare_id", "alias"):
        told = sa.text(f"{column} <> ''")
        op.create_index(
            f"whatsapp_sends_by_{column}", "whatsapp_sends", [column], sqlite_where=told, postgresql_where=told
        )
    op.create_table(
        "whatsapp_receipts",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("bare_id", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, primary_key=True),
        sa.Column("send", number),
        sa.Column("at", moment, nullable=False),
        sa.Column("received_at", moment, nullable=False),
        sa.Column("code", sa.Text, nullable=False, server_default=""),
        sa.Column("text", sa.Text, nullable=False, server_default=""),
        sa.Column("alias", sa.Text, nullable=False, server_default=""),
    )
    parked = sa.text("send IS NULL")
    op.create_index(
        "whatsapp_receipts_parked", "whatsapp_receipts", ["received_at"], sqlite_where=parked, postgresql_where=parked
    )
    op.create_index("whatsapp_receipts_by_age", "whatsapp_receipts", ["received_at"])
    op.create_table(
        "whatsapp_people",
        sa.Column("id", number, primary_key=True),
        sa.Column("opted_out", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("source", sa.Text, nullable=False, server_default=""),
        *(sa.Column(f"{by}_{what}_at", moment) for by in ("said", "native") for what in ("stop", "start")),
    )
    op.create_table(
        "whatsapp_addresses",
        sa.Column("address", sa.Text, primary_key=True),
        sa.Column("person", number, sa.ForeignKey("whatsapp_people.id"), nullable=False),
    )
    op.create_index("whatsapp_addresses_by_person", "whatsapp_addresses", ["person"])
    op.create_table(
        "whatsapp_conversations",
        sa.Column("person", number, sa.ForeignKey("whatsapp_people.id"), primary_key=True),
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("last_inbound_at", moment, nullable=False),
    )
    op.create_table(
        "whatsapp_replies",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("bare_id", sa.Text, primary_key=True),
        sa.Column("person", number, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("word", sa.Text, nullable=False, server_default=""),
        sa.Column("send", number),
        sa.Column("at", moment, nullable=False),
        sa.Column("received_at", moment, nullable=False),
    )
    op.create_index("whatsapp_replies_by_age", "whatsapp_replies", ["received_at"])
    op.create_index("whatsapp_replies_by_person", "whatsapp_replies", ["person"])
    op.create_table(
        "whatsapp_unread_webhooks",
        sa.Column("id", number, primary_key=True),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("received_at", moment, nullable=False),
    )
    op.create_table(
        "whatsapp_receivers",
        sa.Column("account", sa.Text, primary_key=True),
        sa.Column("alive_since", moment, nullable=False),
        sa.Column("seen_at", moment, nullable=False),
    )


def _fill_bare_ids(connection: sa.Connection) -> None:
    """What `models.message_ids.bare_message_id` gives, as it was when this step was written."""
    sends = sa.table("whatsapp_sends", sa.column("id"), sa.column("message_id"), sa.column("bare_id"))
    page = sa.select(sends.c.id, sends.c.message_id).where(sends.c.message_id != "").order_by(sends.c.id).limit(_BATCH)
    last = 0
    while rows := connection.execute(page.where(sends.c.id > last)).all():
        values = []
        for row_id, message_id in rows:
            parts = message_id.split("_")
            serialized = len(parts) > 2 and parts[0] in ("true", "false")
            values.append({"row": row_id, "bare": (parts[2] if serialized else message_id)[:512]})
        change = sa.update(sends).where(sends.c.id == sa.bindparam("row")).values(bare_id=sa.bindparam("bare"))
        connection.execute(change, values)
        last = rows[-1][0]
