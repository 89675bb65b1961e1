"""A person fills in a broadcast and reads of it in both of Prefect's UIs: the newer one and V1, which log links lead to."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from browser import NEEDS_CHROMIUM, Browser, OlderBrowser, chromium
from prefect.blocks.webhook import Webhook
from prefect_whatsapp import blocks
from prefect_whatsapp.models import Scale

pytestmark = NEEDS_CHROMIUM
WEEKLY = "broadcast-audio/weekly-voice-note"


FOR_PEOPLE = ["broadcast-audio/voice-note-to-a-list", "broadcast-contacts/cards-to-a-list"]

# V1 shows a block by the name of its class, whatever title stands beside it.
BLOCK_TABS = {
    "": {
        "Sender": ["GraphCredentials", "ChatApiCredentials", "WawpCredentials", "WahaCredentials"],
        "Storage": ["S3Bucket", "None"],
        "Ledger": ["Ledger", "None"],
    },
    "/v2": {
        "Sender": ["Meta Graph", "Chat-API", "Wawp", "WAHA"],
        "Storage": ["S3 bucket", "None"],
        "Ledger": ["Saved ledger", "None"],
    },
}


@pytest.fixture(scope="module", params=["", "/v2"], ids=["V1", "V2"])
def ui(request: pytest.FixtureRequest) -> str:
    """The path at which a UI begins."""
    return str(request.param)


@pytest.fixture(scope="module")
def browser(_stack: Any, ui: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    kind = Browser if ui else OlderBrowser
    with chromium(_stack.url, tmp_path_factory.mktemp("chromium"), login=_stack.login, kind=kind) as tab:
        yield tab


def open_form(stack: Any, browser: Browser, ui: str, deployment: str) -> None:
    """Open the form of a custom run."""
    browser.open(f"{ui}/deployments/deployment/{stack.ask('GET', f'/deployments/name/{deployment}')['id']}/run")
    browser.see("Broadcast")


def page_of(stack: Any, browser: Browser, ui: str, run: dict[str, Any], key: str) -> str:
    """What the page of a run's artifact says."""
    asked = {"artifacts": {"flow_run_id": {"any_": [run["id"]]}, "key": {"like_": f"-{key}"}}}
    (artifact,) = stack.ask("POST", "/artifacts/filter", asked)
    browser.open(f"{ui}/artifacts/artifact/{artifact['id']}")
    said = browser.read({"plan": "messages to send", "removed": "reason", "attention": "next step"}[key])
    assert "\\" not in said, "an escape that is seen"
    return said


def test_the_plan_counts_what_a_country_completed_and_names_both_readings_of_what_it_removed(
    stack: Any, browser: Browser, ui: str
) -> None:
    stack.put("german.csv", "Telefon,country\n01512 3456789,\n79123456789,\n6505550123,US\n")
    more = {"recipients": "german.csv", "default_region": "DE", "dry_run": True}
    run = stack.run(WEEKLY, {"broadcast": f"german{ui[1:]}", **more})
    assert run["state"]["message"] == "Dry run: nothing was sent; 2 would be sent, 1 removed from the list"
    plan = page_of(stack, browser, ui, run, "plan")
    assert "numbers completed with a country code" in plan
    assert "1 with that of DE" in plan
    assert "two readings without a +: +49 …6789 (DE) or +7 …6789 (RU)" in page_of(stack, browser, ui, run, "removed")


def test_a_run_that_left_rows_to_a_person_says_so_with_the_services_own_words(
    stack: Any, browser: Browser, ui: str
) -> None:
    stack.fault(kind="window", recipients=["+12015550107"])
    stack.fault(kind="error", code=131026, details="[Undeliverable] *today* #1", recipients=["+12015550108"])
    run = stack.run(WEEKLY, {"broadcast": f"needy{ui[1:]}"})
    browser.open(f"{ui}/runs/flow-run/{run['id']}")
    browser.read("Needs attention", seconds=60)
    needy = page_of(stack, browser, ui, run, "attention")
    assert "(#131047)" in needy
    assert "[Undeliverable] \N{ASTERISK OPERATOR}today\N{ASTERISK OPERATOR} #1" in needy
    assert "broadcast:NAME?state=skipped" in needy
    skipped = {"recipients": f"broadcast:needy{ui[1:]}?state=skipped", "dry_run": True}
    again = stack.run(WEEKLY, {"broadcast": f"needy-again{ui[1:]}", **skipped})
    assert again["state"]["message"].startswith("Dry run: nothing was sent; 1 would be sent")


def test_the_plan_warns_of_people_who_had_this_audio_lately(stack: Any, browser: Browser, ui: str) -> None:
    stack.put("few.csv", "phone\n+12015550150\n+12015550151\n")
    few = {"recipients": "few.csv"}
    stack.run(WEEKLY, {"broadcast": f"earlier{ui[1:]}", **few})
    run = stack.run(WEEKLY, {"broadcast": f"later{ui[1:]}", **few, "dry_run": True})
    plan = page_of(stack, browser, ui, run, "plan")
    assert "Sent before: people on this list got this audio within the last 30 days" in plan
    assert f"2 from earlier{ui[1:]}" in plan


def test_a_run_that_failed_says_why_in_one_sentence(stack: Any, browser: Browser, ui: str) -> None:
    run = stack.run(WEEKLY, {"broadcast": f"no-audio{ui[1:]}", "audio": "nowhere.mp3"})
    browser.open(f"{ui}/runs/flow-run/{run['id']}")
    assert "Traceback" not in browser.read("There is no object 'nowhere.mp3' in bucket 'broadcasts'")


@pytest.mark.parametrize(("deployment", "message"), [*zip(FOR_PEOPLE, ["Audio", "Contact cards"], strict=True)])
def test_the_form_asks_in_the_order_of_a_persons_thoughts_and_submit_waits_for_approval(
    stack: Any, browser: Browser, ui: str, deployment: str, message: str
) -> None:
    open_form(stack, browser, ui, deployment)
    browser.see("Scale")
    labels = browser.labels()
    thoughts = ["Broadcast", "Sender", message, "Recipients", "Storage", "Default country", "Dry run"]
    assert [each for each in labels if each in {*thoughts, "Wait for approval"}] == [*thoughts, "Wait for approval"]
    later = labels[labels.index("Wait for approval") + 1 :]
    assert later[-1] == "Scale"
    assert not {*later} & {*thoughts}
    assert (browser.is_on("Dry run"), browser.is_on("Wait for approval")) == (False, True)


@pytest.mark.parametrize("deployment", FOR_PEOPLE)
def test_what_only_an_operator_needs_is_one_closed_tab(stack: Any, browser: Browser, ui: str, deployment: str) -> None:
    open_form(stack, browser, ui, deployment)
    assert browser.tabs("Scale") == (["For large broadcasts", "None"], "None")
    closed = browser.labels()
    browser.choose_tab("Scale", "For large broadcasts")
    browser.see("Shard deployment")
    titles = [str(field.title) for field in Scale.model_fields.values()]
    assert [each for each in browser.labels() if each not in closed] == titles


def test_every_tab_and_every_item_of_a_typed_list_has_a_name(stack: Any, browser: Browser, ui: str) -> None:
    open_form(stack, browser, ui, FOR_PEOPLE[0])
    for field, names in BLOCK_TABS[ui].items():
        assert browser.tabs(field)[0] == names
    assert browser.tabs("Recipients") == (["A file", "Typed in"], "A file")
    browser.choose_tab("Recipients", "Typed in")
    browser.click("Add item")
    if ui:  # V1 shows the first kind of an item only
        browser.choose_tab("Recipients", "With a name")
        browser.choose_tab("Recipients", "A number")


@pytest.mark.parametrize("gateway", ["chat-api", "wawp", "waha"])
def test_a_gateways_form_says_that_its_rate_and_its_pause_both_hold(browser: Browser, ui: str, gateway: str) -> None:
    browser.open(f"{ui}/blocks/catalog/whatsapp-{gateway}-credentials/create")
    browser.see("Minimum seconds between sends")
    assert browser.text().count("the slower of the two decides") == 2, "at the rate, and at the pause"


def test_our_pictures_are_prefects_own_and_where_they_cannot_load_the_page_is_whole(
    stack: Any, browser: Browser, ui: str
) -> None:
    """The tests' browser finds no other host, so no picture loads."""
    browser.open(f"{ui}/blocks/catalog")
    host = urlsplit(str(Webhook._logo_url)).netloc
    for name in (*(getattr(blocks, each)._block_type_name for each in blocks.__all__), Webhook._block_type_name):
        title, picture = browser.titled(name)
        assert urlsplit(str(picture.get_attribute("src"))).netloc == host
        assert picture.rect["width"] > 0
        assert picture.rect["x"] + picture.rect["width"] < title.rect["x"], "the name is beside the picture"
    page = f"{ui}/blocks/catalog/whatsapp-graph-credentials"
    browser.follow_to(f"{page}/create")
    browser.see("Access token")
    saved = stack.block("whatsapp-graph-credentials")["$ref"]["block_document_id"]
    for path in (page, f"{page}/create", f"{ui}/blocks/block/{saved}"):
        browser.open(path)
        browser.titled("WhatsApp Graph Credentials")
        assert browser.picture_hosts() == {host}
