"""A multipart upload, read as Graph reads it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from .service import Call
from .voice import MAX_BYTES


class UploadFault(Exception):
    """An upload that Graph refuses; the text is Graph's."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One uploaded file and what was said of it."""

    content: bytes
    filename: str
    mime_type: str
    ttl_minutes: int = 0


async def read_upload(call: Call) -> Upload:
    """Read `messaging_product`, `type`, `file` and `ttl_minutes`.

    Raises:
        UploadFault: A field is missing, unknown or unusable.
    """
    if not call.headers.get(b"content-type", b"").startswith(b"multipart/form-data"):
        raise UploadFault("Param file is required; the request must be multipart/form-data")

    async def stream() -> AsyncGenerator[bytes, None]:
        yield call.body

    try:
        form = await MultiPartParser(Headers(raw=list(call.headers.items())), stream()).parse()
    except (MultiPartException, KeyError) as wrong:
        raise UploadFault(f"The multipart body can't be read: {wrong}") from None
    try:
        return await _read(dict(form))
    finally:
        await form.close()


async def _read(fields: dict[str, Any]) -> Upload:
    for name in fields:
        if name not in ("messaging_product", "type", "file", "ttl_minutes"):
            raise UploadFault(f'Unexpected key "{name}" on param "media".')
    if fields.get("messaging_product") != "whatsapp":
        raise UploadFault("The parameter messaging_product is required.")
    file, mime_type, ttl = fields.get("file"), fields.get("type"), str(fields.get("ttl_minutes", "0"))
    if not isinstance(file, UploadFile):
        raise UploadFault("The parameter file is required.")
    if not isinstance(mime_type, str) or not mime_type:
        raise UploadFault("The parameter type is required.")
    if file.content_type != mime_type:
        raise UploadFault(f"Param file must be of the declared type: it is {file.content_type!r}, not {mime_type!r}")
    if not ttl.isdecimal():
        raise UploadFault("Param ttl_minutes must be an integer.")
    content = await file.read()
    if not content:
        raise UploadFault("Param file must not be empty.")
    if len(content) > MAX_BYTES:
        raise UploadFault("Param file must be a file of at most 16 MB.")
    return Upload(content, file.filename or "", mime_type, int(ttl))
