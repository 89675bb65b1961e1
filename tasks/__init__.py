"""What you compose: Prefect tasks for audio, sends and outcomes. The names that begin with `a` are the async versions."""

from .audio import (
    afetch_audio,
    aprepare_voice,
    asend_audio,
    aupload_media,
    fetch_audio,
    prepare_voice,
    send_audio,
    upload_media,
)
from .contacts import asend_contacts, send_contacts
from .outcomes import aoutcomes, as_arrow, outcomes
from .unknown import aresolve_unknown, resolve_unknown

__all__ = [
    "afetch_audio",
    "aoutcomes",
    "aprepare_voice",
    "aresolve_unknown",
    "as_arrow",
    "asend_audio",
    "asend_contacts",
    "aupload_media",
    "fetch_audio",
    "outcomes",
    "prepare_voice",
    "resolve_unknown",
    "send_audio",
    "send_contacts",
    "upload_media",
]
