"""A sandbox on a free port of this machine, for tests of any room."""

import threading
from collections.abc import Awaitable, Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from prefect_whatsapp.models import Audio
from prefect_whatsapp.providers.dialect import Dialect
from prefect_whatsapp.providers.http_types import Exchange
from prefect_whatsapp.sandbox.server import RunningSandbox, ThreadedSandbox
from prefect_whatsapp.sandbox.settings import SandboxSettings

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


class FileHost:
    """A web server of local files that notes what is loaded; a context manager."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self._files: dict[str, Path] = {}
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path[1:]
                content = host._files[name].read_bytes() if name in host._files else b""
                host.loads.append(name)
                self.send_response(200 if content else 404)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def url(self, file: Path) -> str:
        """Serve a file, and say where."""
        self._files[file.name] = file
        return f"http://127.0.0.1:{self._server.server_address[1]}/{file.name}"

    def __enter__(self) -> "FileHost":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
