"""Brings audio into the form in which a provider takes it: a media id, inline bytes or a link."""

import base64
from functools import partial

from ..media import check_linked_audio
from ..models import Audio
from ..models.errors import AudioError, InputError
from ..providers.dialect import Attachment, Dialect

CONTENT_IS_KEPT_BY_THE_SERVICE = frozenset("0123456789")


def attachment(audio: Audio | str, dialect: Dialect, *, voice: bool = True, convert: bool = False) -> Attachment:
    """Make of audio what this provider's `send_audio` takes.

    Args:
        audio: Fetched audio (uploaded first where the provider keeps media), a media id, or a public https link.
        dialect: The provider's dialect for the sending account.
        voice: Whether it is to arrive as a voice note.
        convert: Whether the service transcodes it (Wawp, WAHA).

    Returns:
        The attachment; its inline form holds the whole file as base64.

    Raises:
        AudioError: It is no voice note, or not in a form the provider takes.
        SourceError: The link gives no audio.
        InputError: It still has to be uploaded.
    """
    if isinstance(audio, str):
        return _named(audio, voice=voice, convert=convert)
    if voice and not audio.voice_ready and not convert:
        raise AudioError(
            f"{audio.filename} is not a voice note ({audio.container}/{audio.codec}); use prepare_voice first"
        )
    if not voice and not dialect.accepts_unconverted(audio):
        raise AudioError(
            f"{dialect.name} takes no {audio.container}/{audio.codec} as basic audio; use prepare_voice first"
        )
    if audio.size > dialect.max_audio_bytes:
        raise AudioError(
            f"{audio.filename} has {audio.size:,} bytes; {dialect.name} takes {dialect.max_audio_bytes:,} at most"
        )
    own = audio.account in ("", dialect.sender)
    form = partial(Attachment, mime_type=audio.mime_type, filename=audio.filename, voice=voice, convert=convert)
    if dialect.carries_audio == "inline":
        return form(base64=base64.b64encode(audio.path.read_bytes()).decode())
    if dialect.carries_audio == "media id" and audio.media_id and own:
        return form(media_id=audio.media_id)
    if audio.link:
        return form(link=audio.link)
    raise InputError(f"{dialect.name} takes audio as {dialect.carries_audio}; pass it through upload_media first")


def _named(audio: str, *, voice: bool, convert: bool) -> Attachment:
    if audio.startswith(("https://", "http://")):
        check_linked_audio(audio)
        return Attachment(link=audio, voice=voice, convert=convert)
    if audio and set(audio) <= CONTENT_IS_KEPT_BY_THE_SERVICE:
        return Attachment(media_id=audio, voice=voice, convert=convert)
    raise InputError("audio must be fetched audio, a media id (digits) or an https link")
