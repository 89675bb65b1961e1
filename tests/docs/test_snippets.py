"""Every Python and console block of the documents, run in order as a reader would, on the sandbox."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_whatsapp.blocks import Ledger, WhatsAppNotification
from prefect_whatsapp.sandbox.processes import Process
from prefect_whatsapp.sandbox.s3 import CREDENTIALS, bucket_block
from prefect_whatsapp.sandbox.samples import write_recipients, write_sample_mp3
from prefect_whatsapp.sandbox.server import RunningSandbox
from pydantic import SecretStr
from senders import PROVIDERS, sender_of
from snippets import RUN, SHOWN, Runner, Snippet, read_snippets

ROOT = Path(__file__).parents[2]
# In this order, since automations name what `schedule.md` deploys.
DOCUMENTS = (
    "README.md",
    "ADDING_A_PROVIDER.md",
    "CONTRIBUTING.md",
    "deployments/README.md",
    "docs/README.md",
    "docs/tutorial.md",
    *(
        f"docs/how-to/{name}.md"
        for name in (
            *("credentials", "schedule", "resume", "automations", "scale-out", "own-flow"),
            *("personal-data", "who-can-read-what"),
        )
    ),
    "docs/security.md",
    *(f"docs/services/{name}.md" for name in ("README", "graph", "waha", "wawp", "chat-api")),
)
PAGES = tuple(f"docs/reference/{page.name}" for page in sorted((ROOT / "docs" / "reference").glob("*.md")))
SNIPPETS = [snippet for name in DOCUMENTS for snippet in read_snippets(ROOT / name)]
EXAMPLES = [s for name in PAGES for s in read_snippets(ROOT / name) if s.language == "python"]

SENT = "sent"
# What the examples of docstrings take for granted.
PRELUDE = """
from prefect_whatsapp.blocks import *
from prefect_whatsapp.flows import *
from prefect_whatsapp.models import *
from prefect_whatsapp.tasks import *
sender = GraphCredentials.load("weekly")
note = prepare_voice(fetch_audio("weekly.mp3"))
"""

# All snippets run before the first test: some 40 processes that import Prefect.
# `make up` writes the one, a reader of ADDING_A_PROVIDER.md the others.
_MADE_BY_THE_READER = re.compile(r"^\.up/|pigeon")
pytestmark = [pytest.mark.ci, pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
async def faults_found(
    _server: Process, _sandbox: RunningSandbox, s3_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What is wrong with each snippet; they run once, in order, because a later one may use what an earlier one did."""
    folder = tmp_path_factory.mktemp("reader")
    api = f"{_server.url}/api"
    for bucket in ("broadcasts", "bucket"):
        storage = bucket_block(s3_url, bucket)
        await storage.aupload_from_path(write_sample_mp3(folder / "weekly.mp3"), "weekly.mp3")
        await storage.aupload_from_path(write_recipients(folder / "list.csv", 20), "list.csv")
    for name in ("prefect.yaml", "deployments"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "greeting.mp3").write_bytes((folder / "weekly.mp3").read_bytes())
    _sandbox.reset()
    with temporary_settings({PREFECT_API_URL: api}):
        for name in ("weekly", "mine"):
            await sender_of("graph", _sandbox.url).asave(name, overwrite=True)
        for provider in PROVIDERS:
            await sender_of(provider, _sandbox.url).asave("block-name", overwrite=True)
        await Ledger().asave("block-name", overwrite=True)
        alerts = WhatsAppNotification(sender=sender_of("waha", _sandbox.url), to="+16505550123")
        await alerts.asave("block-name", overwrite=True)
        await Secret(value=SecretStr("+16505550123")).asave("my-phone", overwrite=True)
    environment = {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL": s3_url,
        "PREFECT_API_URL": api,
        "PREFECT_HOME": str(folder / "home"),
    }
    runner = Runner(folder, ROOT, environment)
    # What the tutorial lets the reader do in the UI.
    form = "prefect-whatsapp broadcast spring-greeting --sender graph/weekly --audio weekly.mp3 --recipients list.csv"
    found = {"the form": runner.run(Snippet("tutorial.md", 0, "console", f"$ {form}"))}
    found |= {str(snippet): runner.run(snippet) for snippet in SNIPPETS if snippet.language in RUN}
    kinds = Counter(message["kind"] for message in _sandbox.messages())
    found |= {SENT: ", ".join(f"{count} {kind}" for kind, count in kinds.items())}
    found |= runner.run_examples([_saved(example) for example in EXAMPLES], PRELUDE)
    async with httpx.AsyncClient(base_url=api, trust_env=False) as client:  # else they act in later tests too
        for automation in (await client.post("/automations/filter", json={})).raise_for_status().json():
            (await client.delete(f"/automations/{automation['id']}")).raise_for_status()
    return found


def _saved(example: Snippet) -> Snippet:
    """Prefect's docstrings name a block BLOCK_NAME, which no block may be called."""
    return replace(example, text=example.text.replace("BLOCK_NAME", "block-name"))


@pytest.mark.parametrize("snippet", [each for each in SNIPPETS if each.language in RUN], ids=str)
def test_a_snippet_runs(faults_found: dict[str, str], snippet: Snippet) -> None:
    assert not faults_found[str(snippet)]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_of_a_docstring_runs(faults_found: dict[str, str], example: Snippet) -> None:
    assert not faults_found[str(example)]


def test_the_snippets_sent_what_they_say(faults_found: dict[str, str]) -> None:
    """Three lists of 20 and three voice notes to one; a card to one, and a broadcast of cards to two; a notification."""
    assert not faults_found["the form"]
    assert faults_found[SENT] == "63 audio, 5 contacts, 1 text"


@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
def test_a_snippets_language_says_whether_it_is_run(snippet: Snippet) -> None:
    assert snippet.language in RUN | SHOWN


def test_the_first_screen_has_the_two_commands_and_a_flow_of_ten_lines() -> None:
    commands, flow = read_snippets(ROOT / "README.md")[:2]
    assert commands.commands == ["make demo", "make test"]
    imports_aside = [line for line in flow.text.splitlines() if line and not line.startswith(("from ", "import "))]
    assert "@flow" in flow.text
    assert "send_audio" in flow.text
    assert len(imports_aside) <= 10
    assert len([line for line in flow.text.splitlines() if line]) <= 11


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_file_that_a_document_names_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|[A-Z_]+\.md|[\w-]+\.(?:txt|toml|yaml|env))`", text)
    around = (ROOT, (ROOT / name).parent)
    missing = [path for path in named if not path.startswith("/") and not any((at / path).exists() for at in around)]
    missing = [path for path in missing if not _MADE_BY_THE_READER.search(path)]
    assert not missing


@pytest.mark.parametrize("name", [*DOCUMENTS, *PAGES, "CHANGELOG.md"])
def test_every_link_of_a_document_leads_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("https://", "http://")):
            continue
        file, _, heading = target.partition("#")
        where = (page.parent / file).resolve() if file else page
        assert where.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", where.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in slugs, target


def test_every_make_target_that_a_document_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        t for name in DOCUMENTS for t in re.findall(r"`make ([a-z-]+)`", (ROOT / name).read_text(encoding="utf-8"))
    }
    assert named <= targets
