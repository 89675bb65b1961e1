"""Writes requirements.lock: what the image installs, each file by its hash, so that no other file of that name gets in.

    make lock

pip itself resolves it, at the versions of constraints.txt, for the image's Python on both of its platforms. No address is
written: the files are the same wherever pip is set up to look.
"""

import json
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
PYTHON = "3.11"  # the Dockerfile's
# Beside the package's own: what the replicas share, and what builds the package without an isolated environment.
MORE = ("prefect-redis>=0.3", "setuptools>=77")
MACHINES = ("x86_64", "aarch64")
_GLIBCS = (17, 24, 26, 27, 28, 31, 34)  # python:3.11-slim has 2.36
_HEAD = """\
# Every file that the image installs, by its hash; made by `make lock` from constraints.txt.
#
#   pip install --require-hashes -r requirements.lock
#
# For Python {python} on Linux ({machines}).
"""


def main() -> None:
    """Resolve for each machine and write the file."""
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for machine in MACHINES:
        for each in _resolved(machine):
            name = each["metadata"]["name"].lower().replace("_", "-").replace(".", "-")
            found[name, each["metadata"]["version"]].add(each["download_info"]["archive_info"]["hashes"]["sha256"])
    lines = [_HEAD.format(python=PYTHON, machines=", ".join(MACHINES))]
    for (name, version), hashes in sorted(found.items()):
        lines.append(
            " \\\n    ".join([f"{name}=={version}", *(f"--hash=sha256:{each}" for each in sorted(hashes))]) + "\n"
        )
    LOCK.write_text("".join(lines), encoding="utf-8")
    print(f"{len(found)} packages in {LOCK.name}")


def _resolved(machine: str) -> list[dict[str, Any]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    platforms = [f"manylinux_2_{glibc}_{machine}" for glibc in _GLIBCS] + [f"manylinux2014_{machine}"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    command += ["--constraint", str(ROOT / "constraints.txt"), "--only-binary", ":all:", "--target", "nowhere"]
    command += ["--implementation", "cp", "--python-version", PYTHON]
    command += [word for platform in platforms for word in ("--platform", platform)]
    done = subprocess.run([*command, *project["dependencies"], *MORE], check=True, stdout=subprocess.PIPE)  # noqa: S603
    installed: list[dict[str, Any]] = json.loads(done.stdout)["install"]
    return installed


if __name__ == "__main__":
    main()
