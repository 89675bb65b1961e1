"""A local S3 (moto's server) for demonstrations and rehearsals."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .processes import Process, free_port, start_process

if TYPE_CHECKING:
    from prefect_aws import S3Bucket

ACCESS_KEY = "sandbox"
SECRET_KEY = "sandbox-secret"  # noqa: S105  # moto takes any
REGION = "us-east-1"
CREDENTIALS: Mapping[str, str] = MappingProxyType(
    {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_DEFAULT_REGION": REGION}
)


def start_s3(directory: Path, *, port: int = 0) -> Process:
    """Start moto's server; its log goes to `directory`.

    Raises:
        ServiceError: It did not start; is the `sandbox` extra installed?
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    return start_process(
        "the local S3",
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        url=f"http://127.0.0.1:{port}",
        ready="/moto-api/",
        log=directory / "s3.log",
        environment=CREDENTIALS,
    )


@contextlib.contextmanager
def local_s3(directory: Path) -> Iterator[Process]:
    """A local S3 for the time of a `with` block."""
    process = start_s3(directory)
    try:
        yield process
    finally:
        process.stop()


def bucket_block(url: str, bucket: str) -> "S3Bucket":
    """The S3Bucket block of a bucket in the local S3, which is made."""
    from prefect_aws import AwsClientParameters, AwsCredentials, S3Bucket
    from pydantic import SecretStr

    credentials = AwsCredentials(
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SecretStr(SECRET_KEY),
        region_name=REGION,
        aws_client_parameters=AwsClientParameters(endpoint_url=url),
    )
    client: Any = credentials.get_s3_client()
    client.create_bucket(Bucket=bucket)
    return S3Bucket(bucket_name=bucket, credentials=credentials)
