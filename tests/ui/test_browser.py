"""A person's way through Prefect's real UI, by headless Chromium; its pictures are those of docs/."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from browser import NEEDS_CHROMIUM, Browser, chromium
from prefect_whatsapp.sandbox.samples import sample_numbers

pytestmark = NEEDS_CHROMIUM
GRAPH_SECONDS = 5.0  # in which the graph of a thousand runs is drawn
# `make docs-images` sets it; a test run leaves the tracked pictures alone.
IMAGES = os.environ.get("PREFECT_WHATSAPP_DOCS_IMAGES", "")


@pytest.fixture(scope="module")
def _browser(_stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(_stack.url, tmp_path_factory.mktemp("chromium"), login=_stack.login) as browser:
        yield browser


@pytest.fixture
def browser(_browser: Browser, stack: Any) -> Browser:
    """A tab on the UI of a server with nothing sent yet."""
    return _browser


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Where pictures of pages go."""
    return Path(IMAGES or tmp_path)


def test_a_person_fills_the_form_approves_the_plan_and_watches_the_broadcast(
    stack: Any, browser: Browser, images: Path
) -> None:
    stack.put("spring.csv", "phone\n" + "".join(f"+120155501{n:02d}\n" for n in range(40)))
    browser.open("/v2/deployments")
    browser.follow("voice-note-to-a-list")
    browser.click("Run")
    browser.press("menuitem", "Custom run")
    browser.write("Broadcast", "spring-greeting")
    browser.choose_tab("Sender", "Meta Graph")
    browser.choose_block("Sender", "sandbox")
    browser.write("Audio", "weekly.mp3")
    browser.write("Recipients", "spring.csv")
    browser.choose_tab("Storage", "S3 bucket")
    browser.choose_block("Storage", "sandbox")
    browser.top()
    browser.shoot(images / "form.png", height=1000)
    browser.click("Submit")
    browser.click("View run")
    browser.see("Suspended", seconds=60)  # no process waits
    browser.press("tab", "Artifacts")
    browser.see("Plan: 40 to send")
    browser.top()
    browser.shoot(images / "approval.png", height=700)
    assert stack.truth()["sends"] == 0
    stack.put("spring.csv", "phone\n+12015550199\n")  # the plan is frozen: what was approved is what goes
    browser.menu("Resume")
    browser.click("Resume")  # the dialog asks once more
    browser.see("Flow run resumed")
    browser.see("Completed", seconds=60)
    assert sorted(stack.truth()["accepted"]) == [f"120155501{n:02d}" for n in range(40)]
    run = browser.address
    browser.press("tab", "Artifacts")
    browser.follow("whatsapp-spring-greeting-plan")
    browser.follow_to("/artifacts/artifact/")
    browser.see("arrives as")
    assert [width for width, _ in browser.pictures()] == [640], "the plan shows the waveform"
    browser.shoot(images / "plan.png", height=1000)
    browser.open(run.removeprefix(stack.url))
    browser.press("tab", "Artifacts")
    browser.follow("whatsapp-spring-greeting-report")
    browser.follow_to("/artifacts/artifact/")
    browser.see("Report of spring-greeting")
    assert [width for width, _ in browser.pictures()] == [1280, 1280], "the outcome, and the sends over time"
    browser.shoot(images / "report.png", height=1000)


def test_each_send_is_a_task_run_with_a_masked_name_and_its_state(stack: Any, browser: Browser, images: Path) -> None:
    stack.fault(kind="window", recipients=["+12015550107"])
    stack.fault(kind="drop", accepted=True, on="send", recipients=["+12015550109"])
    run = stack.run("broadcast-audio/weekly-voice-note", {"broadcast": "masked"})
    browser.open(f"/v2/runs/flow-run/{run['id']}")
    browser.see("Needs attention")
    browser.press("tab", "Task Runs")
    browser.see("send-audio …01")
    browser.search("Search by run name", "…0107")
    browser.see("Skipped")
    browser.search("Search by run name", "…0109")
    browser.see("Unknown")
    browser.follow("send-audio …0109")
    browser.see("send-audio …0109")
    assert "20155501" not in browser.text()
    browser.open(f"/v2/runs/flow-run/{run['id']}?tab=Artifacts")
    browser.follow("whatsapp-masked-attention")
    browser.follow_to("/artifacts/artifact/")
    browser.see("next step")
    browser.see("skipped")
    assert "20155501" not in browser.text()
    browser.shoot(images / "attention.png", height=500)


def test_a_thousand_sends_are_task_runs_in_the_list_on_the_timeline_and_each_on_its_page(
    stack: Any, browser: Browser, images: Path
) -> None:
    stack.put("thousand.csv", "phone\n" + "\n".join(sample_numbers(1_000)) + "\n")
    run = stack.run("broadcast-audio/weekly-voice-note", {"broadcast": "thousand", "recipients": "thousand.csv"})
    asked = {
        "flow_runs": {"id": {"any_": [run["id"]]}},
        "task_runs": {"name": {"like_": "send-"}, "state": {"type": {"any_": ["COMPLETED"]}}},
    }
    assert stack.ask("POST", "/task_runs/count", asked) == 1_000
    page = f"/v2/runs/flow-run/{run['id']}"
    browser.open(page)
    browser.press("tab", "Task Runs")
    browser.see("send-audio …")
    time.sleep(GRAPH_SECONDS)
    browser.shoot(images / "task-runs.png", height=1000)
    browser.follow("send-audio …")
    browser.see("thousand")  # the flow run that it belongs to
    browser.see("Completed")
    browser.shoot(images / "task-run.png", height=700)


def test_the_report_goes_on_changing_as_receipts_come_in(stack: Any, browser: Browser, images: Path) -> None:
    """Before the receipts all are accepted; after them some were read and played, and one failed late."""
    stack.tell_sandbox("phones", {"does": "failed", "code": 131026, "recipients": ["+12015550107"], "seconds": 0})
    for does, fraction in (("played", 0.34), ("read", 0.5), ("delivered", 1.0)):
        stack.tell_sandbox("phones", {"does": does, "fraction": fraction, "seconds": 0})
    with stack.receiver("graph/weekly") as url:
        # Nothing comes before the first picture is taken: all of it is a day late, until the sandbox is asked to flush.
        stack.tell_sandbox("webhooks", {"service": "graph", "url": url, "late": 1.0, "at_most": 1000})
        run = stack.run("broadcast-audio/weekly-voice-note", {"broadcast": "spring-receipts"})
        page = f"/v2/runs/flow-run/{run['id']}?tab=Artifacts"
        browser.open(page)
        browser.follow("whatsapp-spring-receipts-report")
        browser.follow_to("/artifacts/artifact/")
        browser.see("Report of spring-receipts")
        before = browser.text()
        browser.shoot(images / "report-before-receipts.png", height=1000)
        stack.tell_sandbox("webhooks/flush")
        report = browser.address.removeprefix(stack.url)
        deadline = time.monotonic() + 90
        while "131026" not in browser.text():
            assert time.monotonic() < deadline, browser.text()
            time.sleep(2)
            browser.open(report)
            browser.see("Report of spring-receipts")
        after = browser.text()
        browser.top()
        browser.shoot(images / "report-after-receipts.png", height=1000)
    assert "20155501" not in after
    assert before != after


def test_choices_are_choices_and_the_blocks_forms_mask_secrets(browser: Browser, images: Path) -> None:
    browser.open("/v2/deployments")
    browser.follow("cards-to-a-list")
    browser.click("Run")
    browser.press("menuitem", "Custom run")
    assert browser.options("Unknown sends") == ["hold", "resend"]
    browser.choose_tab("Scale", "For large broadcasts")
    assert browser.options("Task runs") == ["send", "engine", "batch"]
    for service in ("Chat-API", "Wawp", "WAHA", "Meta Graph"):
        browser.choose_tab("Sender", service)
        browser.choose_block("Sender", "sandbox")
    browser.open("/v2/blocks/catalog/whatsapp-graph-credentials/create")
    browser.see("developers.facebook.com")
    assert browser.kind_of("Access token") == "password"
    assert "Access token (Optional)" not in browser.text(), "what sending needs is required"
    assert "App secret (Optional)" in browser.text()
    browser.shoot(images / "block.png", height=1000)


def test_a_pasted_column_of_numbers_is_taken_apart_and_the_dry_run_says_which_rows_were_removed(
    stack: Any, browser: Browser
) -> None:
    browser.open("/v2/deployments")
    browser.follow("voice-note-to-a-list")
    browser.click("Run")
    browser.press("menuitem", "Custom run")
    browser.write("Broadcast", "pasted")
    browser.choose_tab("Sender", "Meta Graph")
    browser.choose_block("Sender", "sandbox")
    browser.write("Audio", "weekly.mp3")
    browser.write("Recipients", "+12015550120\n+1201555012\n+12015550121")
    browser.choose_tab("Storage", "S3 bucket")
    browser.choose_block("Storage", "sandbox")
    browser.switch("Dry run")
    browser.click("Submit")
    browser.click("View run")
    browser.see("Dry run: nothing was sent; 2 would be sent, 1 removed from the list", seconds=90)
    browser.press("tab", "Artifacts")
    browser.see("Rows removed from the list: 1, by line and reason")
    browser.follow("whatsapp-pasted-removed")
    browser.follow_to("/artifacts/artifact/")
    browser.see("not a possible phone number")
    assert stack.truth()["sends"] == 0


def test_the_page_of_a_run_that_failed_says_why_in_one_sentence(stack: Any, browser: Browser) -> None:
    run = stack.run("broadcast-audio/weekly-voice-note", {"broadcast": "failing", "audio": "nowhere.mp3"})
    browser.open(f"/v2/runs/flow-run/{run['id']}")
    browser.see("There is no object 'nowhere.mp3' in bucket 'broadcasts'")
    browser.see("Finished in state Failed(")
    assert "Traceback" not in browser.text()
