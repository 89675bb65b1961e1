"""Audio that a service loads by itself: fetched once as the service would, before anybody is sent it.

Some gateways send whatever a link answers as the voice note, an error page too, and say that it was sent.
"""

import datetime
import time
from collections import OrderedDict
from threading import Lock
from urllib.parse import parse_qs, urlsplit

from ..models.errors import SourceError
from .allowed_sources import AllowedSources
from .formats import container_of
from .limits import MAX_AUDIO_BYTES

_HEAD_BYTES = 4096
_REMEMBERED_SECONDS = 600.0
_REMEMBERED = 256
_NOT_TOLD = {"", "application/octet-stream", "binary/octet-stream", "application/ogg", "application/mp4", "video/mp4"}
_checked: OrderedDict[str, float] = OrderedDict()
_lock = Lock()


def check_linked_audio(link: str, *, seconds: float = 0.0, own: bool = False) -> None:
    """Load the beginning of a link, as a service would: without login, following redirects.

    A link that was good is not asked again for ten minutes.

    Args:
        link: The address that the service will load.
        seconds: How long the service may take until it loads it for the last time.
        own: Whether it was signed here, with a storage block, and not typed in: its host may then be a private one.

    Raises:
        SourceError: It can't be loaded, isn't audio by its type or its first bytes, is too large, or dies before.
    """
    from .links import link_name, open_link

    name = link_name(link)
    if (ends := link_expires(link)) is not None:
        left = ends - time.time()
        if left < max(seconds, 1.0):
            raise SourceError(
                f"{name} is valid for {max(left, 0):,.0f} s more, but must be valid for {max(seconds, 1.0):,.0f} s: sign a "
                "link that is valid longer."
            )
    now = time.monotonic()
    with _lock:
        if now - _checked.get(link, -_REMEMBERED_SECONDS) < _REMEMBERED_SECONDS:
            return
    with open_link(link, allowed=AllowedSources() if own else None) as found:
        if found.size == 0:
            raise SourceError(f"{name} answers with no bytes: check the file at that address.")
        if found.size is not None and found.size > MAX_AUDIO_BYTES:
            raise SourceError(f"{name} is larger than the {MAX_AUDIO_BYTES / 1e6:.4g} MB of any audio that is sent.")
        head = b""
        for chunk in found.chunks:
            head += chunk
            if len(head) >= _HEAD_BYTES:
                break
    if not found.mime_type.startswith("audio/") and found.mime_type not in _NOT_TOLD:
        raise SourceError(
            f"{name} is served as {found.mime_type[:60]}, not as audio: a service would send it nevertheless; set the "
            "type of the stored file, such as audio/ogg."
        )
    if not container_of(head):
        raise SourceError(
            f"{name} does not begin like audio: a service would send it nevertheless; check the file at that address."
        )
    with _lock:
        _checked[link] = now
        while len(_checked) > _REMEMBERED:
            _checked.popitem(last=False)


def link_expires(link: str) -> float | None:
    """Give the time (seconds since 1970) at which a signed link ends by its own words; None where it does not say.

    Example:
        >>> link_expires("https://h.example/a.ogg?X-Amz-Date=20260101T000000Z&X-Amz-Expires=60")
        1767225660.0
    """
    query = {name.lower(): values[0] for name, values in parse_qs(urlsplit(link).query).items()}
    try:
        if "x-amz-expires" in query:
            signed = datetime.datetime.strptime(query["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
            return signed.timestamp() + int(query["x-amz-expires"])
        if "x-goog-expires" in query:
            signed = datetime.datetime.strptime(query["x-goog-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
            return signed.timestamp() + int(query["x-goog-expires"])
        if "expires" in query:
            return float(query["expires"])
        if "se" in query and "sig" in query:  # Azure
            return datetime.datetime.fromisoformat(query["se"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        pass
    return None
