"""The fenced code blocks of a document, and how each kind is run."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(
    r"""^( *)```(?P<language>\S*)(?: title="(?P<title>[^"\n]+)")?[^\n]*\n(?P<text>.*?)^\1```[ ]*$""",
    re.MULTILINE | re.DOTALL,
)
RUN = {"python", "console"}
SHOWN = {"text", "yaml", "toml", "json", "csv", "env"}  # what isn't run
SECONDS = 300.0


@dataclass(frozen=True)
class Snippet:
    """A fenced block.

    Attributes:
        document: Name of the file.
        line: Where it begins.
        language: What it is.
        text: What stands in it.
        title: The file that it is; empty for none.
    """

    document: str
    line: int
    language: str
    text: str
    title: str = ""

    def __str__(self) -> str:
        return f"{self.document}:{self.line} {self.language}"

    @property
    def commands(self) -> list[str]:
        """The lines of a console block that are typed."""
        return [line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ ")]


def read_snippets(document: Path) -> list[Snippet]:
    """List a document's fenced blocks in order."""
    text = document.read_text(encoding="utf-8")
    return [
        Snippet(
            document.name,
            text.count("\n", 0, found.start()) + 1,
            found["language"],
            found["text"],
            found["title"] or "",
        )
        for found in _FENCE.finditer(text)
    ]


@dataclass(frozen=True)
class Runner:
    """Runs snippets one after the other in one folder, as a reader would.

    Attributes:
        folder: Where the reader is.
        root: The checkout.
        environment: Where the Prefect server, S3 and the home are.
    """

    folder: Path
    root: Path
    environment: Mapping[str, str]

    def run(self, snippet: Snippet) -> str:
        """Run one snippet; what is wrong with it, or nothing."""
        if snippet.language == "python":
            script = self.folder / (snippet.title or f"snippet_{snippet.line}.py")  # later ones may import it
            script.write_text(snippet.text, encoding="utf-8")
            return self._done([sys.executable, str(script)])
        if not snippet.commands:
            return "a console block without a line that begins with `$ `"
        return "\n".join(filter(None, map(self._command, snippet.commands)))

    def run_examples(self, examples: Sequence[Snippet], prelude: str) -> dict[str, str]:
        """Run Python snippets one after the other in one process; what is wrong with each, or nothing.

        Args:
            examples: They may await at their top level.
            prelude: What they take for granted.
        """
        script, told = self.folder / "examples.py", self.folder / "examples.json"
        given = json.dumps({str(example): example.text for example in examples})
        script.write_text(_EXAMPLES.format(prelude=prelude, given=given, told=str(told)), encoding="utf-8")
        if fault := self._done([sys.executable, str(script)]):
            return {str(example): fault for example in examples}
        faults: dict[str, str] = json.loads(told.read_text(encoding="utf-8"))
        return faults

    def _command(self, line: str) -> str:
        words = shlex.split(line)
        match words[:2]:
            case ["make", *_]:  # the tests are one of its targets: only whether there is such a target
                return self._done(["make", "--dry-run", *words[1:]], cwd=self.root)
            case ["pip", "install"]:
                pip = [
                    sys.executable,
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--dry-run",
                    "--no-deps",
                    "--no-build-isolation",
                ]
                return self._done([*pip, *words[2:]], cwd=self.root)
            case ["prefect-whatsapp", "sandbox"]:
                return self._until_it_says("http://127.0.0.1:", ["prefect-whatsapp", "sandbox", "--port", "0"])
            case ["prefect", "worker"]:
                return self._until_it_says("started!", words)
            case _:
                return self._done(["bash", "-c", line])

    def _done(self, command: list[str], cwd: Path | None = None) -> str:
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=self._whole(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        return f"{shlex.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}" if done.returncode else ""

    def _until_it_says(self, wanted: str, command: list[str]) -> str:
        said = ""
        with subprocess.Popen(
            command, cwd=self.folder, env=self._whole(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as running:
            assert running.stdout is not None
            while wanted not in said and (line := running.stdout.readline()):
                said += line
            running.send_signal(signal.SIGINT)
            said += running.stdout.read()
        return "" if wanted in said and "Traceback" not in said else said

    def _whole(self) -> dict[str, str]:
        scripts = str(Path(sys.executable).parent)
        path = os.pathsep.join([scripts, os.environ.get("PATH", os.defpath)])
        return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "120", **self.environment}


_EXAMPLES = """import ast, asyncio, inspect, json, pathlib, traceback
{prelude}
faults, given, names = {{}}, json.loads({given!r}), dict(globals())
for name, text in given.items():
    try:
        code = compile(text, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        if inspect.CO_COROUTINE & code.co_flags:
            asyncio.run(eval(code, dict(names)))
        else:
            exec(code, dict(names))
        faults[name] = ""
    except Exception:  # told by the test of this example; the others run all the same
        faults[name] = traceback.format_exc()
pathlib.Path({told!r}).write_text(json.dumps(faults))
"""
