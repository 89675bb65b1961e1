"""The table on the README's first screen: each cell is what happens on the sandbox.

Each column has a test of its name, which runs for each provider: `test_voice_note[graph]` is the cell of that row and column.
"""

import datetime
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect_whatsapp.models import Audio, Contact, Recipient
from prefect_whatsapp.models.errors import AudioError, UnsupportedError
from prefect_whatsapp.sandbox.s3 import bucket_block
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.tasks import fetch_audio, send_audio, send_contacts, upload_media
from pydantic import SecretStr
from senders import PROVIDERS, sender_of

README = Path(__file__).parents[2] / "README.md"
TO = "+16505550123"
ADA = Contact(name="Ada Byron", phone="+16505550199")
CHARLES = Contact(name="Charles Babbage", phone="+16505550198")
QUOTED = {"graph": "wamid.HBgLMTY1MDU1NTAxMjM"}


def read_table() -> dict[str, dict[str, str]]:
    """The first table: provider → feature → cell."""
    lines = [line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines[:6])
    return {row[0].split()[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


TABLE = read_table()


def slug(feature: str) -> str:
    """`channel @newsletter` is the column of `test_channel_newsletter`."""
    return re.sub(r"\W+", "_", feature).strip("_")


def test_every_cell_has_a_test_of_its_name(request: pytest.FixtureRequest) -> None:
    collected = {item.name for item in request.session.items if item.path == Path(__file__)}
    if len(collected) < len(PROVIDERS) * 2:
        pytest.skip("needs the whole file: some of its tests were deselected")
    cells = {f"test_{slug(feature)}[{provider}]" for provider, row in TABLE.items() for feature in row}
    assert set(TABLE) == set(PROVIDERS)
    assert cells <= collected


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> str:
    """Each row in turn."""
    return str(request.param)


@pytest.fixture
def cell(provider: str, request: pytest.FixtureRequest) -> str:
    """What the table says of the provider in the column that the test is named after."""
    column = request.function.__name__.removeprefix("test_")
    return next(text for feature, text in TABLE[provider].items() if slug(feature) == column)


@pytest.fixture
def sender(provider: str, sandbox: RunningSandbox) -> Any:
    """The provider's account in the sandbox."""
    return sender_of(provider, sandbox.url)


@pytest.fixture(scope="module")
def storage(s3_url: str) -> Any:
    """A bucket for the service that loads by link."""
    return bucket_block(s3_url, "features")


@pytest.fixture(scope="module")
def files(audio_samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Audio]:
    """Fetch a sample."""
    folder = tmp_path_factory.mktemp("audio")
    return lambda name: fetch_audio.fn(str(audio_samples / name), directory=folder)


@pytest.fixture
def voice(files: Callable[[str], Audio], sender: Any, storage: Any) -> Audio:
    """A voice note where the service takes it from."""
    note: Audio = upload_media.fn(files("speech_voice.ogg"), sender, storage=storage)
    return note


def said(cell: str, refused: BaseException | None) -> None:
    """Hold the cell to what happened."""
    assert cell in {"yes", "no"}
    assert (refused is None) is (cell == "yes"), refused


def attempt(send: Callable[[], Any]) -> BaseException | None:
    """Send, and give the refusal."""
    try:
        assert send().status == "accepted"
    except (UnsupportedError, AudioError) as refused:
        return refused
    return None


def test_voice_note(cell: str, voice: Audio, sender: Any, sandbox: RunningSandbox) -> None:
    said(cell, attempt(lambda: send_audio.fn(voice, TO, sender)))
    (message,) = sandbox.messages()
    assert (message["kind"], message["voice"], message["recipient"]) == ("audio", True, TO[1:])


def test_basic_audio(
    cell: str, provider: str, files: Callable[[str], Audio], sender: Any, storage: Any, sandbox: RunningSandbox
) -> None:
    def send() -> Any:
        song = upload_media.fn(files("speech_cover.mp3"), sender, storage=storage)
        return send_audio.fn(song, TO, sender, voice=False)

    said(cell, attempt(send))
    assert [message["voice"] for message in sandbox.messages()] == ([False] if cell == "yes" else [])


def test_service_converts(cell: str, files: Callable[[str], Audio], sender: Any, storage: Any) -> None:
    def send() -> Any:
        song = upload_media.fn(files("speech_cover.mp3"), sender, storage=storage)
        return send_audio.fn(song, TO, sender, convert=True)

    said(cell, attempt(send))


def test_audio_goes_as(cell: str, voice: Audio, sender: Any, sandbox: RunningSandbox) -> None:
    assert sender.dialect().carries_audio == cell
    send_audio.fn(voice, TO, sender)
    media = sandbox.messages()[-1]["media"]
    form = "link" if media.startswith("http") else "media id" if media.isdecimal() else "inline"
    assert form == cell
    assert sandbox.truth()["uploads"] == (cell == "media id")


def test_contact_card(cell: str, sender: Any, sandbox: RunningSandbox) -> None:
    said(cell, attempt(lambda: send_contacts.fn([ADA], TO, sender)))
    assert "Ada Byron" in str(sandbox.messages()[-1]["body"])


def test_several_cards(cell: str, sender: Any, sandbox: RunningSandbox) -> None:
    said("yes", attempt(lambda: send_contacts.fn([ADA, CHARLES], TO, sender)))
    lost = " ".join(sender.dialect().contact_losses([ADA, CHARLES]))
    assert ("names" in lost) == (cell == "without names")
    assert sandbox.messages()[-1]["cards"] == 2


def test_group_g_us(cell: str, voice: Audio, sender: Any) -> None:
    for send in (lambda to: send_audio.fn(voice, to, sender), lambda to: send_contacts.fn([ADA], to, sender)):
        said(cell, attempt(lambda send=send: send("120363000000001234@g.us")))


def test_channel_newsletter(cell: str, voice: Audio, sender: Any) -> None:
    said(cell, attempt(lambda: send_audio.fn(voice, "120363000000001234@newsletter", sender)))


def test_quote_a_message(cell: str, provider: str, voice: Audio, sender: Any, sandbox: RunningSandbox) -> None:
    quoted = QUOTED.get(provider, "false_16505550123@c.us_3EB0AAAA")
    to = Recipient(to=TO, reply_to=quoted)
    assert attempt(lambda: send_audio.fn(voice, to, sender)) is None
    said("yes" if cell == "voice notes" else cell, attempt(lambda: send_contacts.fn([ADA], to, sender)))
    quoting = [message["reply_to"] for message in sandbox.messages()]
    lost = " ".join(sender.dialect().contact_losses([ADA], quotes=True))
    assert quoting == [quoted, "" if cell == "voice notes" else quoted]
    assert ("quote" in lost) == (cell == "voice notes")


def test_account_check(cell: str, sender: Any, sandbox: RunningSandbox) -> None:
    assert sender.check().ready is (cell == "yes")
    assert sandbox.truth()["checks"] == 1


def test_signed_webhooks(cell: str, sender: Any) -> None:
    fields = type(sender).model_fields
    secret = next(name for name in fields if name.startswith(("app_secret", "webhook_")))
    keyed = sender.model_copy(update={secret: SecretStr("key")})
    ways = [{"webhook_header": ""}, {"webhook_header": "X-Signature"}] if "webhook_header" in fields else [{}]
    signs = {not keyed.model_copy(update=way).webhooks().secret_in_path for way in ways}
    assert cell == ("optional" if len(signs) > 1 else "yes" if signs == {True} else "no")


def test_lost_answer_looked_up(cell: str, sender: Any) -> None:
    dialect = sender.dialect()
    now = datetime.datetime.now(datetime.UTC)
    look_up = dialect.sent_messages(Recipient.parse(TO), now, now) if cell == "in the chat" else None
    assert dialect.has_history is (look_up is not None)
    if look_up:
        assert next(look_up).repeatable  # it asks the service, and asking harms nobody


def test_pace_unless_set(cell: str, sender: Any) -> None:
    usual = type(sender)()
    if usual.random_spacing:
        assert cell == "{:g}–{:g} s apart".format(*usual.random_spacing)
    else:
        assert cell == f"{usual.messages_per_second:g} a second"
