"""What a broadcast carries: an audio file or contact cards, from their source to the request's body."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..blocks.sender import Sender
from ..ledger import LedgerStore
from ..media import PLAY_BUTTON_BYTES, VoiceSettings, is_ready, voice_warnings
from ..models import Audio, Contact, Receipt, Recipient
from ..models.errors import InputError
from ..models.plurals import counted
from ..providers.dialect import Dialect
from ..providers.http_types import Exchange
from ..sending.content import Build, Content, check_build
from . import afetch_audio, aprepare_voice, aupload_media
from .attachments import attachment
from .contacts import contacts_digest, contacts_label

if TYPE_CHECKING:  # two thirds of a second to import, which a run without S3 saves
    from prefect_aws import S3Bucket

# A media id is given up this long before the service forgets it, so that a long broadcast doesn't lose it on the way.
MEDIA_ID_MARGIN_SECONDS = 2 * 86_400.0


class AudioContent(Content):
    """A voice note, or basic audio.

    Args:
        source: `s3://…`, a key in `storage`, an https link or a path.
        sender: The sending account.
        storage: Where keys are looked up, and where services that load by link find the file.
        voice: False sends basic audio.
        convert: Whether the service is to transcode it.
        settings: How a voice note is made; None for what suits the sender.
    """

    kind = "audio"

    def __init__(
        self,
        source: str,
        sender: Sender,
        storage: S3Bucket | None,
        *,
        voice: bool = True,
        convert: bool = False,
        settings: VoiceSettings | None = None,
    ) -> None:
        self._source, self._sender, self._storage = source, sender, storage
        self._voice, self._convert, self._settings = voice, convert, settings or sender.voice_settings()
        self.audio: Audio | None = None
        self._media_id, self._size_there = "", 0

    async def load(self, store: LedgerStore, dialect: Dialect) -> None:
        """Fetch, inspect, and transcode only if needed: not when the service still has this very content."""
        if not self._source.strip():
            raise InputError("audio is empty: give s3://bucket/key, a key in storage, an https link or a path")
        audio = await afetch_audio(self._source, self._storage)
        way = "convert" if self._convert else f"voice {self._settings.sound()}" if self._voice else "basic"
        self.source_digest = audio.sha256
        self.digest = hashlib.sha256(f"{audio.sha256}|{way}".encode()).hexdigest()
        self.label = f"{audio.source} ({'voice note' if self._voice else 'basic audio'}, {audio.sha256[:12]})"
        self._media_id = await self._known_media_id(store, dialect)
        if not self._media_id:
            audio = await self._prepared(audio, dialect)
        self.audio, self.warnings = audio, audio.warnings
        if self._media_id and self._voice and not audio.voice_ready:  # the note is at the service, not here
            self._size_there = await store.media_size(self.digest, dialect.sender)
            self.warnings += voice_warnings(
                audio.source,
                self._size_there,
                audio.duration,
                play_button_bytes=self._settings.play_button_bytes,
            )

    def facts(self) -> list[tuple[str, str]]:
        """Length, size and codec, and whether it will show a play button."""
        if self.audio is None:
            return []
        audio, size, codec, channels = self.audio, self.audio.size, self.audio.codec, self.audio.channels
        container, there = audio.container, []
        if self._media_id and self._voice and not audio.voice_ready:  # what arrives is that note, not the file here
            size, codec, container, channels = self._size_there, "opus", "ogg", 1
            there = [("at the service", "the voice note of an earlier broadcast is reused")]
        facts = [
            ("length", f"{audio.duration:.1f} s"),
            *([("size", f"{size:,} bytes")] if size else []),  # an older version did not keep it
            ("codec", f"{codec} in {container}, {counted(channels, 'channel')}"),
            ("arrives as", "a voice note" if self._voice else "an audio file"),
            *there,
        ]
        if not size:
            return facts
        return [*facts, ("play button", "yes" if self._voice and size <= PLAY_BUTTON_BYTES else "no: a download icon")]

    async def bring(self, store: LedgerStore) -> Build:
        """Bring it to the service, then build each message around the one attachment."""
        dialect, ready = self._sender.dialect(), await self.ensure_uploaded(store)
        message = await asyncio.to_thread(attachment, ready, dialect, voice=self._voice, convert=self._convert)

        def build(to: Recipient, *, callback: str) -> Exchange[Receipt]:
            return dialect.send_audio(message, to, callback=callback)

        return build

    async def ensure_uploaded(self, store: LedgerStore) -> Audio:
        """Upload once for this content and account, whoever else wants to at the same time.

        Returns:
            The audio with `media_id` or `link`, or as it is where the service takes the bytes with each message.
        """
        assert self.audio
        dialect = self._sender.dialect()
        if dialect.carries_audio != "media id":
            link_seconds = self._sender.link_life(self.takes)
            return await aupload_media(self.audio, self._sender, storage=self._storage, link_seconds=link_seconds)
        async with store.exclusive(f"media:{dialect.sender}:{self.digest}"):
            self._media_id = self._media_id or await self._known_media_id(store, dialect)
            if not self._media_id:
                self.audio = await self._prepared(self.audio, dialect)
                self._media_id = (await aupload_media(self.audio, self._sender)).media_id
                self.uploads += 1
                await store.remember_media(
                    self.digest,
                    dialect.sender,
                    self._media_id,
                    lifetime_seconds=dialect.media_id_days * 86_400.0,
                    size=self.audio.size,
                )
        known: dict[str, Any] = {"media_id": self._media_id, "account": dialect.sender}
        if self._voice and not self.audio.voice_ready:  # an earlier run made the note, and the service has it
            known |= {"voice_ready": True, "mime_type": "audio/ogg", "filename": "voice.ogg"}
        return self.audio.model_copy(update=known)

    async def renew(self, store: LedgerStore) -> Build:
        """Forget the media id that the service disowned and upload once more."""
        await store.forget_media(self.digest, self._sender.dialect().sender, self._media_id)
        self._media_id = ""
        return await self.bring(store)

    async def _known_media_id(self, store: LedgerStore, dialect: Dialect) -> str:
        if dialect.carries_audio != "media id":
            return ""
        return await store.media_id(self.digest, dialect.sender, margin_seconds=MEDIA_ID_MARGIN_SECONDS)

    async def _prepared(self, audio: Audio, dialect: Dialect) -> Audio:
        """A voice note of it, unless it may go as it is."""
        if self._convert or (not self._voice and (audio.voice_ready or dialect.accepts_unconverted(audio))):
            return audio
        if is_ready(audio, self._settings):
            return audio
        note = await aprepare_voice(audio, self._settings)
        self.transcodes += note.transcoded
        return note


class ContactsContent(Content):
    """Contact cards, in one message.

    Args:
        contacts: The cards.
        sender: The sending account.
    """

    kind = "contacts"

    def __init__(self, contacts: Sequence[Contact], sender: Sender) -> None:
        self.contacts, self._sender = list(contacts), sender

    async def load(self, store: LedgerStore, dialect: Dialect) -> None:
        """Check that there is a card and that this service can carry it, by building one message of it."""
        if not self.contacts:
            raise InputError("contacts is empty: give at least one contact card")
        self.digest, self.label = contacts_digest(self.contacts), contacts_label(self.contacts)
        losses = dialect.contact_losses(self.contacts)
        of_quotes = [loss for loss in dialect.contact_losses(self.contacts, quotes=True) if loss not in losses]
        self.warnings = (
            *(f"Left out: {loss}" for loss in losses),
            *(f"Left out where the list names one: {loss}" for loss in of_quotes),
        )
        check_build(self._build(dialect))

    async def bring(self, store: LedgerStore) -> Build:
        """Nothing to bring: the cards are in each message."""
        return self._build(self._sender.dialect())

    def _build(self, dialect: Dialect) -> Build:
        def build(to: Recipient, *, callback: str) -> Exchange[Receipt]:
            return dialect.send_contacts(self.contacts, to, callback=callback)

        return build
