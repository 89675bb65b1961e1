"""What services, lists and names say loads nothing from outside when Prefect's UI shows it."""

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("selenium", reason="selenium is not installed")

from browser import NEEDS_CHROMIUM, Browser, chromium
from web_server import Handler, WebServer

pytestmark = NEEDS_CHROMIUM
WEEKLY = "broadcast-audio/weekly-voice-note"
SETTLE_SECONDS = 2.0  # in which a picture that is asked for would have been


class Outside(WebServer):
    """A server that nobody should ask; it notes who does."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        outside = self

        class Noting(Handler):
            def do_GET(self) -> None:
                outside.asked.append(self.path)
                self.say(204)

        super().__init__(Noting)


@pytest.fixture
def outside() -> Iterator[Outside]:
    with Outside() as server:
        yield server


@pytest.fixture(scope="module")
def browser(_stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(_stack.url, tmp_path_factory.mktemp("chromium"), login=_stack.login) as tab:
        yield tab


def hostile(url: str) -> str:
    """Each way in which a text loads something, or links to it."""
    return (
        f"![a]({url}/markdown.png) <img src='{url}/html.png'> [b]({url}/link) <{url}/angle> {url}/bare "
        f"| ![c]({url}/cell.png) | <iframe src='{url}/frame'></iframe> <link rel=stylesheet href='{url}/style.css'>"
    )


def artifacts(stack: Any, run: str) -> list[dict[str, Any]]:
    """The run's artifacts."""
    asked = {"artifacts": {"flow_run_id": {"any_": [run]}}}
    found: list[dict[str, Any]] = stack.ask("POST", "/artifacts/filter", asked)
    return found


def visit(browser: Browser, artifact: dict[str, Any], ui: str = "/v2") -> None:
    """Look at an artifact, in the newer UI unless V1 is asked for, until all that it loads is asked for."""
    browser.open(f"{ui}/artifacts/artifact/{artifact['id']}")
    browser.read("Artifact")
    time.sleep(SETTLE_SECONDS)


def test_a_refusal_and_a_name_load_and_link_nothing(stack: Any, browser: Browser, outside: Outside) -> None:
    words = hostile(outside.url)
    stack.put("hostile.csv", "phone,name\n" + "".join(f'+120155501{n:02d},"{words}"\n' for n in range(4)))
    stack.fault(kind="error", code=131026, details=words, recipients=["+12015550101", "+12015550102"])
    name = f"![x]({outside.url}/name.png) <img src='{outside.url}/n.png'>"
    run = stack.run(WEEKLY, {"broadcast": name, "recipients": "hostile.csv"})
    made = artifacts(stack, run["id"])
    assert {"markdown", "table"} <= {each["type"] for each in made}
    assert "markdown.png" in str([each["data"] for each in made]), "else nothing hostile is there to be shown"
    for ui, artifact in itertools.product(("/v2", ""), made):
        visit(browser, artifact, ui)
        assert not browser.links_to(outside.url)
    browser.open(f"/v2/runs/flow-run/{run['id']}?tab=Artifacts")
    time.sleep(SETTLE_SECONDS)
    assert outside.asked == []


def test_the_same_words_as_they_are_would_be_seen(stack: Any, browser: Browser, outside: Outside) -> None:
    """Else the test above could not fail."""
    body = {"key": "unescaped", "type": "markdown", "data": hostile(outside.url)}
    artifact = stack.ask("POST", "/artifacts/", body)
    for ui in ("/v2", ""):
        outside.asked.clear()
        visit(browser, artifact, ui)
        assert "/markdown.png" in outside.asked
        assert browser.links_to(outside.url)
