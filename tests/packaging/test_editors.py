"""What somebody who picks the project up needs to be told, and their editor too."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_pyright_finds_what_pytest_finds_beside_the_package() -> None:
    assert PYPROJECT["tool"]["pyright"]["extraPaths"] == PYPROJECT["tool"]["pytest"]["ini_options"]["pythonpath"]
    assert PYPROJECT["tool"]["pyright"]["stubPath"] == PYPROJECT["tool"]["mypy"]["mypy_path"]


def test_the_quick_tests_are_named_and_why_typings_holds_links() -> None:
    assert "`make check`" in CONTRIBUTING
    assert re.search(r"Type checkers and editors know no such\s+mapping\. That is why\s+`typings/", CONTRIBUTING)
    quick = re.search(r"^QUICK := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert quick
    assert all((ROOT / folder).is_dir() for folder in quick[1].split())
