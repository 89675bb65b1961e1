"""A person's way through the forms of Prefect's older UI (V1), which log links and "Switch to V1 UI" lead to."""

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from browser import NEEDS_CHROMIUM, OlderBrowser, chromium

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def _browser(_stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OlderBrowser]:
    folder = tmp_path_factory.mktemp("chromium")
    with chromium(_stack.url, folder, login=_stack.login, kind=OlderBrowser) as browser:
        yield browser


@pytest.fixture
def browser(_browser: OlderBrowser, stack: Any) -> OlderBrowser:
    """A tab on the UI of a server with nothing sent yet."""
    return _browser


def test_a_person_chooses_saved_blocks_and_the_broadcast_waits_for_approval(stack: Any, browser: OlderBrowser) -> None:
    deployment = stack.ask("GET", "/deployments/name/broadcast-audio/voice-note-to-a-list")["id"]
    browser.open(f"/deployments/deployment/{deployment}/run")
    browser.write("Broadcast", "older-form")
    for service in ("ChatApiCredentials", "WawpCredentials", "WahaCredentials", "GraphCredentials"):
        browser.choose_tab("Sender", service)
        browser.choose_block("Sender", "sandbox")
    browser.write("Audio", "weekly.mp3")
    browser.write("Recipients", "list.csv")
    browser.choose_tab("Storage", "S3Bucket")
    browser.choose_block("Storage", "sandbox")
    browser.choose_tab("Ledger", "Ledger")
    browser.choose_block("Ledger", "embedded")
    browser.click("Submit")
    run = stack.find_run("older-form")
    assert "is not valid under any of the given schemas" not in browser.text()
    assert stack.reached(run, "PAUSED", "FAILED", "CRASHED")["state_type"] == "PAUSED"
    assert stack.truth()["sends"] == 0
    stack.ask("POST", f"/flow_runs/{run}/resume")
    assert stack.ended(run)["state_name"] == "Completed"
    assert stack.truth()["accepted_total"] == 40


def test_an_account_without_its_credential_is_not_saved(stack: Any, browser: OlderBrowser) -> None:
    browser.open("/blocks/catalog/whatsapp-graph-credentials/create")
    browser.see("developers.facebook.com")
    assert "Access token (Optional)" not in browser.text()
    saved = len(stack.ask("POST", "/block_documents/filter", {}))
    browser.click("Create")
    browser.see("Access token is required")
    browser.see("Phone number id is required")
    assert len(stack.ask("POST", "/block_documents/filter", {})) == saved
