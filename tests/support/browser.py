"""Headless Chromium on Prefect's UI: forms by their labels, pages by their words."""

import base64
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from PIL import Image
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
NEEDS_CHROMIUM = [
    pytest.mark.ui,
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER),
        reason="Chromium and its driver are not installed (Debian: chromium, chromium-driver)",
    ),
]
PATIENCE_SECONDS = 30.0
_QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server", "--hide-scrollbars",
    # No page asks another host for anything, whether or not this machine could.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    # The run's graph is drawn by WebGL without end, in software: most of two cores.
    "--disable-3d-apis", "--force-prefers-reduced-motion",
)  # fmt: skip

T = TypeVar("T")


class Browser:
    """One tab.

    Args:
        driver: The driver.
        url: Address of the UI that the paths of `open` begin at.
    """

    _LABEL = "label[ancestor::div[following-sibling::fieldset]]"
    _TAB = "*[@role='tab']"

    def __init__(self, driver: Any, url: str) -> None:
        self._driver, self._url = driver, url

    def open(self, path: str) -> None:
        """Go to a page of the UI."""
        self._driver.get(self._url + path)

    @property
    def address(self) -> str:
        """Where the tab is."""
        return str(self._driver.current_url)

    def see(self, words: str, *, seconds: float = PATIENCE_SECONDS) -> WebElement:
        """Wait until the words are seen; the element that holds them."""
        path = f"//*[not(self::script) and contains(normalize-space(text()), {_quoted(words)})]"
        return self._wait(lambda: self._visible(path), seconds, f"{words!r} is not to be seen")

    def read(self, words: str, *, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait until the page says the words, whatever elements they stand in; all that it says."""

        def said() -> str | None:
            text = self.text()
            return text if words in text else None

        return self._wait(said, seconds, f"{words!r} is not said")

    def click(self, words: str) -> None:
        """Press a button by its words."""
        self._press(f"//button[normalize-space(.)={_quoted(words)}]", f"there is no button {words!r}")

    def follow(self, words: str) -> None:
        """Follow the first link that holds the words, or the card that is one."""
        self._press(f"//a[contains(normalize-space(.), {_quoted(words)})]", f"there is no link {words!r}")

    def follow_to(self, path: str) -> None:
        """Follow the first link whose address holds this path."""
        self._press(f"//a[contains(@href, {_quoted(path)})]", f"there is no link to {path}")

    def press(self, role: str, words: str) -> None:
        """Press an element of a role (`tab`, `menuitem`, `option`) by its words."""
        self._press(f"//*[@role={_quoted(role)} and contains(., {_quoted(words)})]", f"there is no {role} {words!r}")

    def menu(self, words: str) -> None:
        """Choose from the page's own menu, the three dots at its head."""
        self._press("(//button[@aria-haspopup='menu'])[1]", "the page has no menu")
        self.press("menuitem", words)

    def top(self) -> None:
        """Scroll to the top."""
        self._driver.execute_script(
            "window.scrollTo(0, 0); for (const e of document.querySelectorAll('main, main *')) e.scrollTop = 0"
        )

    def write(self, label: str, words: str) -> None:
        """Fill in a text field."""
        field = self._wait(
            lambda: self._visible(f"{self.field(label)}//*[self::textarea or self::input]"), PATIENCE_SECONDS, label
        )
        field.clear()
        field.send_keys(words)

    def choose_tab(self, label: str, tab: str) -> None:
        """Choose one of a field's kinds."""
        self._press(f"{self.field(label)}//{self._TAB}[normalize-space(.)={_quoted(tab)}]", f"no tab {tab} at {label}")

    def tabs(self, label: str) -> tuple[list[str], str]:
        """The names of a field's kinds, and of the one that is open."""
        path = f"{self.field(label)}//{self._TAB}"
        self._wait(lambda: self._visible(path), PATIENCE_SECONDS, f"no tabs at {label}")
        tabs = self._driver.find_elements(By.XPATH, path)
        (chosen,) = (each.text for each in tabs if each.get_attribute("aria-selected") == "true")
        return [each.text for each in tabs], chosen

    def labels(self) -> list[str]:
        """The labels of a form's fields that are seen, from top to bottom."""
        path = f"//{self._LABEL}"
        self._wait(lambda: self._visible(path), PATIENCE_SECONDS, "there is no form")
        return [each.text.removesuffix(" (Optional)") for each in self._driver.find_elements(By.XPATH, path)]

    def choose_block(self, label: str, name: str) -> None:
        """Choose a saved block."""
        self._press(f"{self.field(label)}//button[@aria-haspopup='listbox']", f"no choice of blocks at {label}")
        self._press(f"//*[@role='option' and normalize-space(.)={_quoted(name)}]", f"no block {name} at {label}")

    def options(self, label: str) -> list[str]:
        """Open a field's choices and read them."""
        self._press(f"{self.field(label)}//button[@role='combobox' or @aria-haspopup]", f"no choices at {label}")
        self._wait(lambda: self._visible("//*[@role='option']"), PATIENCE_SECONDS, f"no options at {label}")
        found = [each.text for each in self._driver.find_elements(By.XPATH, "//*[@role='option']")]
        self._driver.switch_to.active_element.send_keys("\ue00c")  # Escape
        return found

    def search(self, placeholder: str, words: str) -> None:
        """Write into a field that is known by what stands in it while it is empty."""
        field = self._wait(lambda: self._visible(f"//input[@placeholder={_quoted(placeholder)}]"), 10.0, placeholder)
        field.send_keys("\ue009a\ue017" + "\ue000" + words)  # Control-A, Delete, keys up

    def kind_of(self, label: str) -> str:
        """The kind of an input: `text`, `password`, …."""
        field = self._wait(lambda: self._visible(f"{self.field(label)}//input"), PATIENCE_SECONDS, f"no field {label}")
        return str(field.get_attribute("type"))

    def switch(self, label: str) -> None:
        """Turn a switch over."""
        self._press(f"{self.field(label)}//*[@role='switch']", f"no switch at {label}")

    def is_on(self, label: str) -> bool:
        """Whether a switch is on."""
        path = f"{self.field(label)}//*[@role='switch']"
        switch = self._wait(lambda: self._visible(path), PATIENCE_SECONDS, f"no switch at {label}")
        return str(switch.get_attribute("aria-checked")) == "true"

    def pictures(self) -> list[tuple[int, int]]:
        """Sizes of the pictures that the page's markdown shows, as the browser decoded them."""
        script = (
            "return Array.from(document.images).filter(i => i.src.startsWith('data:') && i.complete)"
            ".map(i => [i.naturalWidth, i.naturalHeight])"
        )
        return self._wait(lambda: [(w, h) for w, h in self._driver.execute_script(script)], 10.0, "no pictures")

    def titled(self, words: str) -> tuple[WebElement, WebElement]:
        """A title, and the one picture in the smallest part of the page that has both the title and a picture."""
        title = f"//*[self::h3 or self::h4][normalize-space(.)={_quoted(words)}]"
        picture = f"{title}/ancestor::*[.//img][1]//img"
        self._wait(lambda: self._visible(picture), PATIENCE_SECONDS, f"no picture beside {words!r}")
        (found,) = self._driver.find_elements(By.XPATH, picture)
        return self._driver.find_element(By.XPATH, title), found

    def picture_hosts(self) -> set[str]:
        """The hosts that the page asked for a picture, beyond its own."""
        script = (
            "return [...performance.getEntriesByType('resource').filter(e => e.initiatorType === 'img').map(e => e.name), "
            "...Array.from(document.images, i => i.src)]"
        )
        hosts = {urlsplit(str(each)).netloc for each in self._driver.execute_script(script)}
        return hosts - {"", urlsplit(self._url).netloc}

    def links_to(self, address: str) -> list[str]:
        """Links and pictures of the page whose address begins so."""
        script = (
            "return Array.from(document.querySelectorAll('a[href], img[src], iframe[src], link[href]'))"
            ".map(e => e.href || e.src)"
        )
        return [str(each) for each in self._driver.execute_script(script) if str(each).startswith(address)]

    def text(self) -> str:
        """All that the page says."""
        return str(self._driver.find_element(By.TAG_NAME, "body").text)

    def shoot(self, file: Path, *, width: int = 1280, height: int = 860) -> None:
        """Save a picture of the page, small."""
        self._driver.set_window_size(width, height + 143)  # headless Chromium counts a title bar
        time.sleep(1.0)  # until what moves has come to rest
        self._driver.save_screenshot(str(file))
        with Image.open(file) as picture:
            small = picture.convert("RGB").quantize(128)
        small.save(file, optimize=True)

    def field(self, label: str) -> str:
        """The path of a form's field, by its label; optional fields have their word for it behind the label."""
        return f"{_labelled('label', label)}/ancestor::div[following-sibling::fieldset][1]/following-sibling::fieldset"

    def _press(self, path: str, problem: str) -> None:
        def pressed() -> bool:
            element = self._visible(path)
            if element is None:
                return False
            self._driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
            before = element.rect
            time.sleep(0.3)
            if element.rect != before:  # a dialog that still slides in swallows the click
                return False
            element.click()
            return True

        self._wait(pressed, PATIENCE_SECONDS, problem)

    def _visible(self, path: str) -> WebElement | None:
        return next((each for each in self._driver.find_elements(By.XPATH, path) if each.is_displayed()), None)

    def _wait(self, look: Callable[[], T | None], seconds: float, problem: str) -> T:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if found := look():
                    return found
            except (StaleElementReferenceException, WebDriverException) as failure:
                problem = f"{problem} ({type(failure).__name__})" if "(" not in problem else problem
            if time.monotonic() > deadline:
                raise AssertionError(f"{problem} at {self.address}; the page says: {self.text()[:2_000]}")
            time.sleep(0.2)


class OlderBrowser(Browser):
    """One tab, for the forms of Prefect's older UI (V1), which is at the paths without `/v2`."""

    _LABEL = "span[contains(@class, 'schema-form-property__label')]"
    _TAB = "button[contains(@class, 'p-button-group__button')]"

    def field(self, label: str) -> str:
        """The path of a form's field, by its label."""
        own = "ancestor::div[contains(concat(' ', @class, ' '), ' schema-form-property ')]"
        return f"({_labelled('span', label)}/{own})[last()]/div[contains(@class, 'p-label__body')]"

    def choose_block(self, label: str, name: str) -> None:
        """Choose a saved block."""
        path = f"{self.field(label)}//select[option[normalize-space(.)={_quoted(name)}]]"
        Select(
            self._wait(lambda: self._visible(path), PATIENCE_SECONDS, f"no block {name} at {label}")
        ).select_by_visible_text(name)


@contextmanager
def chromium(url: str, profile: Path, *, login: str = "", kind: type[Any] = Browser) -> Iterator[Any]:
    """A tab of a browser of its own.

    Args:
        url: Where the UI is.
        profile: An empty folder.
        login: The server's `PREFECT_SERVER_API_AUTH_STRING`; with it the tab is logged in from the start.
        kind: Whose forms it reads.
    """
    options = Options()
    options.binary_location = CHROMIUM or ""
    for argument in (*_QUIET, "--window-size=1280,1003", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    driver = Chrome(options=options, service=Service(CHROMEDRIVER))
    try:
        if login:  # where the UI keeps it once it was typed in
            driver.get(f"{url}/v2/login")
            coded = base64.b64encode(login.encode()).decode()
            driver.execute_script("localStorage.setItem('prefect-password', arguments[0])", coded)
        yield kind(driver, url)
    finally:
        driver.quit()


def _labelled(element: str, label: str) -> str:
    words = " or ".join(f"normalize-space(.)={_quoted(each)}" for each in (label, f"{label} (Optional)"))
    return f"//{element}[{words}]"


def _quoted(words: str) -> str:
    return f'"{words}"' if "'" in words else f"'{words}'"
