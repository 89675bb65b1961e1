"""The media ids that a service gave for uploaded audio, per content and sending account, with their expiry."""

import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from .database import Database
from .schema import media


async def find(database: Database, digest: str, sender: str, margin_seconds: float) -> str:
    """Give the id that will still be known in `margin_seconds`; empty where there is none."""
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=margin_seconds)
    query = sa.select(media.c.media_id).where(
        media.c.digest == digest, media.c.sender == sender, media.c.expires_at > until
    )

    async def work(connection: AsyncConnection) -> str:
        return (await connection.execute(query)).scalar_one_or_none() or ""

    return await database.read("look up a media id", work)


async def size(database: Database, digest: str, sender: str) -> int:
    """Give the size in bytes of what was uploaded; 0 where it isn't known."""
    query = sa.select(media.c.size).where(media.c.digest == digest, media.c.sender == sender)

    async def work(connection: AsyncConnection) -> int:
        return (await connection.execute(query)).scalar_one_or_none() or 0

    return await database.read("look up the size of an upload", work)


async def remember(
    database: Database, digest: str, sender: str, media_id: str, lifetime_seconds: float, size: int
) -> None:
    """Keep an upload's id and size in place of any older one."""
    now = datetime.datetime.now(datetime.UTC)
    values = {
        "digest": digest,
        "sender": sender,
        "media_id": media_id,
        "uploaded_at": now,
        "expires_at": now + datetime.timedelta(seconds=lifetime_seconds),
        "size": size,
    }
    insert = database.engine.insert(media).values(values)
    changed = {name: insert.excluded[name] for name in ("media_id", "uploaded_at", "expires_at", "size")}
    upsert = insert.on_conflict_do_update(index_elements=["digest", "sender"], set_=changed)
    await database.transact("keep a media id", lambda connection: connection.execute(upsert))


async def forget(database: Database, digest: str, sender: str, media_id: str) -> None:
    """Drop an id that the service disowned, unless a newer one has taken its place."""
    delete = sa.delete(media).where(media.c.digest == digest, media.c.sender == sender, media.c.media_id == media_id)
    await database.transact("forget a media id", lambda connection: connection.execute(delete))
