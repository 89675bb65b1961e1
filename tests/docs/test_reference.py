"""The reference is made from the docstrings, and whole."""

import doctest
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import prefect_whatsapp
import pytest

DOCS = Path(__file__).parents[2] / "docs"
# The migrations run within alembic alone, and the package of the command line runs when it is imported as __main__.
MODULES = [
    module.name
    for module in pkgutil.walk_packages(prefect_whatsapp.__path__, "prefect_whatsapp.")
    if not {"migrations", "tests", "docs", "deployments", "build", "__main__"} & set(module.name.split("."))
]


def _maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_docstrings_say_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this fails, run `make docs` and commit what it wrote."""
    # Started by `python -m pytest`, Cyclopts would show every command as one of `-m pytest`.
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    written = {page.name: page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md")}
    assert written == _maker().pages()


def test_the_reference_of_the_tasks_shows_types() -> None:
    page = (DOCS / "reference" / "tasks.md").read_text(encoding="utf-8")
    assert "    audio: Audio | str,\n    to: Recipient | str,\n    sender: Sender,\n" in page
    assert ") -> Receipt\n" in page


@pytest.mark.parametrize("name", MODULES)
def test_the_interpreter_sessions_in_docstrings_are_what_the_interpreter_says(name: str) -> None:
    module = importlib.import_module(name)
    found = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert not found.failed
