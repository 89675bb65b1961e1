"""The pytest plugin, as a team uses it: in a repository of their own, within Prefect's test harness."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect_whatsapp.sandbox.faults import FaultKind

pytestmark = [pytest.mark.ci, pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(900)]

PAGE = (Path(__file__).parents[2] / "docs/how-to/testing.md").read_text(encoding="utf-8")
# The page's own; on a busy machine Prefect's server takes longer to start than the harness waits by default.
CONFTEST = (
    PAGE.split("```python\n")[1].split("```")[0].replace("test_harness()", "test_harness(server_startup_timeout=240)")
)

TESTS = """
import asyncio

import pytest
from prefect_whatsapp.blocks import GraphCredentials, Ledger
from prefect_whatsapp.flows import broadcast_contacts
from prefect_whatsapp.models import Contact

CARDS = [Contact(name="Ada Byron", phone="+16505550199")]
NUMBERS = ["+16505550110", "+16505550111", "+16505550112"]


@pytest.mark.parametrize("provider", ["graph", "waha"])
def test_the_same_name_in_two_tests_is_two_broadcasts(whatsapp_sandbox, whatsapp_sender, provider):
    report = asyncio.run(broadcast_contacts("weekly", whatsapp_sender(provider), CARDS, NUMBERS))
    assert (report.accepted, whatsapp_sandbox.truth()["accepted_total"]) == (3, 3)


def test_a_lost_answer_is_unknown(whatsapp_sandbox, whatsapp_sender):
    whatsapp_sandbox.faults(kind="drop", accepted=True, recipients=[NUMBERS[1]])
    report = asyncio.run(broadcast_contacts("weekly", whatsapp_sender(), CARDS, NUMBERS))
    assert (report.accepted, report.unknown) == (2, 1)


@pytest.mark.parametrize("provider", ["graph", "chat-api", "wawp", "waha"])
def test_what_the_phones_tell(whatsapp_sandbox, whatsapp_receiver, whatsapp_sender, provider):
    whatsapp_sandbox.phones(does="read", seconds=0.01)
    sender = whatsapp_sender(provider)
    report = asyncio.run(broadcast_contacts("weekly", sender, CARDS, NUMBERS, wait_for_receipts=1))
    assert (report.accepted, report.read) == (3, 3)


def test_saved_blocks(whatsapp_blocks, tmp_path):
    sender, ledger = GraphCredentials.load(whatsapp_blocks), Ledger.load(whatsapp_blocks)
    report = asyncio.run(broadcast_contacts("weekly", sender, CARDS, NUMBERS, ledger=ledger))
    assert report.complete
    assert list(tmp_path.glob("*.db"))
"""


def test_the_page_names_every_fault() -> None:
    assert not [kind for kind in FaultKind if f"| `{kind.value}` |" not in PAGE]


def test_a_repository_of_ones_own_tests_its_broadcasts_twice_alike(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_own.py").write_text(TESTS)
    home = tmp_path / "home"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
            capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=400,
        )  # fmt: skip
        assert "8 passed" in run.stdout, run.stdout[-3000:]
    assert not list(home.rglob("ledger.db")), "a test wrote the ledger of this machine"
