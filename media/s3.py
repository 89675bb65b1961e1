"""Objects in S3 and what speaks like it (MinIO, R2, …), through boto3 and the blocks of prefect-aws.

Credentials come from the `S3Bucket` block's `AwsCredentials` or `MinIOCredentials`; without a block, from boto3's own
chain: environment (`AWS_…`, also `AWS_ENDPOINT_URL`), profile, container or instance role.

Source: https://boto3.amazonaws.com/v1/documentation/api/latest/reference/services/s3.html
"""

import datetime
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..models.errors import SourceError
from .allowed_sources import AllowedSources
from .stream import CHUNK_BYTES

if TYPE_CHECKING:
    from botocore.config import Config
    from mypy_boto3_s3 import S3Client
    from prefect_aws import S3Bucket

_WRITTEN_ANEW_AFTER = datetime.timedelta(days=1)
LONGEST_LINK_SECONDS = 7 * 24 * 3600  # of a signature version 4

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList; HEAD gives the bare HTTP status.
_REFUSALS: tuple[tuple[frozenset[str], str], ...] = (
    (
        frozenset({"NoSuchBucket"}),
        "There is no bucket {bucket!r} ({name}): check its name, the region and the endpoint.",
    ),
    (
        frozenset({"NoSuchKey", "404"}),
        "There is no object {key!r} in bucket {bucket!r}: check the key, and that the file was uploaded.",
    ),
    (
        frozenset({"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem"}),
        "S3 refused access, so {name} can't be {verb} ({code}): the credentials need permission for it; without "
        "permission to list, S3 gives the same answer for a missing key.",
    ),
    (
        frozenset(
            {
                "InvalidAccessKeyId",
                "SignatureDoesNotMatch",
                "ExpiredToken",
                "InvalidToken",
                "TokenRefreshRequired",
                "RequestTimeTooSkewed",
            }
        ),
        "S3 refused the credentials for {name} ({code}): renew them in the storage block, and check its region and "
        "the machine's clock.",
    ),
    (
        frozenset({"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}),
        "Bucket {bucket!r} is in another region ({code}): set region_name in the storage block's credentials.",
    ),
    (frozenset({"InvalidObjectState"}), "{name} is archived (Glacier): restore it first."),
)
_OTHER_REFUSAL = "{name} can't be {verb}: S3 answered {code}; run again, or ask the owner of the bucket."


@dataclass(frozen=True)
class ObjectBody:
    """The answer to a GET of one object: its chunks as they arrive, its size in bytes and its ETag."""

    chunks: Iterator[bytes]
    size: int | None
    etag: str


@dataclass(frozen=True)
class StoredObject:
    """An object that `put` left in the bucket.

    Attributes:
        uri: `s3://bucket/key`.
        etag: The store's own digest, without quotes.
        uploaded: False where the same bytes were put there within the last day.
    """

    uri: str
    etag: str
    uploaded: bool


def locate(key: str, storage: "S3Bucket | None") -> tuple[str, str]:
    """Find bucket and key of an object.

    Args:
        key: `s3://bucket/key`, or a key in `storage`, below its `bucket_folder`.
        storage: The bucket of a bare key.

    Returns:
        Bucket name and whole key.

    Raises:
        SourceError: No bucket or no key is named.
    """
    if key.startswith("s3://"):
        bucket, _, whole = key.removeprefix("s3://").partition("/")
    elif storage is None:
        raise SourceError(f"{key!r} names no bucket: write s3://bucket/key or pass storage, an S3Bucket block.")
    else:
        bucket, whole = storage.bucket_name, key.lstrip("/")
        folder = storage.bucket_folder.strip("/")
        # As S3Bucket does itself: a key that already begins with the folder is taken as whole.
        if folder and not whole.startswith(folder + "/"):
            whole = f"{folder}/{whole}"
    if not bucket:
        raise SourceError(f"{key!r} names no bucket: write s3://bucket/key.")
    if not whole or whole.endswith("/"):
        raise SourceError(f"s3://{bucket}/{whole} is a folder, not an object: name the file in it.")
    return bucket, whole


def endpoint_of(storage: "S3Bucket | None") -> str:
    """The address that a block gives for its store; empty for that of AWS, or of boto3's own environment."""
    return (storage.credentials.aws_client_parameters.endpoint_url or "") if storage is not None else ""


@contextmanager
def open_object(bucket: str, key: str, storage: "S3Bucket | None") -> Iterator[ObjectBody]:
    """GET one object, read as it arrives.

    Raises:
        SourceError: It isn't there, may not be read, or the store can't be reached.
    """
    with _client(storage, f"s3://{bucket}/{key}") as client:
        with _explained(bucket, key):
            answer = client.get_object(Bucket=bucket, Key=key)
        body = answer["Body"]

        def chunks() -> Iterator[bytes]:
            with _explained(bucket, key):
                yield from body.iter_chunks(CHUNK_BYTES)

        try:
            yield ObjectBody(chunks(), answer.get("ContentLength"), answer.get("ETag", "").strip('"'))
        finally:
            body.close()


def put(storage: "S3Bucket | None", key: str, path: Path, mime_type: str) -> StoredObject:
    """Keep a file in the bucket, unless the same bytes were put there within the last day.

    Args:
        storage: The bucket of a bare key, and whose credentials are used; None for boto3's own chain.
        key: `s3://bucket/key`, or a key in `storage`.
        path: The local file.
        mime_type: The `Content-Type` that the object is served with; services that load audio by link go by it.

    Returns:
        The object and whether it had to be uploaded.

    Raises:
        SourceError: The bucket is missing, refuses, or can't be reached.
    """
    bucket, whole = locate(key, storage)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
        file.seek(0)
        with _client(storage, f"s3://{bucket}/{whole}") as client, _explained(bucket, whole, verb="written"):
            found = _head(client, bucket, whole)
            same = (size, sha256, mime_type) == (
                found.get("ContentLength"),
                found.get("Metadata", {}).get("sha256"),
                found.get("ContentType"),
            )
            # An old object is written anew, so that its age is that of its last use: see `remove_old`.
            if same and _age(found) < _WRITTEN_ANEW_AFTER:
                return StoredObject(f"s3://{bucket}/{whole}", str(found["ETag"]).strip('"'), uploaded=False)
            made = client.put_object(
                Bucket=bucket, Key=whole, Body=file, ContentType=mime_type, Metadata={"sha256": sha256}
            )
    return StoredObject(f"s3://{bucket}/{whole}", made["ETag"].strip('"'), uploaded=True)


def presign(storage: "S3Bucket | None", key: str, seconds: int) -> str:
    """Make an address from which anybody may load one object for a while.

    A link signed with temporary credentials (a role, a session token) dies with them, however long it was asked for.

    Args:
        storage: The bucket of a bare key, and whose credentials sign; None for boto3's own chain.
        key: `s3://bucket/key`, or a key in `storage`.
        seconds: How long the link lives, 1 to 604,800 (seven days).

    Returns:
        The signed link. It is a secret while it lives.

    Raises:
        SourceError: There are no credentials to sign with, or the life is out of range.
    """
    if not 1 <= seconds <= LONGEST_LINK_SECONDS:
        raise SourceError(f"A signed link can be valid for 1 to {LONGEST_LINK_SECONDS:,} seconds, not {seconds:,}.")
    bucket, whole = locate(key, storage)
    with _client(storage, f"s3://{bucket}/{whole}") as client, _explained(bucket, whole):
        params = {"Bucket": bucket, "Key": whole}
        return client.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)


def remove_old(
    storage: "S3Bucket", folder: str, before: datetime.datetime, *, dry_run: bool = False
) -> tuple[int, int]:
    """Delete the objects of one of our folders that were written before a moment.

    Args:
        storage: The bucket, below whose `bucket_folder` our folder lies.
        folder: Such as `prefect-whatsapp`; only objects named as `publish` names them are touched.
        before: Objects that were written later stay.
        dry_run: Only count.

    Returns:
        How many objects, and their bytes.

    Raises:
        SourceError: The bucket is missing, refuses, or can't be reached.
    """
    bucket, prefix = locate(f"{folder}/x", storage)
    prefix = prefix[:-1]
    ours = re.compile(re.escape(prefix) + r"[0-9a-f]{64}/[^/]+")
    found: list[tuple[str, int]] = []
    with _client(storage, f"s3://{bucket}/{prefix}") as client, _explained(bucket, prefix, verb="listed"):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for each in page.get("Contents", ()):
                key = each.get("Key", "")
                if ours.fullmatch(key) and each.get("LastModified", before) < before:
                    found.append((key, each.get("Size", 0)))
        if not dry_run:
            for key, _ in found:
                client.delete_object(Bucket=bucket, Key=key)
    return len(found), sum(size for _, size in found)


def _age(found: dict[str, Any]) -> datetime.timedelta:
    written: datetime.datetime = found["LastModified"]
    return datetime.datetime.now(datetime.UTC) - written


def _head(client: "S3Client", bucket: str, key: str) -> dict[str, Any]:
    from botocore.exceptions import ClientError

    try:
        return dict(client.head_object(Bucket=bucket, Key=key))
    except ClientError as exc:
        # Who may write but not read gets 403 here; the upload itself then says what is allowed.
        if exc.response.get("Error", {}).get("Code", "") in {"404", "NoSuchKey", "403", "AccessDenied"}:
            return {}
        raise


def _config(given: "Config | None") -> "Config":
    from botocore import UNSIGNED
    from botocore.config import Config

    # Checksum trailers and chunked signing are refused by several S3-compatible stores; a presigned link of version 2,
    # which boto3 still makes for some regions, by newer ones. What the block's config says wins.
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 3},
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    if given is None:
        return config
    merged = config.merge(given)
    if getattr(given, "signature_version", None) is UNSIGNED:
        vars(merged)["signature_version"] = UNSIGNED
    return merged


@contextmanager
def _client(storage: "S3Bucket | None", name: str) -> Iterator["S3Client"]:
    import boto3
    from botocore.exceptions import BotoCoreError

    allowed = AllowedSources.of_this_run()
    endpoint = endpoint_of(storage)
    bucket = name.removeprefix("s3://").partition("/")[0]
    if (
        allowed.deployed
        and storage is not None
        and (storage.credentials.aws_client_parameters.config or {}).get("proxies")
    ):
        raise SourceError(
            f"{name} can't be reached by a proxy that the storage block names: deployed runs use the worker's own."
        )
    watched = bool(endpoint) and allowed.check_endpoint(bucket, endpoint)
    try:
        if storage is None:
            session, params = boto3.Session(), {}
        else:
            credentials = storage.credentials
            session, params = credentials.get_boto3_session(), credentials.aws_client_parameters.get_params_override()
        params["config"] = _config(params.get("config"))
        client: S3Client = session.client("s3", **params)
    except (BotoCoreError, ValueError) as exc:
        raise SourceError(
            f"No S3 client for {name} ({type(exc).__name__}): check the storage block's credentials, profile and "
            "endpoint_url."
        ) from None

    def look_at(request: Any, **_: Any) -> None:
        # Of each request, as it goes out: a bucket's name can become part of the host.
        import httpx

        from .links import proxy_for

        url = httpx.URL(str(request.url))
        allowed.check_host(name, url.host, url.port, resolve=proxy_for(url) is None)

    if watched:
        client.meta.events.register("before-send.s3", look_at)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _explained(bucket: str, key: str, *, verb: str = "read") -> Iterator[None]:
    from botocore import exceptions

    name = f"s3://{bucket}/{key}"
    try:
        yield
    except exceptions.ClientError as exc:
        raise SourceError(_refusal(exc.response, bucket, key, verb)) from None
    except (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
        exceptions.SSOError,
    ) as exc:
        raise SourceError(
            f"{name} can't be {verb} without S3 credentials ({type(exc).__name__}): pass storage, an S3Bucket "
            "block with AwsCredentials or MinIOCredentials, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        ) from None
    except exceptions.ParamValidationError:
        raise SourceError(f"{name} is not a valid S3 address: check the bucket's name and the key.") from None
    except (exceptions.HTTPClientError, exceptions.BotoCoreError) as exc:
        endpoint = urlsplit(str(getattr(exc, "kwargs", {}).get("endpoint_url") or ""))
        port = f":{endpoint.port}" if endpoint.port else ""
        at = f" at {endpoint.hostname}{port}" if endpoint.hostname else ""
        raise SourceError(
            f"{name} could not be {verb}: S3{at} did not answer in full ({type(exc).__name__}); check the network "
            "and the block's endpoint_url, and run again."
        ) from None


def _refusal(response: Any, bucket: str, key: str, verb: str) -> str:
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", "an error")
    code = str(response.get("Error", {}).get("Code") or status)
    sentence = next((text for codes, text in _REFUSALS if code in codes), _OTHER_REFUSAL)
    return sentence.format(name=f"s3://{bucket}/{key}", bucket=bucket, key=key, verb=verb, code=code)
