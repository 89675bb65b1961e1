"""Both forms of the tasks that fetch audio, make a voice note of it and bring it to the service."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prefect_whatsapp.media import VoiceSettings
from prefect_whatsapp.models import Audio
from prefect_whatsapp.models.errors import AccountError, AudioError, InputError, SourceError
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.tasks import (
    afetch_audio,
    aprepare_voice,
    aupload_media,
    fetch_audio,
    prepare_voice,
    send_audio,
    upload_media,
)
from pydantic import SecretStr
from tap import Tap, facts_of

Outcomes = Callable[..., Any]


async def test_both_fetch_the_same_and_look_into_it(audio_samples: Path, outcomes: Outcomes, tmp_path: Path) -> None:
    sync, aio = await outcomes(
        fetch_audio, afetch_audio, str(audio_samples / "speech_cover.mp3"), directory=tmp_path / "in"
    )
    assert sync == aio
    assert (sync.container, sync.codec, sync.voice_ready) == ("mp3", "mp3", False)


async def test_both_fetch_a_key_of_the_storage_block_and_an_s3_address(
    audio_samples: Path, outcomes: Outcomes, storage: Any, tmp_path: Path
) -> None:
    await storage.aupload_from_path(audio_samples / "speech_voice.ogg", "weekly.ogg")
    for source in ("weekly.ogg", "s3://tasks/weekly.ogg"):
        sync, aio = await outcomes(fetch_audio, afetch_audio, source, storage, directory=tmp_path)
        assert sync == aio
        assert (sync.source, sync.voice_ready) == ("s3://tasks/weekly.ogg", True)


@pytest.mark.parametrize(
    ("name", "error"),
    [("missing.mp3", SourceError), ("not_audio.mp3", AudioError), ("empty.ogg", AudioError)],
)
async def test_both_say_the_same_of_what_cant_be_used(
    audio_samples: Path, outcomes: Outcomes, name: str, error: type[Exception], tmp_path: Path
) -> None:
    sync, aio = await outcomes(fetch_audio, afetch_audio, str(audio_samples / name), directory=tmp_path)
    assert type(sync) is error
    assert facts_of(sync) == facts_of(aio)
    assert "\n" not in str(sync)


async def test_a_file_larger_than_allowed_is_refused_by_both(
    audio_samples: Path, outcomes: Outcomes, tmp_path: Path
) -> None:
    source = str(audio_samples / "speech_cover.mp3")
    sync, aio = await outcomes(fetch_audio, afetch_audio, source, directory=tmp_path, max_bytes=1000)
    assert isinstance(sync, InputError)
    assert facts_of(sync) == facts_of(aio)


async def test_both_make_the_same_voice_note(audio_samples: Path, outcomes: Outcomes, tmp_path: Path) -> None:
    song = fetch_audio.fn(str(audio_samples / "speech_cover.mp3"), directory=tmp_path / "in")
    sync = prepare_voice.fn(song, directory=tmp_path / "sync")
    aio = await aprepare_voice.fn(song, directory=tmp_path / "async")
    assert sync.path.read_bytes() == aio.path.read_bytes()
    assert (sync.container, sync.codec, sync.channels, sync.voice_ready, sync.transcoded) == (
        "ogg",
        "opus",
        1,
        True,
        True,
    )
    assert sync.model_copy(update={"path": aio.path}) == aio


async def test_a_note_that_was_made_is_found_again(audio_samples: Path, outcomes: Outcomes, tmp_path: Path) -> None:
    song = fetch_audio.fn(str(audio_samples / "speech_ru.m4a"), directory=tmp_path / "in")
    sync, aio = await outcomes(prepare_voice, aprepare_voice, song, directory=tmp_path / "notes")
    assert (sync.transcoded, aio.transcoded) == (True, False)
    assert sync.sha256 == aio.sha256


async def test_a_good_voice_note_is_returned_as_it_is_by_both(note: Audio, outcomes: Outcomes, tmp_path: Path) -> None:
    sync, aio = await outcomes(prepare_voice, aprepare_voice, note, directory=tmp_path)
    assert sync == aio == note


async def test_the_settings_of_a_note_count_in_both(audio_samples: Path, outcomes: Outcomes, tmp_path: Path) -> None:
    song = fetch_audio.fn(str(audio_samples / "speech_cover.mp3"), directory=tmp_path / "in")
    usual = prepare_voice.fn(song, directory=tmp_path)
    settings = VoiceSettings(bitrate=16_000)
    sync, aio = await outcomes(prepare_voice, aprepare_voice, song, settings, directory=tmp_path)
    assert sync.sha256 == aio.sha256
    assert sync.size < usual.size


async def test_both_bring_it_to_where_the_service_takes_it_from(
    provider: str, note: Audio, sender: Any, storage: Any, outcomes: Outcomes, tap: Tap, sandbox: RunningSandbox
) -> None:
    sync, aio = await outcomes(upload_media, aupload_media, note, sender, storage=storage)
    if provider == "graph":
        assert sync == aio
        assert sync.media_id.isdigit()
        first, second = tap.taken()
        assert first == second
        assert b'name="messaging_product"' in first
        assert sandbox.truth()["uploads"] == 1
    elif provider == "wawp":
        assert [urlsplit(each.link)._replace(query="") for each in (sync,)] == [urlsplit(aio.link)._replace(query="")]
        assert note.sha256 in sync.link
        assert tap.taken() == []
    else:
        assert sync == aio == note
        assert tap.taken() == []
    assert sync.account == ("" if provider in {"chat-api", "waha"} else sender.sender)


@pytest.mark.parametrize("provider", ["wawp"], indirect=True)
async def test_a_service_that_loads_by_link_needs_storage(note: Audio, sender: Any, outcomes: Outcomes) -> None:
    sync, aio = await outcomes(upload_media, aupload_media, note, sender)
    assert type(sync) is InputError
    assert "storage" in str(sync)
    assert facts_of(sync) == facts_of(aio)


@pytest.mark.parametrize("provider", ["graph"], indirect=True)
async def test_a_refused_upload_is_the_same_error_in_both(
    note: Audio, sender: Any, outcomes: Outcomes, tap: Tap
) -> None:
    wrong = sender.model_copy(update={"access_token": SecretStr("canary-wrong-token")})
    sync, aio = await outcomes(upload_media, aupload_media, note, wrong)
    assert type(sync) is AccountError
    assert facts_of(sync) == facts_of(aio)
    assert "canary" not in str(sync)
    first, second = tap.taken()
    assert first == second


@pytest.mark.parametrize("provider", ["graph"], indirect=True)
async def test_another_accounts_media_id_is_not_sent(note: Audio, sender: Any, tap: Tap) -> None:
    foreign = note.model_copy(update={"media_id": "1013859600285441", "account": "graph:200000000000002"})
    with pytest.raises(InputError, match="upload_media"):
        send_audio.fn(foreign, "+16505550123", sender)
    assert tap.taken() == []
