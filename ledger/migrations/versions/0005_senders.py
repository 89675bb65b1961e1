"""The sender that a broadcast keeps to: two servers may have an account of the same name.

Revision ID: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; a broadcast of before takes the sender of the run that goes on with it."""
    op.add_column("whatsapp_broadcasts", sa.Column("sender", sa.Text, nullable=False, server_default=""))
