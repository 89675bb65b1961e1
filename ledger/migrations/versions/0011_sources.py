"""What a broadcast's content was made of, by which a later plan warns of the same audio in another form.

Revision ID: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; a broadcast that began before learns it from its next run."""
    op.add_column("whatsapp_broadcasts", sa.Column("source", sa.Text, nullable=False, server_default=""))
