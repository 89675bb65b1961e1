"""Puts audio where a service that loads by link finds it, for as long as its queue may take."""

import datetime
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.audio import Audio
from ..models.errors import InputError
from .linked_audio import check_linked_audio
from .s3 import presign, put, remove_old

if TYPE_CHECKING:
    from prefect_aws import S3Bucket

_SIGNING_SECONDS = 60  # a link is a little older when it is looked at
_FOLDER = "prefect-whatsapp"


def cache_directory() -> Path:
    """Where fetched audio and voice notes are kept and found again: `PREFECT_HOME/prefect-whatsapp/media`."""
    from prefect.settings import get_current_settings

    return Path(get_current_settings().home) / "prefect-whatsapp" / "media"


def remove_cached(before: datetime.datetime, *, dry_run: bool = False) -> tuple[int, int]:
    """Delete fetched audio and voice notes that were last used before a moment.

    Args:
        before: What was used later stays.
        dry_run: Only count.

    Returns:
        How many files, and their bytes.
    """
    files = size = 0
    for path in sorted(cache_directory().rglob("*")):
        facts = path.lstat()
        if stat.S_ISREG(facts.st_mode) and facts.st_mtime < before.timestamp():
            files, size = files + 1, size + facts.st_size
            if not dry_run:
                path.unlink(missing_ok=True)
    return files, size


def remove_published(storage: "S3Bucket", before: datetime.datetime, *, dry_run: bool = False) -> tuple[int, int]:
    """Delete the audio that `publish` put into a bucket before a moment; see `media.s3.remove_old`."""
    return remove_old(storage, _FOLDER, before, dry_run=dry_run)


def publish(audio: Audio, storage: "S3Bucket | None", *, account: str, seconds: int) -> Audio:
    """Give audio an address that lives long enough: a signed link to an object named after its content.

    Args:
        audio: The voice note.
        storage: The bucket that the file goes to; it must be reachable from the service.
        account: `provider:account` that the link is for.
        seconds: How long the link lives, 1 to 604,800 (seven days).

    Returns:
        The audio with its `link`, which was loaded once; an audio that has one of its own keeps it.

    Raises:
        InputError: There is no storage to put it in.
        SourceError: The bucket refuses, the life is out of range, or the link does not give this audio.
    """
    if audio.link:
        check_linked_audio(audio.link)
        return audio
    if storage is None:
        raise InputError(
            f"{account.partition(':')[0]} loads audio by link: pass storage, an S3Bucket block that the service can reach"
        )
    key = f"{_FOLDER}/{audio.sha256}/{audio.filename}"
    put(storage, key, audio.path, audio.mime_type)
    link = presign(storage, key, seconds)
    check_linked_audio(link, seconds=seconds - _SIGNING_SECONDS, own=True)
    return audio.model_copy(update={"link": link, "account": account})
