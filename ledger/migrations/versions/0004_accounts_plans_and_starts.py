"""One row an account of WhatsApp, plans by number, scheduled starts, and when a sender last sent.

Revision ID: 0004
"""

import re

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_PAGE = 1_000
# `models.recipient.account_key` as it was then: what is left out of the longer form of a number.
_SHORTER = (
    (re.compile(r"\+55([1-9]\d)9([6-9]\d{7})"), r"+55\1\2"),
    (re.compile(r"\+549(\d{10})"), r"+54\1"),
    (re.compile(r"\+521(\d{10})"), r"+52\1"),
)


def upgrade() -> None:
    """Add the columns, fill them in for the rows that are there, and make the table of departures."""
    moment = sa.DateTime(timezone=True)
    op.add_column("whatsapp_broadcasts", sa.Column("scheduled_at", moment))
    op.add_column("whatsapp_broadcasts", sa.Column("plan", sa.Integer, nullable=False, server_default="0"))
    op.add_column("whatsapp_removed", sa.Column("plan", sa.Integer, nullable=False, server_default="0"))
    op.add_column("whatsapp_sends", sa.Column("account_key", sa.Text, nullable=False, server_default=""))
    _fill_in_accounts(op.get_bind())
    op.create_index("whatsapp_sends_one_account", "whatsapp_sends", ["broadcast", "account_key"], unique=True)
    op.create_table(
        "whatsapp_departures",
        sa.Column("sender", sa.Text, primary_key=True),
        sa.Column("at", moment, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("tick", sa.Double, nullable=False),
    )


def _fill_in_accounts(connection: sa.Connection) -> None:
    """Write each row's account; where an older ledger has one person twice, the later row keeps a key of its own."""
    names = ("id", "broadcast", "recipient", "account_key")
    sends = sa.table("whatsapp_sends", *(sa.column(name) for name in names))
    connection.execute(sa.update(sends).values(account_key=sends.c.recipient))
    two_forms = sa.or_(*(sends.c.recipient.like(f"+{code}%") for code in ("52", "54", "55")))
    seen: set[tuple[int, str]] = set()
    last = 0
    while True:
        query = sa.select(sends.c.id, sends.c.broadcast, sends.c.recipient).where(two_forms, sends.c.id > last)
        page = connection.execute(query.order_by(sends.c.id).limit(_PAGE)).all()
        for row_id, broadcast, recipient in page:
            key = next((form.sub(short, recipient) for form, short in _SHORTER if form.fullmatch(recipient)), recipient)
            if (broadcast, key) in seen:
                key = f"{key}#{row_id}"
            seen.add((broadcast, key))
            connection.execute(sa.update(sends).where(sends.c.id == row_id).values(account_key=key))
        if len(page) < _PAGE:
            return
        last = page[-1].id
