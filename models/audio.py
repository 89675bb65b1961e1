"""An audio file at hand: where it lies, what is in it, and how a service may get it."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

# 16 MB at Meta for every audio type; whether it counts 16,000,000 or 16,777,216 is not stated, and the smaller is safe.
MAX_AUDIO_MESSAGE_BYTES = 16_000_000


class Audio(BaseModel):
    """One audio file that was fetched and inspected.

    Attributes:
        source: Where it came from, without query string: `s3://bucket/key`, `https://host/path` or a path.
        path: The local file that holds its bytes.
        container: The format that its first bytes show: `ogg`, `mp3`, `mp4`, `aac`, `amr`, `wav`, `flac`, `webm`, ….
        codec: `opus`, `vorbis`, `mp3`, `aac`, `amr_nb`, ….
        channels: 1 is mono.
        sample_rate: Hz; for Opus the rate of the input as its header states it.
        duration: Seconds.
        size: Bytes.
        sha256: Hex digest of the bytes.
        mime_type: MIME type for the service, such as `audio/ogg` or `audio/mpeg`.
        filename: File name for the service; its ending agrees with the content.
        voice_ready: Whether it can be sent as a voice note unchanged: one mono Opus stream in OGG.
        transcoded: Whether ffmpeg made these bytes in this call (a cached result counts as not).
        warnings: Sentences for a person: cut off, too large for a play button, ….
        etag: The object store's own digest, where it gave one.
        link: A public https address of these very bytes, for services that load audio by address.
        media_id: The service's id after an upload, for services that keep media (Graph).
        account: `provider:account` that `media_id` or `link` belongs to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    path: Path
    container: str
    codec: str
    channels: int = Field(ge=0)
    sample_rate: int = Field(ge=0)
    duration: float = Field(ge=0)
    size: int = Field(gt=0)
    sha256: str
    mime_type: str
    filename: str
    voice_ready: bool = False
    transcoded: bool = False
    warnings: tuple[str, ...] = ()
    etag: str = ""
    link: str = Field(default="", repr=False)
    media_id: str = ""
    account: str = ""
