"""The root is the package: what the package list, the root, typings/ and the flow files must hold."""

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

OUTSIDE = {"tests", "typings", "deployments", "docs", "build", "dist"}


def _is_code_of_ours(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return not (parts[0] in OUTSIDE or any(part.startswith(".") or part.endswith(".egg-info") for part in parts))


def test_every_folder_with_an_init_is_in_the_package_list_and_no_other(root: Path, pyproject: dict[str, Any]) -> None:
    folders = {init.parent.relative_to(root) for init in root.rglob("__init__.py") if _is_code_of_ours(init, root)}
    named = {".".join(("prefect_whatsapp", *folder.parts)) for folder in folders}
    assert sorted(pyproject["tool"]["setuptools"]["packages"]) == sorted(named)


def test_every_python_file_of_the_package_lies_in_a_listed_folder(root: Path, pyproject: dict[str, Any]) -> None:
    listed = {name.removeprefix("prefect_whatsapp").lstrip(".") for name in pyproject["tool"]["setuptools"]["packages"]}
    loose = {
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        if _is_code_of_ours(file, root) and ".".join(file.parent.relative_to(root).parts) not in listed
    }
    assert not loose


def test_the_package_is_the_root_under_one_name(pyproject: dict[str, Any]) -> None:
    assert pyproject["tool"]["setuptools"]["package-dir"] == {"prefect_whatsapp": "."}


def test_the_root_holds_one_python_file_which_is_a_docstring_and_nothing_else(root: Path) -> None:
    assert [file.name for file in root.glob("*.py")] == ["__init__.py"]
    body = ast.parse((root / "__init__.py").read_text(encoding="utf-8")).body
    assert [type(node) for node in body] == [ast.Expr]
    assert ast.get_docstring(ast.parse((root / "__init__.py").read_text(encoding="utf-8")))


def test_tests_hold_no_init_files(root: Path) -> None:
    assert not list((root / "tests").rglob("__init__.py"))


def test_typings_links_exactly_what_ships_by_relative_links_that_hold(root: Path, pyproject: dict[str, Any]) -> None:
    typings = root / "typings" / "prefect_whatsapp"
    top_folders = {name.split(".")[1] for name in pyproject["tool"]["setuptools"]["packages"] if "." in name}
    links = {entry.name: entry for entry in typings.iterdir() if entry.name != "__pycache__"}
    assert set(links) == top_folders | {"__init__.py", "py.typed"}
    for name, link in links.items():
        if link.is_symlink():
            assert not Path(link.readlink()).is_absolute(), name
            assert link.resolve(strict=True) == root / name
        else:
            assert link.read_bytes() == (root / name).read_bytes(), f"{name} is neither a link nor the same file"


def test_no_flow_file_hides_a_module_of_the_standard_library_or_of_a_dependency(root: Path) -> None:
    """Prefect runs a flow file by its path and puts its folder first on the path."""
    installed = set(packages_distributions()) - {"prefect_whatsapp"}
    names = {file.stem for file in (root / "flows").glob("*.py")} - {"__init__"}
    assert not names & (set(sys.stdlib_module_names) | installed)


def test_rooms_import_relatively_and_flows_by_full_name(root: Path, pyproject: dict[str, Any]) -> None:
    """A flow file is run by its path, where a relative import has no parent."""
    for package in pyproject["tool"]["setuptools"]["packages"]:
        room = root.joinpath(*package.split(".")[1:])
        for file in room.glob("*.py"):
            imports = [
                n for n in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(n, ast.ImportFrom)
            ]
            if room.name == "flows":
                wrong = [n.module for n in imports if n.level and file.name != "__init__.py"]
            else:
                wrong = [n.module for n in imports if (n.module or "").startswith("prefect_whatsapp")]
                # What the root is called to the world is the command line's and the sandbox's to say.
                wrong = [] if room.name in {"cli", "sandbox", "testing"} else wrong
            assert not wrong, f"{file.relative_to(root)} imports {wrong}"


def test_imports_point_down_only(root: Path) -> None:
    """A room uses only what stands below it; the sandbox stands apart, and knows of no ledger and no block."""
    rooms = [
        "models",
        "providers",
        "media",
        "ledger",
        "recipients",
        "blocks",
        "sending",
        "reporting",
        "receipts",
        "tasks",
        "flows",
        "cli",
    ]
    below = {room: {*rooms[:place], *({"sandbox"} if room == "cli" else ())} for place, room in enumerate(rooms)}
    below["media"] -= {"providers"}  # neither knows of the other
    below["ledger"] -= {"providers", "media"}
    below["sandbox"] = {"models", "providers", "media"}
    below["testing"] = {"blocks", "providers", "receipts", "sandbox"}  # for other people's tests
    assert set(below) == {path.name for path in root.iterdir() if (path / "__init__.py").exists()}, (
        "a room without a place"
    )
    for room, allowed in below.items():
        for file in (root / room).rglob("*.py"):
            place = file.relative_to(root)
            for target in _rooms_imported(file, root) - {room}:
                assert target in allowed, f"{place} imports from {target}"


def _rooms_imported(file: Path, root: Path) -> set[str]:
    """The rooms from which a file imports, by relative and by full names, wherever in the file it does."""
    rooms, folders = set(), file.relative_to(root).parts
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ("prefect_whatsapp", *folders[: len(folders) - node.level]) if node.level else ()
            names = [".".join(filter(None, (*above, node.module, alias.name))) for alias in node.names]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("prefect_whatsapp.")}
    return rooms


def test_nothing_uses_prefects_internals(root: Path) -> None:
    users = [
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        if _is_code_of_ours(file, root) and "prefect._internal" in file.read_text(encoding="utf-8")
    ]
    assert not users
