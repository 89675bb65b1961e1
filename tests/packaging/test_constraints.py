"""constraints.txt pins what was tested, for whatever index pip is set up with."""

import re
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, Version]:
    """Each pinned package's version."""
    lines = [line for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines() if line.strip()]
    pinned = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pinned}


def _declared(pyproject: dict[str, Any]) -> list[Requirement]:
    project = pyproject["project"]
    groups = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *pyproject["dependency-groups"].values(),
    ]
    return [Requirement(line) for group in groups for line in group if isinstance(line, str)]


def test_every_dependency_is_pinned_to_a_version_that_it_allows(
    pyproject: dict[str, Any], pins: dict[str, Version]
) -> None:
    for requirement in _declared(pyproject):
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{name} is not pinned"
        assert requirement.specifier.contains(pins[name]), f"{name}=={pins[name]} is not {requirement.specifier}"


def test_constraints_hold_names_and_versions_and_no_address(root: Path) -> None:
    for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.!+]*", line), line


def test_each_package_is_pinned_once(root: Path, pins: dict[str, Version]) -> None:
    lines = [line for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line]
    assert len(lines) == len(pins)
