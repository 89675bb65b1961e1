"""The built wheel, installed into a clean environment, used from another folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect_whatsapp import blocks
from prefect_whatsapp.blocks.senders import sender_blocks

pytestmark = [pytest.mark.wheel, pytest.mark.slow]

FLOWS = {
    "broadcast_audio": "broadcasts",
    "broadcast_contacts": "broadcasts",
    "send_audio_message": "single_messages",
    "send_contact_message": "single_messages",
}
BLOCKS = {blocks.Ledger, *sender_blocks().values()}


@dataclass(frozen=True)
class Installed:
    """A clean environment that holds the wheel and sees its dependencies."""

    bin: Path
    site_packages: Path
    source: Path
    elsewhere: Path

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Run a program of the environment, and give what it printed."""
        environment = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=cwd or self.elsewhere,
            env=environment | {"PREFECT_HOME": str(self.elsewhere / "prefect")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def python(self, code: str, *arguments: str, cwd: Path | None = None) -> Any:
        """Run Python code that prints JSON on its last line."""
        return json.loads(self.run("python", "-c", code, *arguments, cwd=cwd).strip().splitlines()[-1])


@pytest.fixture(scope="session")
def source(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's files without what builds left in it, so that nothing stale gets into the wheel."""
    copy = tmp_path_factory.mktemp("source") / "repository"
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file() and not name.startswith(("tests/", "typings/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy / name)
    return copy


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built once."""
    into = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(into), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=into)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return next(into.glob("*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment of its own; a .pth shows it the dependencies, and not this checkout's editable install."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False, symlinks=True)
    paths = {"base": str(home), "platbase": str(home)}
    bin_folder = Path(sysconfig.get_path("scripts", "venv", vars=paths))
    site_packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    pip = [sys.executable, "-m", "pip", "--python", str(bin_folder / "python"), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, timeout=120, capture_output=True)
    dependencies = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (site_packages / "dependencies.pth").write_text("\n".join(dependencies), encoding="utf-8")
    return Installed(bin_folder, site_packages, source, tmp_path_factory.mktemp("elsewhere"))


def test_it_holds_the_package_and_its_metadata_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"prefect_whatsapp"}
    assert len(top) == 2
    assert not [name for name in names if "/tests/" in name or name.endswith((".db", ".mp3", ".ogg"))]


def test_it_holds_every_module_and_the_typing_marker(wheel: Path, source: Path, pyproject: dict[str, Any]) -> None:
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    expected = set()
    for package in pyproject["tool"]["setuptools"]["packages"]:
        folder = Path(*package.split(".")[1:])
        expected |= {f"prefect_whatsapp/{(folder / f.name).as_posix()}" for f in (source / folder).glob("*.py")}
    assert shipped == expected
    assert "prefect_whatsapp/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_it_brings_the_licence_the_readme_and_its_entry_points(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {Path(n).name: archive.read(n).decode() for n in archive.namelist() if ".dist-info/" in n}
    assert "Apache License" in texts["LICENSE"]
    assert "# prefect-whatsapp" in texts["METADATA"]
    assert "License-Expression: Apache-2.0" in texts["METADATA"]
    assert "prefect-whatsapp = prefect_whatsapp.cli:main" in texts["entry_points.txt"]
    assert "[prefect.collections]\nprefect_whatsapp = prefect_whatsapp.blocks" in texts["entry_points.txt"]


def test_it_brings_prefect_whatsapp_alone_into_site_packages(installed: Installed) -> None:
    entries = {entry.name for entry in installed.site_packages.iterdir()} - {"dependencies.pth", "__pycache__"}
    assert {entry for entry in entries if not entry.endswith(".dist-info")} == {"prefect_whatsapp"}
    where = installed.python("import json, prefect_whatsapp as p; print(json.dumps(p.__file__))")
    assert Path(where).is_relative_to(installed.site_packages)


def test_prefect_finds_the_blocks_by_the_collection_entry_point(installed: Installed) -> None:
    loaded = installed.python(
        "import json\n"
        "from prefect.plugins import load_prefect_collections\n"
        "module = load_prefect_collections()['prefect_whatsapp']\n"
        "print(json.dumps([module.__name__, module.__all__]))"
    )
    assert loaded[0] == "prefect_whatsapp.blocks"
    assert set(loaded[1]) == set(blocks.__all__) >= {kind.__name__ for kind in BLOCKS}


@pytest.mark.server
def test_prefect_block_register_shows_the_blocks_to_a_server(installed: Installed, prefect_api: str) -> None:
    installed.run("python", "-c", _REGISTER, prefect_api)
    answer = httpx.post(f"{prefect_api}/block_types/filter", json={"limit": 200}, trust_env=False).raise_for_status()
    assert {kind.get_block_type_slug() for kind in BLOCKS} <= {kind["slug"] for kind in answer.json()}


_REGISTER = """
import os, subprocess, sys
environment = os.environ | {"PREFECT_API_URL": sys.argv[1]}
command = [sys.executable, "-m", "prefect", "block", "register", "--module", "prefect_whatsapp.blocks"]
sys.exit(subprocess.run(command, env=environment).returncode)
"""

_LOAD = """
import inspect, json, sys
from prefect.flows import load_flow_from_entrypoint
flows = [load_flow_from_entrypoint(e, use_placeholder_flow=False) for e in json.loads(sys.argv[1])]
print(json.dumps([[f.name, list(f.parameters.properties), inspect.iscoroutinefunction(f.fn)] for f in flows]))
"""


@pytest.fixture(scope="session")
def loaded(installed: Installed) -> dict[str, dict[str, Any]]:
    """Each flow as Prefect loads it, by each form of its entrypoint, from another folder."""
    forms = {
        "module": [f"prefect_whatsapp.flows.{name}" for name in FLOWS],
        "path": [f"{installed.source / 'flows' / file}.py:{name}" for name, file in FLOWS.items()],
        "path below the root": [f"flows/{file}.py:{name}" for name, file in FLOWS.items()],
    }
    return {
        form: dict(
            zip(
                FLOWS,
                installed.python(_LOAD, json.dumps(entries), cwd=installed.source if "root" in form else None),
                strict=True,
            )
        )
        for form, entries in forms.items()
    }


@pytest.mark.parametrize("form", ["module", "path", "path below the root"])
@pytest.mark.parametrize("name", list(FLOWS))
def test_each_flow_loads_without_a_placeholder_by_each_form_of_entrypoint(
    loaded: dict[str, dict[str, Any]], form: str, name: str
) -> None:
    flow_name, parameters, is_async = loaded[form][name]
    assert flow_name == name.replace("_", "-")
    assert "sender" in parameters
    assert is_async


def test_the_command_is_installed(installed: Installed, pyproject: dict[str, Any]) -> None:
    assert installed.run("prefect-whatsapp", "--version").strip() == pyproject["project"]["version"]
    assert "broadcast" in installed.run("prefect-whatsapp", "--help")
