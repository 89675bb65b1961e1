"""A link that a service will load is loaded once before: what isn't audio would be sent as the voice note all the same."""

import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prefect_aws import S3Bucket
from prefect_whatsapp.media import check_linked_audio, inspect_audio, publish
from prefect_whatsapp.media.linked_audio import link_expires
from prefect_whatsapp.models.errors import SourceError

if TYPE_CHECKING:
    from conftest import Web

OGG = {"Content-Type": "audio/ogg"}


@pytest.fixture(autouse=True)
def _nothing_checked_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two links that are signed in one second are the same, and a port of another test may be given once more."""
    monkeypatch.setattr("prefect_whatsapp.media.linked_audio._checked", OrderedDict())


def test_audio_is_asked_for_once(web: "Web", samples: Path) -> None:
    web.answers["/a.ogg"] = (200, OGG, (samples / "speech_voice.ogg").read_bytes())
    check_linked_audio(f"{web.address}/a.ogg")
    check_linked_audio(f"{web.address}/a.ogg")
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    ("status", "headers", "body", "sentence"),
    [
        (404, OGG, b"gone", "answers HTTP 404"),
        (401, OGG, b"who are you", "answers HTTP 401"),
        (206, OGG, b"OggS", "answers HTTP 206"),
        (200, {"Content-Type": "text/html"}, b"<html>sign in", "answers with a web page"),
        (200, {"Content-Type": "text/plain"}, b"OggS....", "is served as text/plain, not as audio"),
        (200, OGG, b"not audio at all", "does not begin like audio"),
        (200, OGG, b"", "answers with no bytes"),
    ],
)
def test_what_is_no_audio_is_refused_in_one_sentence(
    web: "Web", status: int, headers: dict[str, str], body: bytes, sentence: str
) -> None:
    web.answers["/a.ogg"] = (status, headers, body)
    with pytest.raises(SourceError, match=sentence) as refused:
        check_linked_audio(f"{web.address}/a.ogg?signature=canary")
    assert "canary" not in str(refused.value)


def test_a_link_that_dies_before_the_broadcast_ends_is_refused(web: "Web", samples: Path) -> None:
    web.answers["/a.ogg"] = (200, OGG, (samples / "speech_voice.ogg").read_bytes())
    link = f"{web.address}/a.ogg?Expires={int(time.time()) + 600}"
    check_linked_audio(link, seconds=60)
    with pytest.raises(SourceError, match=r"s more, but must be valid for 3,600 s: sign a link that is valid longer"):
        check_linked_audio(link, seconds=3_600)


@pytest.mark.parametrize(
    ("query", "ends"),
    [
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=60", 1767225660.0),
        ("X-Goog-Date=20260101T000000Z&X-Goog-Expires=60", 1767225660.0),
        ("Expires=1767225660&Signature=x", 1767225660.0),
        ("se=2026-01-01T00:01:00Z&sig=x", 1767225660.0),
        ("X-Amz-Date=nonsense&X-Amz-Expires=60", None),
        ("X-Amz-Expires=60", None),
        ("v=2", None),
    ],
)
def test_the_end_of_a_signed_link_is_read_from_it(query: str, ends: float | None) -> None:
    assert link_expires(f"https://files.example.com/a.ogg?{query}") == ends


def test_a_published_note_is_loaded_once_by_its_own_link(s3: S3Bucket, samples: Path) -> None:
    audio = inspect_audio(samples / "speech_voice.ogg", source="speech_voice.ogg")
    assert publish(audio, s3, account="wawp:1", seconds=3_600).link


def test_a_note_whose_own_link_gives_no_audio_is_not_sent(s3: S3Bucket, samples: Path, tmp_path: Path) -> None:
    page = tmp_path / "voice.ogg"
    page.write_bytes(b"<html>404</html>")
    audio = inspect_audio(samples / "speech_voice.ogg", source="speech_voice.ogg")
    with pytest.raises(SourceError, match="does not begin like audio"):
        publish(audio.model_copy(update={"path": page}), s3, account="wawp:1", seconds=3_600)
