"""After runs of each provider that succeed and fail, no token and no whole number is in anything that was written."""

import base64
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from canary_receiver import NAME, TEXT
from postgres import Postgres, find_binaries
from prefect_whatsapp.cli.prefect_server import prefect_server
from prefect_whatsapp.sandbox.server import RunningSandbox
from prefect_whatsapp.sandbox.settings import SandboxSettings
from senders import PROVIDERS

pytestmark = [pytest.mark.ci, pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(900)]

# What a URL has to spell otherwise, between two words that it doesn't.
TOKEN = "CANARYhead+/=&%41'~CANARYtail"
WRONG_TOKEN = "MOCKINGhead+/=&%41'~MOCKINGtail"
LEDGER_PASSWORD = "CANARYhead.of-the-ledger.CANARYtail"
WEBHOOK_SECRET = "CANARYhead.of-webhooks.CANARYtail"  # which may stand in a path
NUMBERS = [f"+198755501{n:02d}" for n in range(10)]
BASE64 = re.compile(rb"[A-Za-z0-9+/\n]{60,}={0,2}")
WHOLE_NUMBER = re.compile(rb"987(?:[\s().+-]|%20){0,3}555(?:[\s().-]|%20){0,3}01\d\d")
SECRETS = [
    spelled.encode()
    for token in (TOKEN, WRONG_TOKEN)
    for head in (token[:10], token[-10:])
    for spelled in {head, token, quote(token, safe=""), quote(token), quote_plus(token), json.dumps(token)}
]
# What a webhook tells of a person.
SECRETS += [part.encode() for told in (NAME, TEXT) for part in {told, quote(told), quote_plus(told)}]


@dataclass(frozen=True)
class Traces:
    """What the runs left behind.

    Attributes:
        folder: Everything that was written; the ledger alone is elsewhere.
        told: Each run with the type of what came of it.
    """

    folder: Path
    told: list[str]

    def files(self, under: str) -> list[Path]:
        """A file, or the files below a folder."""
        one = self.folder / under
        return [one] if one.is_file() else [path for path in one.rglob("*") if path.is_file()]

    def contents(self, under: str) -> Iterator[tuple[str, bytes]]:
        """Each file's name and bytes, also as they are once base64 is undone: so does Prefect store pickles."""
        for path in self.files(under):
            content, name = path.read_bytes(), str(path.relative_to(self.folder))
            yield name, content
            for text in BASE64.findall(content.replace(rb"\n", b"")):
                plain = text.replace(b"\n", b"").rstrip(b"=")
                yield f"{name}, base64 undone", base64.b64decode(plain[: len(plain) // 4 * 4])

    def found(self, under: str) -> list[str]:
        """Each place in a file or folder where a secret or a whole number stands."""
        places = []
        for name, content in self.contents(under):
            for secret in SECRETS:
                if secret in content:
                    at = content.index(secret)
                    places.append(f"{name}: token after {content[max(0, at - 80) : at]!r}")
            for number in WHOLE_NUMBER.finditer(content):
                places.append(f"{name}: number in {content[max(0, number.start() - 80) : number.end() + 10]!r}")
        return places


@contextmanager
def postgres_ledgers() -> Iterator[list[str]]:
    """The address of an empty ledger in PostgreSQL; none where there is no PostgreSQL."""
    if find_binaries() is None:
        yield []
        return
    with Postgres(settings=("fsync=off",), password=LEDGER_PASSWORD) as server:
        yield [server.url()]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory, s3_url: str, audio_samples: Path) -> Traces:
    """Run everything once, stop the server, and keep what was written."""
    folder, apart = tmp_path_factory.mktemp("traces"), tmp_path_factory.mktemp("apart")
    for name in ("notes", "results", "home"):
        (folder / name).mkdir()
    (apart / "list.csv").write_text("phone\n" + "\n".join(NUMBERS) + "\n+1987555\n")
    (apart / "numbers.txt").write_text("\n".join(NUMBERS))
    with (
        RunningSandbox(SandboxSettings(token=TOKEN)) as sandbox,
        prefect_server(folder / "server", settings={"PREFECT_LOGGING_SERVER_LEVEL": "DEBUG"}) as server,
        postgres_ledgers() as postgres,
    ):
        setup: dict[str, Any] = {
            "token": TOKEN,
            "wrong_token": WRONG_TOKEN,
            "sandbox": sandbox.url,
            "s3": s3_url,
            "audio": str(audio_samples / "speech_voice.ogg"),
            "list": str(apart / "list.csv"),
            "numbers": str(apart / "numbers.txt"),
            "ledger": str(apart / "ledger.db"),
            "postgres": postgres,
            "notes": str(folder / "notes"),
            "results": str(folder / "results"),
            "log": str(folder / "debug.log"),
            "told": str(apart / "told.json"),
            "webhook_secret": WEBHOOK_SECRET,
        }
        (apart / "setup.json").write_text(json.dumps(setup))
        environment = {
            "PREFECT_API_URL": f"{server.url}/api",
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_LOCAL_STORAGE_PATH": str(folder / "results"),
            "PREFECT_LOGGING_TO_API_ENABLED": "true",
            "PREFECT_LOGGING_LEVEL": "DEBUG",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "httpx,httpcore,aiohttp,botocore,prefect_whatsapp",
            "PYTHONPATH": str(Path(__file__).parents[1] / "support"),
        }
        with (folder / "output.txt").open("wb") as output:
            done = subprocess.run(
                [
                    sys.executable,
                    str(Path(__file__).parents[1] / "support" / "canary_runner.py"),
                    str(apart / "setup.json"),
                ],
                env=os.environ | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=800,
                cwd=folder,
            )
    assert done.returncode == 0, (folder / "output.txt").read_text()[-3000:]
    return Traces(folder, json.loads((apart / "told.json").read_text()))


def test_the_runs_went_well_and_badly_as_they_were_to(traces: Traces) -> None:
    """Else nothing could have leaked."""
    told = Counter(traces.told)
    for provider in PROVIDERS:
        for kind in ("audio", "contacts"):
            assert told[f"{provider}-{kind} succeeds: Report"] == 1
            assert told[f"{provider}-{kind} refused: AccountError"] == 1
            assert told[f"{provider}-{kind} stopped: BroadcastStoppedError"] == 1
        for form in ("json", "pickle"):
            assert told[f"send-audio {provider} {form}: Receipt"] == 4
            assert told[f"send-contacts {provider} {form}: Receipt"] == 4
        assert sum(n for line, n in told.items() if line.startswith(f"sync send-audio {provider}:")) == 4
        assert sum("Error" in line and f"send-audio {provider} pickle" in line for line in told) > 0
        for code in (200, 400, 401, 503):
            assert told[f"receiver {provider}: {code}"] > 0
    if find_binaries() is not None:
        assert told["graph-audio in PostgreSQL: Report"] == 1


@pytest.mark.parametrize("form", [bytes, base64.encodebytes], ids=["plain", "base64"])
def test_the_search_finds_what_it_looks_for(tmp_path: Path, form: Any) -> None:
    for planted in (
        TOKEN,
        WEBHOOK_SECRET,
        NAME,
        f"body: {TEXT}",
        quote(TOKEN, safe=""),
        "x" + TOKEN[-10:],
        NUMBERS[0],
        "1 (987) 555-0104",
        "19875550109@c.us",
    ):
        (tmp_path / "planted.bin").write_bytes(form(b"\0\xff" * 30 + planted.encode() + b"\xfe" * 30))
        assert Traces(tmp_path, []).found(""), planted


@pytest.mark.parametrize(
    ("under", "has"),
    [
        ("debug.log", b"HTTP Request: POST"),
        ("debug.log", b"botocore.endpoint DEBUG"),
        ("debug.log", b"aiosqlite DEBUG"),
        ("debug.log", b"A webhook to graph/canary was refused"),
        ("output.txt", b"Finished in state"),
        ("server", b"send-audio"),
        ("server", b"prefect-whatsapp.reply.received"),
        ("server", b"prefect-whatsapp.broadcast.receipts"),
        ("notes", b"Receipt"),
        ("results", b"Receipt"),
        ("home", b""),
        ("", b""),
    ],
    ids=["logs at DEBUG", "botocore's logs", "aiosqlite's logs", "the receiver's logs",
         "the terminal", "Prefect's database and log", "the events of replies", "the events of receipts",
         "exceptions and receipts", "stored results", "Prefect's home", "anything else"],
)  # fmt: skip
def test_neither_token_nor_whole_number_is_in(traces: Traces, under: str, has: bytes) -> None:
    assert any(has in content for _, content in traces.contents(under)), "what was to be searched is not there"
    found = traces.found(under)
    assert not found, "\n".join(found[:10])


def test_the_database_shows_the_runs_and_their_artifacts(traces: Traces) -> None:
    """Else the search above looked at an empty database."""
    database = b"".join(path.read_bytes() for path in traces.files("server") if path.name.startswith("prefect.db"))
    for shown in (b"graph-audio", b"waha-contacts-stopped", b"Report of", b"rows that need a person", b"HTTP Request"):
        assert shown in database, shown
