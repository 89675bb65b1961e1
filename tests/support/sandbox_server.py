"""A sandbox on a free port of this machine, for tests of any room."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from prefect_whatsapp.models import Audio
from prefect_whatsapp.providers.dialect import Dialect
from prefect_whatsapp.providers.http_types import Exchange
from prefect_whatsapp.sandbox.server import RunningSandbox, ThreadedSandbox
from prefect_whatsapp.sandbox.settings import SandboxSettings
from web_server import Handler, WebServer

TOKEN = SandboxSettings().token
PHONE_NUMBER_ID = SandboxSettings().phone_number_id
CHAT_API_INSTANCE = SandboxSettings().chat_api_instance
WAWP_INSTANCE = SandboxSettings().wawp_instance

Run = Callable[[Dialect, Exchange[Any]], Awaitable[Any]]


def threaded(**settings: object) -> ThreadedSandbox:
    """A sandbox in a thread of this process; `app` gives its truth and faults directly."""
    return ThreadedSandbox(SandboxSettings.model_validate(settings))


def subprocess(**settings: object) -> RunningSandbox:
    """A sandbox in a process of its own, which survives what is done to the test's other processes."""
    return RunningSandbox(SandboxSettings.model_validate(settings))


def audio_of(content: bytes, **facts: Any) -> Audio:
    """What is known of a file, for an upload."""
    values: dict[str, Any] = {
        "source": "voice.ogg",
        "path": Path("voice.ogg"),
        "container": "ogg",
        "codec": "opus",
        "channels": 1,
        "sample_rate": 48000,
        "duration": 18.0,
        "size": len(content),
        "sha256": "0" * 64,
        "mime_type": "audio/ogg",
        "filename": "voice.ogg",
        "voice_ready": True,
    }
    return Audio(**values | facts)


class FileHost(WebServer):
    """A web server of local files that notes what is loaded."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self._files: dict[str, Path] = {}
        host = self

        class Files(Handler):
            def do_GET(self) -> None:
                name = self.path[1:]
                content = host._files[name].read_bytes() if name in host._files else b""
                host.loads.append(name)
                self.say(200 if content else 404, content)

        super().__init__(Files)

    def address(self, file: Path) -> str:
        """Serve a file, and say where."""
        self._files[file.name] = file
        return f"{self.url}/{file.name}"
