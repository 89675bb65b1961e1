"""The approval of a plan, and the history that is only ever added to.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_REFUSAL = "the history of a ledger is only ever added to"


def upgrade() -> None:
    """Make approvals and history."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    moment = sa.DateTime(timezone=True)

    op.create_table(
        "whatsapp_approvals",
        sa.Column(
            "broadcast", number, sa.ForeignKey("whatsapp_broadcasts.number"), primary_key=True, autoincrement=False
        ),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("last_row", sa.BigInteger, nullable=False),
        sa.Column("requested_at", moment, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("approved_at", moment),
        sa.Column("approved_by", sa.Text, nullable=False, server_default=""),
    )
    op.create_table(
        "whatsapp_history",
        sa.Column("id", number, primary_key=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False, server_default="")
            for name in ("broadcast", "username", "host", "flow_run_id", "detail")
        ),
    )
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER whatsapp_history_no_{change.lower()} BEFORE {change} ON whatsapp_history "
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION whatsapp_history_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    op.execute(
        "CREATE TRIGGER whatsapp_history_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON whatsapp_history "
        "FOR EACH STATEMENT EXECUTE FUNCTION whatsapp_history_refuse()"
    )
