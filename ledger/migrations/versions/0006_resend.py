"""The consent of one flow run to send what is unknown once more, kept beside each row.

Revision ID: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("whatsapp_sends", sa.Column("resend", sa.Text, nullable=False, server_default=""))
