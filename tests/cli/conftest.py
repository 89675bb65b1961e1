"""The command in a process of its own, and a ledger that has everything in it."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.flows import broadcast_contacts
from prefect_whatsapp.models import Contact
from prefect_whatsapp.sandbox.processes import Process
from prefect_whatsapp.sandbox.samples import sample_numbers
from prefect_whatsapp.sandbox.server import RunningSandbox
from pydantic import SecretStr
from senders import sender_of

Completed = subprocess.CompletedProcess[str]
Command = Callable[..., Completed]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `prefect-whatsapp` with these arguments."""

    def run(*arguments: str, more: Mapping[str, str] | None = None) -> Completed:
        environment = os.environ | {"PREFECT_HOME": str(tmp_path / "home"), "COLUMNS": "160"} | (more or {})
        return subprocess.run(
            [sys.executable, "-m", "prefect_whatsapp.cli", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


NUMBERS = [*sample_numbers(10)]


@pytest.fixture(scope="session")
def numbers() -> list[str]:
    """To whom the ledger's first broadcast went."""
    return NUMBERS


@pytest.fixture(scope="module")
async def ledger(_server: Process, _sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ledger with two broadcasts: one with a row in each state and two rows removed, one that went well."""
    folder = tmp_path_factory.mktemp("books")
    people = folder / "list.csv"
    people.write_text("phone,name\n" + "".join(f"{n},Person {i}\n" for i, n in enumerate(NUMBERS)) + "hello,Nobody\n")
    with people.open("a") as file:
        file.write(f"{NUMBERS[0]},Twice\n")
    _sandbox.reset()
    _sandbox.faults(kind="drop", accepted=True, recipients=[NUMBERS[1]])
    _sandbox.faults(kind="window", recipients=[NUMBERS[2]])
    _sandbox.faults(kind="error", code=131026, details=f"no WhatsApp at {NUMBERS[3]}", recipients=[NUMBERS[3]])
    sender = sender_of("graph", _sandbox.url)
    cards = [Contact(name="Ada Byron", phone="+16505550199")]
    book = Ledger(url=SecretStr(str(folder / "ledger.db")))
    with temporary_settings({PREFECT_API_URL: f"{_server.url}/api", PREFECT_HOME: folder}):
        await broadcast_contacts("mixed", sender, cards, str(people), ledger=book, max_messages=8)
        _sandbox.behave()
        await broadcast_contacts("fine", sender, cards, [NUMBERS[9]], ledger=book)
    return str(folder / "ledger.db")
