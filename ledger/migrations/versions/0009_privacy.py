"""Hashes in place of the account keys, forgotten people, purged broadcasts, the lines of lists, and the hashes' key.

Revision ID: 0009
"""

import base64
import hmac
import os
import re

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_PAGE = 1_000
# `models.recipient.account_key` as it was then.
_SHORTER = (
    (re.compile(r"\+55([1-9]\d)9([6-9]\d{7})"), r"+55\1\2"),
    (re.compile(r"\+549(\d{10})"), r"+54\1"),
    (re.compile(r"\+521(\d{10})"), r"+52\1"),
)


def upgrade() -> None:
    """Add the columns and tables, and hash what was the account's address."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    moment = sa.DateTime(timezone=True)
    op.add_column("whatsapp_broadcasts", sa.Column("purged_at", moment))
    op.add_column("whatsapp_sends", sa.Column("forgotten_at", moment))
    op.add_column("whatsapp_sends", sa.Column("line", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("whatsapp_addresses", sa.Column("account_key", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "whatsapp_purged_counts",
        sa.Column("broadcast", number, sa.ForeignKey("whatsapp_broadcasts.number"), primary_key=True),
        sa.Column("state", sa.Text, primary_key=True),
        sa.Column("rows", sa.Integer, nullable=False),
    )
    op.create_table(
        "whatsapp_keys", sa.Column("id", number, primary_key=True), sa.Column("hash_key", sa.Text, nullable=False)
    )
    key = os.urandom(32)
    connection = op.get_bind()
    made = sa.text("INSERT INTO whatsapp_keys (id, hash_key) VALUES (1, :key)")
    connection.execute(made.bindparams(key=base64.b64encode(key).decode()))
    _hash_rows(connection, key)
    _hash_addresses(connection, key)
    op.create_index("whatsapp_addresses_by_account", "whatsapp_addresses", ["account_key"])


def _hash_rows(connection: sa.Connection, key: bytes) -> None:
    sends = sa.table("whatsapp_sends", *(sa.column(name) for name in ("id", "account_key", "state", "owner")))
    last = 0
    while True:
        query = sa.select(sends.c.id, sends.c.account_key, sends.c.state).where(sends.c.id > last)
        page = connection.execute(query.order_by(sends.c.id).limit(_PAGE)).all()
        if page:
            change = sa.update(sends).where(sends.c.id == sa.bindparam("row")).values(account_key=sa.bindparam("hash"))
            connection.execute(change, [{"row": row_id, "hash": _hash(key, text)} for row_id, text, _ in page])
        # One person in a second spelling (see 0004), whose opt-out their key no longer leads to: they have a row already.
        for row_id in [row_id for row_id, text, state in page if "#" in text and state == "queued"]:
            again = sa.text(
                "UPDATE whatsapp_sends SET state = 'skipped', error_text = :why, owner = NULL WHERE id = :row"
            )
            connection.execute(again.bindparams(why="The list has this person in another spelling.", row=row_id))
        if len(page) < _PAGE:
            return
        last = page[-1].id


def _hash_addresses(connection: sa.Connection, key: bytes) -> None:
    addresses = sa.table("whatsapp_addresses", sa.column("address"), sa.column("account_key"))
    last = ""
    while True:
        query = sa.select(addresses.c.address).where(addresses.c.address > last)
        page = list(connection.execute(query.order_by(addresses.c.address).limit(_PAGE)).scalars())
        for address in page:
            account = next((form.sub(short, address) for form, short in _SHORTER if form.fullmatch(address)), address)
            here = sa.update(addresses).where(addresses.c.address == address)
            connection.execute(here.values(account_key=_hash(key, account)))
        if len(page) < _PAGE:
            return
        last = page[-1]


def _hash(key: bytes, text: str) -> str:
    digest = hmac.digest(key, text.encode("utf-8", "replace"), "sha256")[:16]
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
