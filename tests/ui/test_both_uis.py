"""What a person reads of a broadcast stands in both of Prefect's UIs: the newer one and V1, which log links lead to."""

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from browser import NEEDS_CHROMIUM, Browser, chromium

pytestmark = NEEDS_CHROMIUM
WEEKLY = "broadcast-audio/weekly-voice-note"


@pytest.fixture(scope="module")
def browser(_stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(_stack.url, tmp_path_factory.mktemp("chromium"), login=_stack.login) as tab:
        yield tab


@pytest.fixture(params=["", "/v2"], ids=["V1", "V2"])
def ui(request: pytest.FixtureRequest) -> str:
    """The path at which a UI begins."""
    return str(request.param)


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
