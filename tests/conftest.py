"""A Prefect home, a Prefect server and a sandbox of the tests' own; nothing of the person's who runs them."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_HOME = Path(tempfile.mkdtemp(prefix="prefect-whatsapp-tests-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
# Before Prefect is imported: it reads its settings then.
os.environ.update(
    PREFECT_HOME=str(_HOME),
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    PREFECT_LOGGING_LEVEL="WARNING",
    # Prefect's log worker outlives the server and complains of it at exit; tests about logs turn this on again.
    PREFECT_LOGGING_TO_API_ENABLED="false",
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="false",
    AWS_EC2_METADATA_DISABLED="true",
)
for _name in ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_PROFILE", "PREFECT_WHATSAPP_LEDGER"):
    os.environ.pop(_name, None)
for _name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(_name, None)

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402
from postgres import Postgres, postgres_or_skip  # noqa: E402
from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: E402
from prefect_whatsapp.cli.prefect_server import prefect_server  # noqa: E402
from prefect_whatsapp.models import Audio  # noqa: E402
from prefect_whatsapp.sandbox.processes import Process  # noqa: E402
from prefect_whatsapp.sandbox.s3 import local_s3  # noqa: E402
from prefect_whatsapp.sandbox.server import RunningSandbox  # noqa: E402

# Without a deadline for an example: a machine that is busy elsewhere takes longer than 200 ms for anything.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def audio_samples() -> Path:
    """The folder of sample audio files."""
    return Path(__file__).parent / "data" / "audio"


@pytest.fixture(scope="session")
def _server() -> Iterator[Process]:
    settings = {
        # Its scheduler makes the runs of the next years at once, for the tests of dates.
        "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_SCHEDULED_TIME": "P1098D",
        "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "0.5",
        # Some messages a test: each is shown when it is sent, not within a second of it.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "1",
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.5",
    }
    with prefect_server(_HOME / "server", settings=settings) as server:
        yield server


@pytest.fixture
def prefect_api(_server: Process) -> Iterator[str]:
    """A real Prefect server; flows of this test run against it."""
    with temporary_settings({PREFECT_API_URL: f"{_server.url}/api"}):
        yield f"{_server.url}/api"


@pytest.fixture(scope="session")
def _sandbox() -> Iterator[RunningSandbox]:
    with RunningSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_sandbox: RunningSandbox) -> Iterator[RunningSandbox]:
    """The simulated services, well-behaved and with an empty truth."""
    _sandbox.reset()
    yield _sandbox
    _sandbox.behave()


@pytest.fixture(scope="session")
def s3_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A local S3."""
    with local_s3(tmp_path_factory.mktemp("s3")) as s3:
        yield s3.url


@pytest.fixture(scope="session")
def note(audio_samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Audio:
    """A good voice note, fetched and looked into."""
    from prefect_whatsapp.tasks import fetch_audio

    return fetch_audio.fn(str(audio_samples / "speech_voice.ogg"), directory=tmp_path_factory.mktemp("notes"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL a worker; `empty_database()` gives each test a database of its own."""
    with postgres_or_skip("fsync=off") as server:
        yield server
