"""`make docs`: writes docs/reference/ from the docstrings, the blocks' forms and the command line's own help."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import griffe
from prefect.flows import Flow
from prefect.tasks import Task
from pydantic import BaseModel

FOLDER = Path(__file__).parent / "reference"
HEADER = "<!-- Made by `make docs` from the docstrings: change those. -->"

# A page each: its title, and the module whose public names it lists.
PAGES = {
    "blocks": ("Blocks", "prefect_whatsapp.blocks"),
    "flows": ("Flows", "prefect_whatsapp.flows"),
    "tasks": ("Tasks", "prefect_whatsapp.tasks"),
    "models": ("Models", "prefect_whatsapp.models"),
    "errors": ("Errors", "prefect_whatsapp.models.errors"),
}
HEADINGS = {"parameters": "Argument", "attributes": "Attribute", "raises": "Raises", "other parameters": "Argument"}


def pages() -> dict[str, str]:
    """Make every page.

    Returns:
        Text by file name.
    """
    from prefect_whatsapp.cli.app import app

    made = {f"{name}.md": _page(title, importlib.import_module(module)) for name, (title, module) in PAGES.items()}
    made["command-line.md"] = f"{HEADER}\n\n" + app.generate_docs(output_format="markdown").strip() + "\n"
    names = [(title, f"{name}.md", module) for name, (title, module) in PAGES.items()]
    rows = [f"| [{title}]({file}) | `{module}` |" for title, file, module in names]
    rows.append("| [Command line](command-line.md) | `prefect-whatsapp` |")
    made["README.md"] = "\n".join([HEADER, "", "# Reference", "", "| page | of |", "|---|---|", *rows, ""])
    return made


def _page(title: str, module: Any) -> str:
    lines = [HEADER, "", f"# {title}", "", *_prose(inspect.getdoc(module) or ""), ""]
    for name in _public(module):
        lines += [f"## `{name}`", "", *_described(name, getattr(module, name))]
    return "\n".join(lines).rstrip() + "\n"


def _public(module: Any) -> list[str]:
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return [name for name in getattr(module, "__all__", own) if name[0] != "_" and callable(getattr(module, name))]


def _described(name: str, thing: Any) -> Iterator[str]:
    if isinstance(thing, Flow | Task):
        thing = thing.fn
    if not inspect.isclass(thing):
        yield from _code(_signature(name, thing))
        yield from _documented(thing)
        return
    model = issubclass(thing, BaseModel)
    yield from _documented(thing, skip={"attributes"} if model else set())
    if model:
        yield from _fields(thing)
    for member in _methods(thing):
        static = inspect.getattr_static(thing, member)
        function = getattr(static, "__func__", None) or getattr(static, "fget", None) or static
        yield from (f"### `{name}.{member}`", "")
        if isinstance(static, property):
            yield from (*_prose(inspect.getdoc(function) or ""), "")
        else:
            yield from _code(_signature(member, function))
            yield from _documented(function)


def _methods(kind: type) -> list[str]:
    """Public methods and properties that this package wrote, also those of its base classes."""
    found: dict[str, None] = {}
    for base in kind.__mro__:
        if base.__module__.startswith("prefect_whatsapp"):
            for name, value in vars(base).items():
                written = isinstance(value, property | classmethod | staticmethod) or inspect.isfunction(value)
                if written and not name.startswith(("_", "model_", "block_initialization")):
                    found[name] = None
    return [name for name in found if inspect.getdoc(getattr(kind, name))]


def _fields(model: type[BaseModel]) -> Iterator[str]:
    said = {each.name: each.description for each in _sections(model, "attributes")}
    shown = {name: field for name, field in model.model_fields.items() if not name.startswith("_")}
    if not shown:
        return
    yield from ("| field | default | what it is |", "|---|---|---|")
    for name, field in shown.items():
        default = "required" if field.is_required() else f"`{_default(field.get_default(call_default_factory=True))}`"
        words = field.description or said.get(name) or field.title or ""
        yield f"| `{name}` | {default} | {_cell(words)} |"
    yield ""


def _default(value: Any) -> str:
    return '""' if hasattr(value, "get_secret_value") else repr(getattr(value, "value", value))


def _signature(name: str, function: Any) -> str:
    """Names, types and defaults; what they are for stands in the table below it."""
    parts, star = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        typed = f": {_type(parameter.annotation)}" if parameter.annotation is not parameter.empty else ""
        equals = " = " if typed else "="
        default = "" if parameter.default is parameter.empty else f"{equals}{parameter.default!r}"
        parts.append(f"{parameter.name}{typed}{default}")
    awaited = "await " if inspect.iscoroutinefunction(function) else ""
    given = inspect.signature(function).return_annotation
    returned = "" if given is inspect.Signature.empty else f" -> {_type(given)}"
    line = f"{awaited}{name}({', '.join(parts)}){returned}"
    if len(line) <= 100:
        return line
    return f"{awaited}{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returned}"


def _type(annotation: Any) -> str:
    """A type as a caller would write it, without the titles and checks that a form adds."""
    if isinstance(annotation, str):
        return annotation.strip("'\"")
    if isinstance(annotation, list):  # the arguments of a Callable
        return f"[{', '.join(map(_type, annotation))}]"
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _type(arguments[0])
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return " | ".join(dict.fromkeys(map(_type, arguments)))
    if get_origin(annotation) is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if annotation is NoneType:
        return "None"
    named = getattr(annotation, "__name__", None) or str(annotation)
    listed = ", ".join("..." if each is ... else _type(each) for each in arguments)
    return f"{named}[{listed}]" if arguments else named


def _documented(thing: Any, skip: set[str] | frozenset[str] = frozenset()) -> Iterator[str]:
    text = inspect.getdoc(thing) or ""
    for section in griffe.Docstring(text).parse(griffe.Parser.google, warnings=False):
        kind = section.kind.value
        if kind in skip:
            continue
        if kind == "text":
            yield from _prose(str(section.value))
        elif kind in HEADINGS:
            yield from (f"| {HEADINGS[kind]} | |", "|---|---|")
            for each in section.value:
                label = getattr(each, "name", None) or each.annotation
                yield f"| `{label}` | {_cell(each.description)} |"
        elif kind in ("returns", "yields"):
            yield f"**{kind.capitalize()}:** " + " ".join(_cell(each.description) for each in section.value)
        elif kind == "admonition":
            yield from _prose(section.value.description)
        else:  # examples: prose and interpreter sessions
            for what, part in section.value:
                yield from _prose(part) if what.value == "text" else _code(part)
        yield ""


def _sections(thing: Any, kind: str) -> list[Any]:
    parsed = griffe.Docstring(inspect.getdoc(thing) or "").parse(griffe.Parser.google, warnings=False)
    return [each for section in parsed if section.kind.value == kind for each in section.value]


def _prose(text: str) -> list[str]:
    """As written, with interpreter sessions and indented drawings fenced."""
    lines: list[str] = []
    fenced = False
    paragraphs = text.strip().split("\n\n")
    for paragraph in paragraphs:
        drawn = paragraph.startswith((">>>", "    ")) and not fenced
        fenced ^= paragraph.count("```") % 2 == 1
        lines += [*(_code(inspect.cleandoc("\n" + paragraph)) if drawn else [*paragraph.splitlines(), ""])]
    spaced: list[str] = []
    for line in lines:
        if line.startswith("```python") and spaced and spaced[-1]:
            spaced.append("")
        spaced.append(line)
    return spaced[:-1] if spaced and not spaced[-1] else spaced


def _code(text: str) -> list[str]:
    return ["```text" if not text.startswith(">>>") else "```pycon", *text.splitlines(), "```", ""]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the pages."""
    FOLDER.mkdir(exist_ok=True)
    made = pages()
    for old in set(FOLDER.glob("*.md")) - {FOLDER / name for name in made}:
        old.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{len(made)} pages in docs/reference")


if __name__ == "__main__":
    main()
