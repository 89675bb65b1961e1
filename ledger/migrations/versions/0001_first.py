"""The first tables.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make broadcasts, sends, removed lines, owners and media ids."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    moment = sa.DateTime(timezone=True)

    op.create_table(
        "whatsapp_broadcasts",
        sa.Column("number", number, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("content_label", sa.Text, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("planned_at", moment),
        sa.Column("removed", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "whatsapp_sends",
        sa.Column("id", number, primary_key=True),
        sa.Column("broadcast", number, sa.ForeignKey("whatsapp_broadcasts.number"), nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False, server_default=""),
        sa.Column("reply_to", sa.Text, nullable=False, server_default=""),
        sa.Column("state", sa.Text, nullable=False, server_default="queued"),
        sa.Column("owner", number),
        sa.Column("claim", sa.Text, nullable=False, server_default=""),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("message_id", sa.Text, nullable=False, server_default=""),
        sa.Column("status_text", sa.Text, nullable=False, server_default=""),
        sa.Column("error_code", sa.Text, nullable=False, server_default=""),
        sa.Column("error_text", sa.Text, nullable=False, server_default=""),
        sa.Column("error_kind", sa.Text, nullable=False, server_default=""),
        sa.Column("task_run_id", sa.Text, nullable=False, server_default=""),
        sa.Column("claimed_at", moment),
        sa.Column("settled_at", moment),
        sa.UniqueConstraint("broadcast", "recipient", name="whatsapp_sends_once"),
    )
    op.create_index("whatsapp_sends_by_state", "whatsapp_sends", ["broadcast", "state", "id"])
    op.create_index("whatsapp_sends_in_order", "whatsapp_sends", ["broadcast", "id"])
    held, taken = sa.text("owner IS NOT NULL"), sa.text("message_id <> ''")
    op.create_index(
        "whatsapp_sends_held", "whatsapp_sends", ["broadcast", "owner"], sqlite_where=held, postgresql_where=held
    )
    op.create_index(
        "whatsapp_sends_by_message", "whatsapp_sends", ["message_id"], sqlite_where=taken, postgresql_where=taken
    )
    op.create_table(
        "whatsapp_removed",
        sa.Column("broadcast", number, sa.ForeignKey("whatsapp_broadcasts.number"), primary_key=True),
        sa.Column("line", number, primary_key=True, autoincrement=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_table(
        "whatsapp_owners",
        sa.Column("id", number, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.Column("broadcast", number, sa.ForeignKey("whatsapp_broadcasts.number"), nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("flow_run_id", sa.Text, nullable=False, server_default=""),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("process", sa.Text, nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("rate", sa.Double, nullable=False),
        sa.Column("share", sa.Double, nullable=False, server_default="0"),
        sa.Column("joined_at", moment, nullable=False),
        sa.Column("left_at", moment),
        sa.Column("left_tick", sa.Double),
    )
    counts = sa.text("(left_at IS NULL OR share <> 0)")
    for column in ("sender", "broadcast"):
        op.create_index(
            f"whatsapp_owners_by_{column}", "whatsapp_owners", [column], sqlite_where=counts, postgresql_where=counts
        )
    op.create_table(
        "whatsapp_media",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("sender", sa.Text, primary_key=True),
        sa.Column("media_id", sa.Text, nullable=False),
        sa.Column("uploaded_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
    )
