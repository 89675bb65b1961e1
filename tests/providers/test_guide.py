"""The provider of ADDING_A_PROVIDER.md, in a folder of its own as an installed package has it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from snippets import read_snippets

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "ADDING_A_PROVIDER.md"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide's files and what an installer writes beside them."""
    folder = tmp_path_factory.mktemp("site")
    snippets = read_snippets(GUIDE)
    for snippet in snippets:
        if snippet.title:
            (folder / snippet.title).write_text(snippet.text, encoding="utf-8")
    [entry_point] = [snippet.text for snippet in snippets if snippet.language == "toml"]
    information = folder / "pigeon-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: pigeon\nVersion: 1.0\n", encoding="utf-8")
    written = re.sub(r"\[project\.entry-points\.\"(.*)\"\]", r"[\1]", entry_point).replace('"', "")
    (information / "entry_points.txt").write_text(written, encoding="utf-8")
    return folder


def run(package: Path, program: str, *arguments: str, **environment: str) -> dict[str, object]:
    """Run a program that prints JSON where the package is installed."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(package), "DO_NOT_TRACK": "1", **environment},
        cwd=package,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not done.returncode, done.stderr[-3000:]
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return told


_LISTED = """
import asyncio, json
from typing import get_args
from prefect_whatsapp.blocks import WhatsAppNotification
from prefect_whatsapp.cli.app import demo
from prefect_whatsapp.flows import broadcast_audio, send_contact_message
from prefect_whatsapp.models import Contact, Recipient
from prefect_whatsapp.sandbox.faults import Fault
from prefect_whatsapp.sandbox.sender import sandbox_sender
from prefect_whatsapp.sandbox.server import ThreadedSandbox
from prefect_whatsapp.tasks import send_contacts
from prefect_whatsapp.models.errors import AccountError

def tabs(flow):
    senders = flow.parameters.model_dump()["properties"]["sender"]["anyOf"]
    return [each["title"] for each in senders]

with ThreadedSandbox() as sandbox:
    sender = sandbox_sender("pigeon", sandbox.url)
    receipt = send_contacts.fn([Contact(name="Ada Byron", phone="+16505550199")], "+16505550123", sender)
    sandbox.faults(Fault(kind="expired_token", service="pigeon", on="send"))
    try:
        notification = WhatsAppNotification(sender=sender, to="+16505550123")
        with notification.raise_on_failure():
            asyncio.run(notification.notify("Hello"))
        refused = ""
    except Exception as error:
        refused = type(error.__cause__).__name__
    sends = sandbox.truth()["accepted_total"]
print(json.dumps({
    "tabs": tabs(broadcast_audio), "single": tabs(send_contact_message), "id": receipt.message_id, "provider": receipt.provider,
    "refused": refused, "sends": sends, "choices": get_args(demo.__annotations__["provider"]),
}))
"""


@pytest.mark.slow
def test_an_installed_provider_has_a_tab_a_choice_and_a_simulator_and_is_sent_with(package: Path) -> None:
    told = run(package, _LISTED)
    assert told["tabs"] == told["single"] == ["Meta Graph", "Chat-API", "Wawp", "WAHA", "Pigeon"]
    assert "pigeon" in told["choices"]  # type: ignore[operator]
    assert (told["id"], told["provider"], told["sends"]) == ("flight-1", "pigeon", 1)
    assert told["refused"] == "AccountError"


_PLUGIN_FIRST = """
import json
from pigeon_block import PigeonCredentials
from prefect_whatsapp.flows import broadcast_audio
print(json.dumps([each["title"] for each in broadcast_audio.parameters.model_dump()["properties"]["sender"]["anyOf"]]))
"""


@pytest.mark.ci
def test_a_provider_that_is_imported_before_this_package_has_its_tab_too(package: Path) -> None:
    assert "Pigeon" in run(package, _PLUGIN_FIRST)


@pytest.mark.ci
def test_a_provider_that_cannot_be_imported_is_left_out(package: Path) -> None:
    (package / "pigeon_provider.py").rename(package / "away.py")
    try:
        assert "Pigeon" not in run(package, _PLUGIN_FIRST)
    finally:
        (package / "away.py").rename(package / "pigeon_provider.py")


_BROADCAST = """
import asyncio, json, sys
from pathlib import Path
from prefect_whatsapp.flows import broadcast_audio
from prefect_whatsapp.sandbox.sender import sandbox_sender
from prefect_whatsapp.sandbox.server import RunningSandbox

from prefect_whatsapp.cli.app import app

audio, = sys.argv[1:]
with RunningSandbox() as sandbox:
    sender = sandbox_sender("pigeon", sandbox.url)
    sender.save("weekly", overwrite=True)
    report = asyncio.run(broadcast_audio(
        broadcast="weekly", sender=sender, audio=audio, recipients=["+16505550101", "+16505550102", "+16505550103"]
    ))
    Path("cards.json").write_text('{"name": "Ada Byron", "phone": "+16505550199"}')
    try:
        app(["broadcast", "cards", "--sender", "pigeon/weekly", "--contacts", "cards.json", "--recipients", "+16505550104",
             "--recipients", "+16505550105", "--json"])
    except SystemExit as end:
        code = end.code
    truth = sandbox.truth()
print(json.dumps({"accepted": report.accepted, "sends": truth["accepted_total"], "twice": truth["duplicates_total"],
                  "code": code}))
"""


@pytest.mark.ci
@pytest.mark.server
def test_an_installed_provider_broadcasts_by_the_flow_and_by_the_command(
    package: Path, tmp_path: Path, prefect_api: str, audio_samples: Path
) -> None:
    told = run(
        package,
        _BROADCAST,
        str(audio_samples / "speech_voice.ogg"),
        PREFECT_HOME=str(tmp_path / "prefect"),
        PREFECT_API_URL=prefect_api,
    )
    assert told == {"accepted": 3, "sends": 5, "twice": 0, "code": 0}
