"""Tasks for audio: fetch it, make a voice note of it, bring it to the service, send it. Each sync and async.

None has Prefect's cache or retries: neither can tell a message that was refused from one whose answer was lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import task_run

from ..blocks import Ledger
from ..blocks.sender import Sender
from ..media import MAX_AUDIO_BYTES, VoiceSettings, cache_directory, download, inspect_audio, make_voice_note, publish
from ..models import Audio, Receipt, Recipient, mask
from ..models.errors import AudioError, LedgerError, NotSentError, RetryLaterError
from ..providers.dialect import Attachment
from ..providers.http_types import Exchange
from ..sending.pair_pace import pair_wait
from .attachments import attachment

if TYPE_CHECKING:  # two thirds of a second to import, which a run without S3 saves
    from prefect_aws import S3Bucket


def send_run_name(kind: str) -> Any:
    """A task run name that shows the recipient's last four digits alone."""

    def name(parameters: dict[str, Any]) -> str:
        to = parameters["to"]
        return f"send-{kind} {mask(to.to if isinstance(to, Recipient) else str(to))}"

    return name


def recipient_of(to: Recipient | str, reply_to: str) -> Recipient:
    """Make a recipient of what a task was given; a `reply_to` of its own stays unless another is named."""
    known = to if isinstance(to, Recipient) else Recipient(to=to)
    return known.model_copy(update={"reply_to": reply_to}) if reply_to else known


def _fetch(source: str, storage: S3Bucket | None, directory: str | Path, max_bytes: int) -> Audio:
    got = download(source, storage, directory=Path(directory or cache_directory()), max_bytes=max_bytes)
    try:
        return inspect_audio(got.path, source=got.source, etag=got.etag)
    except AudioError:
        got.path.unlink(missing_ok=True)  # what isn't audio may be anything, and is not kept
        raise


@task(name="fetch-audio", cache_policy=NO_CACHE, persist_result=False)
def fetch_audio(
    source: str, storage: S3Bucket | None = None, *, directory: str | Path = "", max_bytes: int = MAX_AUDIO_BYTES
) -> Audio:
    """Fetch an audio file and inspect it.

    Args:
        source: `s3://bucket/key`, a key in `storage`, an https link, or a path.
        storage: A prefect_aws `S3Bucket` block; None uses boto3's own credential chain.
        directory: Where the file is put; empty for the cache under `PREFECT_HOME`.
        max_bytes: Larger files are refused.

    Returns:
        The file and its properties, read from its content, never from its suffix.

    Raises:
        SourceError: The file isn't there or may not be read.
        AudioError: It is not audio, empty, or too large.

    Example:
        ```python
        audio = fetch_audio("s3://bucket/weekly.mp3")
        ```
    """
    return _fetch(source, storage, directory, max_bytes)


@task(name="fetch-audio", cache_policy=NO_CACHE, persist_result=False)
async def afetch_audio(
    source: str, storage: S3Bucket | None = None, *, directory: str | Path = "", max_bytes: int = MAX_AUDIO_BYTES
) -> Audio:
    """Fetch an audio file and inspect it; as `fetch_audio`, without blocking the loop."""
    return await asyncio.to_thread(_fetch, source, storage, directory, max_bytes)


def _prepare(audio: Audio, settings: VoiceSettings | None, sender: Sender | None, directory: str | Path) -> Audio:
    settings = settings or (sender.voice_settings() if sender else VoiceSettings())
    return make_voice_note(audio, directory=Path(directory or cache_directory()), settings=settings)


@task(name="prepare-voice", cache_policy=NO_CACHE, persist_result=False)
def prepare_voice(
    audio: Audio,
    settings: VoiceSettings | None = None,
    *,
    sender: Sender | None = None,
    directory: str | Path = "",
) -> Audio:
    """Make a WhatsApp voice note: one mono Opus stream in OGG, without a picture or tags. The same input gives the same bytes.

    Args:
        audio: From `fetch_audio`; a suitable voice note is returned unchanged.
        settings: Bitrate, sample rate, frames, loudness and time limit; None for the ones that suit `sender`.
        sender: The account it is for: a gateway hands the note to phones as it is, so for one it is made like the notes
            that phones record. Without it, the note is the one for Graph.
        directory: Where the note is stored and found again; empty for the cache under `PREFECT_HOME`.

    Returns:
        The note; `transcoded` is true if ffmpeg made it in this call.

    Raises:
        AudioError: ffmpeg can't read it, took too long, or the note is over 16 MB.

    Example:
        ```python
        note = prepare_voice(fetch_audio("weekly.mp3"), sender=WahaCredentials.load("office"))
        ```
    """
    return _prepare(audio, settings, sender, directory)


@task(name="prepare-voice", cache_policy=NO_CACHE, persist_result=False)
async def aprepare_voice(
    audio: Audio,
    settings: VoiceSettings | None = None,
    *,
    sender: Sender | None = None,
    directory: str | Path = "",
) -> Audio:
    """Make a WhatsApp voice note; as `prepare_voice`, without blocking the loop."""
    return await asyncio.to_thread(_prepare, audio, settings, sender, directory)


@task(name="upload-media", cache_policy=NO_CACHE, persist_result=False)
def upload_media(audio: Audio, sender: Sender, *, storage: S3Bucket | None = None, link_seconds: int = 0) -> Audio:
    """Bring audio to where the service loads it from, once for all recipients.

    Graph gets an upload, and the audio its media id (good for 30 days). For Wawp the file goes to `storage` and the
    audio gets a presigned link. Chat-API and WAHA take the bytes with each message: the audio is returned as it is.

    Args:
        audio: From `prepare_voice`, or from `fetch_audio` for basic audio.
        sender: The sending account's block.
        storage: An `S3Bucket` for services that load audio by link; unused by the others.
        link_seconds: How long such a link lives, at most seven days; 0 for what the sender's block says.

    Returns:
        The audio with `media_id` or `link`, and the `account` that they belong to.

    Raises:
        InputError: The service takes a link and there is no storage.
        ProviderError: The service refused it.
        TransportError: The service can't be reached.

    Example:
        ```python
        audio = upload_media(note, GraphCredentials.load("weekly"))
        ```
    """
    dialect = sender.dialect()
    if dialect.carries_audio == "link":
        return publish(audio, storage, account=dialect.sender, seconds=link_seconds or sender.link_life())
    if dialect.carries_audio == "inline":
        return audio
    with sender.get_client(connections=1) as client:
        media_id = client.run(dialect.upload(audio, audio.path.read_bytes()))
    return audio.model_copy(update={"media_id": media_id, "account": dialect.sender})


@task(name="upload-media", cache_policy=NO_CACHE, persist_result=False)
async def aupload_media(
    audio: Audio, sender: Sender, *, storage: S3Bucket | None = None, link_seconds: int = 0
) -> Audio:
    """Bring audio to where the service loads it from; as `upload_media`, without blocking the loop."""
    dialect = sender.dialect()
    if dialect.carries_audio == "link":
        seconds = link_seconds or sender.link_life()
        return await asyncio.to_thread(publish, audio, storage, account=dialect.sender, seconds=seconds)
    if dialect.carries_audio == "inline":
        return audio
    content = await asyncio.to_thread(audio.path.read_bytes)
    async with sender.get_async_client(connections=1) as client:
        media_id = await client.run(dialect.upload(audio, content))
    return audio.model_copy(update={"media_id": media_id, "account": dialect.sender})


def surely_not_sent(task: object, task_run: object, state: State[Any]) -> bool:
    """Whether Prefect may retry a sending task, where somebody gives it `retries`: not after an answer that was lost.

    Such a retry sends the message a second time; `with_options(retries=2)` once sent three.
    """
    return isinstance(state.data, NotSentError | RetryLaterError | LedgerError)


async def _send_once(
    audio: Audio | str, ready: Attachment, to: Recipient, sender: Sender, key: str, ledger: Ledger | None
) -> Receipt:
    # The ledger's drivers are imported by who uses them.
    from ..sending.content import Message, reserving
    from ..sending.once import send_once

    dialect = sender.dialect()
    what = audio if isinstance(audio, str) else audio.sha256
    digest = hashlib.sha256(f"{what}|{ready.voice}|{ready.convert}".encode()).hexdigest()
    label = f"{'voice note' if ready.voice else 'basic audio'} ({digest[:12]})"

    def build(to: Recipient, *, callback: str) -> Exchange[Receipt]:
        return dialect.send_audio(ready, to, callback=callback)

    return await send_once(
        key,
        Message(build, reserve=reserving(dialect)),
        to,
        sender,
        digest=digest,
        label=label,
        ledger=ledger,
        task_run_id=str(task_run.id or ""),
    )


@task(
    name="send-audio",
    task_run_name=send_run_name("audio"),
    cache_policy=NO_CACHE,
    persist_result=False,
    retry_condition_fn=surely_not_sent,
)
def send_audio(
    audio: Audio | str,
    to: Recipient | str,
    sender: Sender,
    *,
    voice: bool = True,
    convert: bool = False,
    reply_to: str = "",
    once: str = "",
    ledger: Ledger | None = None,
) -> Receipt:
    """Send one voice note, or basic audio, to one recipient.

    Args:
        audio: From `upload_media`, a media id of this account, or a public https link.
        to: A phone number with `+` and country code, a chat id, or a `Recipient`.
        sender: The sending account's block.
        voice: False sends basic audio.
        convert: Whether the service transcodes it (Wawp, WAHA).
        reply_to: Id of the message to quote.
        once: A key under which each recipient gets one message, whatever is retried, rerun or crashes: it is recorded in
            the ledger as a broadcast of that name. Empty sends at each call.
        ledger: Where `once` is recorded; None for the default ledger.

    Returns:
        The service's receipt. Accepted is not delivered.

    Raises:
        InputError: Before any request: the audio, recipient or a parameter isn't for this service.
        ProviderError: One of the four verdicts.
        NotSentError: No connection; safe to send again.
        OutcomeUnknownError: The answer was lost; the message may have been accepted.

    Example:
        ```python
        receipt = send_audio(upload_media(note, sender), "+16505550123", sender)
        ```
    """
    dialect, recipient = sender.dialect(), recipient_of(to, reply_to)
    message = attachment(audio, dialect, voice=voice, convert=convert)
    time.sleep(pair_wait(dialect, recipient))  # beyond its pair limit the service refuses the message (131056)
    if once:
        from ..sending.once import wait_for

        return wait_for(_send_once(audio, message, recipient, sender, once, ledger))
    with sender.get_client(connections=1) as client:
        return client.run(dialect.send_audio(message, recipient))


@task(
    name="send-audio",
    task_run_name=send_run_name("audio"),
    cache_policy=NO_CACHE,
    persist_result=False,
    retry_condition_fn=surely_not_sent,
)
async def asend_audio(
    audio: Audio | str,
    to: Recipient | str,
    sender: Sender,
    *,
    voice: bool = True,
    convert: bool = False,
    reply_to: str = "",
    once: str = "",
    ledger: Ledger | None = None,
) -> Receipt:
    """Send one voice note, or basic audio, to one recipient; as `send_audio`, without blocking the loop."""
    dialect, recipient = sender.dialect(), recipient_of(to, reply_to)
    message = await asyncio.to_thread(attachment, audio, dialect, voice=voice, convert=convert)
    await asyncio.sleep(pair_wait(dialect, recipient))  # as in `send_audio`
    if once:
        return await _send_once(audio, message, recipient, sender, once, ledger)
    async with sender.get_async_client(connections=1) as client:
        return await client.run(dialect.send_audio(message, recipient))
