"""requirements.lock holds every file of the image by its hash, at the versions that were tested."""

import re
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LINE = re.compile(
    r"(?P<name>[a-z0-9-]+)==(?P<version>[0-9][0-9A-Za-z.!+]*)(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})+)"
)


@pytest.fixture(scope="module")
def locked(root: Path) -> dict[str, str]:
    """The version of each package; every line is one with hashes."""
    text = (root / "requirements.lock").read_text(encoding="utf-8").replace(" \\\n    ", " ")
    found = {}
    for line in filter(None, (line for line in text.splitlines() if not line.startswith("#"))):
        match = LINE.fullmatch(line)
        assert match, line
        assert match["name"] not in found
        found[match["name"]] = match["version"]
    return found


def test_it_holds_what_the_package_needs_at_the_tested_versions(
    locked: dict[str, str], pyproject: dict[str, Any], root: Path
) -> None:
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line)
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    assert {name: pinned.get(name) for name in locked} == locked
    for requirement in map(Requirement, pyproject["project"]["dependencies"]):
        assert canonicalize_name(requirement.name) in locked, requirement


def test_the_image_installs_nothing_else(root: Path) -> None:
    dockerfile = (root / "deployments" / "replicas" / "Dockerfile").read_text(encoding="utf-8")
    assert dockerfile.count("pip install") == 2
    assert "--require-hashes --requirement /usr/src/prefect-whatsapp/requirements.lock" in dockerfile
    assert "--no-deps --no-build-isolation /usr/src/prefect-whatsapp" in dockerfile


def test_it_is_made_for_the_images_python(root: Path) -> None:
    dockerfile = (root / "deployments" / "replicas" / "Dockerfile").read_text(encoding="utf-8")
    (version,) = re.findall(r"^FROM python:([0-9.]+)-slim", dockerfile, re.MULTILINE)
    assert f"For Python {version} on Linux" in (root / "requirements.lock").read_text(encoding="utf-8")
