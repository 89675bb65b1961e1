"""A Prefect server of one's own: on a free port, with a home of its own, under settings with which it keeps up."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from ..sandbox.processes import Process, free_port, start_process

# On default settings the recorder writes one task run at a time: 44 to 57 runs a second on two cores. With these the
# same server records 187. `deployments/server.env` says what each does.
SERVER_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "500",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "500",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "1000",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "500",
        "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "500",
        "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_whatsapp.reporting.causal_ordering",
        "PREFECT_SERVER_EVENTS_EXPIRED_BUCKET_BUFFER": "P1D",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
)


def start_prefect_server(
    home: Path, *, port: int = 0, tuned: bool = True, settings: Mapping[str, str] | None = None
) -> Process:
    """Start a Prefect server with embedded SQLite.

    Args:
        home: Its `PREFECT_HOME`; made if missing.
        port: 0 chooses a free one.
        tuned: Whether it runs with `SERVER_SETTINGS`.
        settings: More settings, as environment variables.

    Returns:
        The running server; its API is at `url` + `/api`.

    Raises:
        ServiceError: It did not start.
    """
    home.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {
        **(SERVER_SETTINGS if tuned else {}),
        "PREFECT_HOME": str(home),
        # Without it the UI asks port 4200, and shows nothing.
        "PREFECT_UI_API_URL": f"{url}/api",
        "PREFECT_API_URL": f"{url}/api",
        **(settings or {}),
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    return start_process(
        "the Prefect server", command, url=url, ready="/api/health", log=home / "server.log", environment=environment
    )


@contextlib.contextmanager
def prefect_server(home: Path, *, tuned: bool = True, settings: Mapping[str, str] | None = None) -> Iterator[Process]:
    """A Prefect server for the time of a `with` block; arguments as for `start_prefect_server`."""
    process = start_prefect_server(home, tuned=tuned, settings=settings)
    try:
        yield process
    finally:
        process.stop()
