"""The canary of a broadcast: rows that go before all others.

Revision ID: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "whatsapp_canaries",
        sa.Column(
            "broadcast", number, sa.ForeignKey("whatsapp_broadcasts.number"), primary_key=True, autoincrement=False
        ),
        sa.Column("first_row", sa.BigInteger, nullable=False),
        sa.Column("last_row", sa.BigInteger, nullable=False),
        sa.Column("begun_at", moment, nullable=False),
        sa.Column("passed_at", moment),
    )
