"""The size of an upload, by which a later plan warns that its note is too large for a play button.

Revision ID: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what was uploaded before has no size."""
    op.add_column("whatsapp_media", sa.Column("size", sa.BigInteger, nullable=False, server_default="0"))
