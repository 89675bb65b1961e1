"""Audio samples, a local S3 and a local web server for the media tests."""

import random
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer
from prefect_aws import AwsClientParameters, AwsCredentials, S3Bucket
from web_server import Handler, WebServer

SAMPLES = Path(__file__).parents[1] / "data" / "audio"


@pytest.fixture(scope="session")
def samples() -> Path:
    return SAMPLES


@pytest.fixture
def noise(tmp_path: Path) -> Callable[[float], Path]:
    """Write a WAV of noise: the worst case for an encoder's bitrate."""

    def write(seconds: float, rate: int = 16_000) -> Path:
        path = tmp_path / f"noise-{seconds}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(random.Random(1).randbytes(int(seconds * rate) * 2))
        return path

    return write


@dataclass
class Web:
    """A web server whose answers a test lays down.

    Attributes:
        address: `http://127.0.0.1:port`.
        answers: Path → (status, headers, body).
        requests: (path with query, headers) of each request in order.
    """

    address: str
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def web() -> Iterator[Web]:
    served = Web("")

    class Laid(Handler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            served.requests.append((self.path, dict(self.headers)))
            status, headers, body = served.answers.get(self.path.split("?")[0], (404, {}, b"<html>gone</html>"))
            self.send_response(status)
            length = {} if "Transfer-Encoding" in headers else {"Content-Length": str(len(body))}
            for name, value in {**length, "Connection": "close", **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            self.close_connection = True

        do_PUT = do_HEAD = do_GET

    with WebServer(Laid) as server:
        served.address = server.url
        yield served


@pytest.fixture(autouse=True)
def _no_outside_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def bucket_block(endpoint: str, *, bucket: str = "broadcasts", folder: str = "", **config: Any) -> S3Bucket:
    """An S3Bucket block at an endpoint of a test, that gives up fast."""
    settings = {"retries": {"total_max_attempts": 1}, "connect_timeout": 2, "read_timeout": 2, **config}
    return S3Bucket(
        bucket_name=bucket,
        bucket_folder=folder,
        credentials=AwsCredentials(
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            region_name="us-east-1",
            aws_client_parameters=AwsClientParameters(endpoint_url=endpoint, config=settings),
        ),
    )


@pytest.fixture
def block() -> Callable[..., S3Bucket]:
    return bucket_block


@pytest.fixture
def s3(moto: str) -> Iterator[S3Bucket]:
    """A bucket `broadcasts` in an S3 that is empty otherwise."""
    storage = bucket_block(moto)
    client = storage.credentials.get_boto3_session().client("s3", endpoint_url=moto)
    client.create_bucket(Bucket="broadcasts")
    yield storage
    for found in client.list_objects_v2(Bucket="broadcasts").get("Contents", []):
        client.delete_object(Bucket="broadcasts", Key=found["Key"])
    client.delete_bucket(Bucket="broadcasts")
    client.close()
