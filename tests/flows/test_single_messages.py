"""The flows that send one message, and contact broadcasts, on each of the four services."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows import broadcast_audio, broadcast_contacts, send_audio_message, send_contact_message
from prefect_whatsapp.models import Contact
from prefect_whatsapp.models.errors import InputError
from prefect_whatsapp.sandbox.s3 import bucket_block
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox
from senders import PROVIDERS, sender_of

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("prefect_api")]
CARD = Contact(name="Ada Byron", phone="+442079460000", organisation="Analytical Engines")


async def stored(path: Path, s3_url: str, bucket: str) -> tuple[Any, str]:
    """A bucket that holds a file, and the file's key in it."""
    block: Any = bucket_block(s3_url, bucket)
    await block.aupload_from_path(path, path.name)
    return block, path.name


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_one_voice_note_reaches_one_person(
    sandbox: RunningSandbox, ledger: Ledger, audio_samples: Path, s3_url: str, provider: str
) -> None:
    audio, storage = str(audio_samples / "speech_ru.m4a"), None
    if provider == "wawp":
        storage, audio = await stored(audio_samples / "speech_ru.m4a", s3_url, "single-messages")
    receipt = await send_audio_message(
        to="+16505550123",
        sender=sender_of(provider, sandbox.url),
        audio=audio,
        storage=storage,
        ledger=ledger,
    )
    assert (receipt.provider, receipt.recipient) == (provider, "+16505550123")
    assert sandbox.truth()["accepted"] == {"16505550123": 1}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_one_card_reaches_one_person(sandbox: RunningSandbox, provider: str) -> None:
    receipt = await send_contact_message(
        to="650 555 0123", sender=sender_of(provider, sandbox.url), contacts=[CARD], default_region="US"
    )
    assert receipt.status in {"accepted", "queued"}
    assert sandbox.truth()["accepted"] == {"16505550123": 1}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_cards_reach_everyone_once_and_resume_sends_none(
    sandbox: RunningSandbox, ledger: Ledger, provider: str
) -> None:
    arguments: dict[str, Any] = {
        "broadcast": f"cards-{provider}",
        "sender": sender_of(provider, sandbox.url),
        "contacts": [CARD],
        "recipients": [*sample_numbers(6)],
        "ledger": ledger,
    }
    first = await broadcast_contacts(**arguments)
    again = await broadcast_contacts(**arguments)
    assert first.accepted == again.accepted == sandbox.truth()["accepted_total"] == 6


async def test_a_link_service_without_storage_is_told_so_before_any_send(
    sandbox: RunningSandbox, ledger: Ledger, audio_samples: Path
) -> None:
    with pytest.raises(InputError, match="wawp loads audio by link: pass storage"):
        await send_audio_message(
            to="+16505550123",
            sender=sender_of("wawp", sandbox.url),
            audio=str(audio_samples / "speech_voice.ogg"),
            ledger=ledger,
        )
    assert sandbox.truth()["sends"] == 0


@pytest.mark.ci
async def test_a_link_lives_no_longer_than_its_broadcast_needs(
    sandbox: RunningSandbox, ledger: Ledger, audio_samples: Path, s3_url: str
) -> None:
    storage, audio = await stored(audio_samples / "speech_voice.ogg", s3_url, "short-links")
    sender = sender_of("wawp", sandbox.url, messages_per_second=50, min_seconds_between=0, max_seconds_between=0)
    arguments: dict[str, Any] = {"sender": sender, "audio": audio, "storage": storage, "ledger": ledger}
    await broadcast_audio(broadcast="short-links", recipients=[*sample_numbers(3)], **arguments)
    await send_audio_message(to="+16505550123", **arguments)
    lives = {parse_qs(urlsplit(message["media"]).query)["X-Amz-Expires"][0] for message in sandbox.messages()}
    assert lives == {"86401", "86400"}


async def test_a_link_that_would_die_before_the_broadcast_ends_is_refused(
    sandbox: RunningSandbox, ledger: Ledger, audio_samples: Path, s3_url: str
) -> None:
    storage, audio = await stored(audio_samples / "speech_voice.ogg", s3_url, "links")
    sender = sender_of("wawp", sandbox.url, link_seconds=100, min_seconds_between=30, max_seconds_between=60)
    with pytest.raises(InputError, match=r"expire after 100 s.*about 450 s.*link_seconds"):
        await broadcast_audio(
            broadcast="links",
            sender=sender,
            audio=audio,
            recipients=[*sample_numbers(10)],
            storage=storage,
            ledger=ledger,
        )
    assert sandbox.truth()["sends"] == 0


async def test_no_cards_are_refused(sandbox: RunningSandbox, ledger: Ledger) -> None:
    with pytest.raises(InputError, match="contacts is empty"):
        await broadcast_contacts(
            broadcast="none",
            sender=sender_of("graph", sandbox.url),
            contacts=[],
            recipients=["+16505550123"],
            ledger=ledger,
        )
    assert sandbox.truth()["sends"] == 0
