"""The number that a broadcast keeps to: a session may be logged out, and another phone be logged in.

Revision ID: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; a broadcast of before takes the number of the run that goes on with it."""
    op.add_column("whatsapp_broadcasts", sa.Column("phone", sa.Text, nullable=False, server_default=""))
