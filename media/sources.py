"""Where audio and recipient lists come from: S3, https, a Prefect file system, a path; all read as they arrive.

With `storage`, every source is a key or path in it, below its folder, and nothing else is read. Without:

s3://bucket/key             an object, by boto3's own credentials
https://host/weekly.mp3     a link; http only for this machine itself
/srv/weekly.mp3  ./a  ~/a   a local path; so is file:///srv/weekly.mp3

Deployed runs are bound further: see `allowed_sources`.
"""

import hashlib
import io
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ..models.errors import SourceError
from .allowed_sources import AllowedSources
from .limits import MAX_AUDIO_BYTES, SPOOL_BYTES
from .stream import CHUNK_BYTES, ChunkReader, Source, check_size

if TYPE_CHECKING:
    from prefect.filesystems import ReadableFileSystem
    from prefect_aws import S3Bucket

_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")


@dataclass(frozen=True)
class Downloaded:
    """A source's bytes in a local file.

    Attributes:
        path: The file; its name is the digest of its bytes.
        size: Bytes.
        etag: The store's own digest, without quotes; empty where it gives none.
        source: Where it came from, without credentials or query string.
    """

    path: Path
    size: int
    etag: str
    source: str


@contextmanager
def open_source(
    source: str | os.PathLike[str], storage: "ReadableFileSystem | S3Bucket | None" = None, *, max_bytes: int = 0
) -> Iterator[Source]:
    """Open a source for reading, once, from its beginning.

    Args:
        source: With `storage`, a key or path in it. Without, `s3://bucket/key`, an https link, or a local path.
        storage: An `S3Bucket` block, or any other Prefect file system (`LocalFileSystem`, `RemoteFileSystem`), read
            whole; None for boto3's own chain.
        max_bytes: Most bytes that are read; 0 for no bound.

    Returns:
        A context manager that gives the opened source.

    Raises:
        SourceError: It isn't there, may not be read, is too large, or can't be reached; also while it is read.

    Example:
        >>> with open_source("README.md") as readme:
        ...     readme.stream.readline()
        b'# prefect-whatsapp\\n'
    """
    text = os.fspath(source)
    if not text.strip() or "\0" in text:
        raise SourceError("The source is empty: pass an s3:// address, a key in storage, an https link or a path.")
    allowed = AllowedSources.of_this_run()
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if storage is not None:
        key = _key_in(source, storage)
        if _is_bucket(storage):
            opened = _open_s3(key, storage, max_bytes, allowed)
        else:
            opened = _open_file_system(key, storage, max_bytes, allowed)
    elif scheme == "s3":
        opened = _open_s3("s3://" + text[5:], None, max_bytes, allowed)
    elif scheme in {"https", "http"}:
        opened = _open_link(text, max_bytes, allowed)
    elif scheme == "file":
        opened = _open_path(Path(unquote(urlsplit(text).path)), max_bytes, allowed)
    elif scheme:
        raise SourceError(f"{scheme}:// is not read here: pass s3://, https://, a path, or a storage block for it.")
    else:
        opened = _open_path(Path(text).expanduser(), max_bytes, allowed)
    with opened as found:
        yield found


@contextmanager
def open_stream(
    source: str | os.PathLike[str],
    storage: "ReadableFileSystem | S3Bucket | None" = None,
    *,
    seekable: bool = False,
    max_bytes: int = 0,
) -> Iterator[IO[bytes]]:
    """Open a source as a binary file, for a reader of CSV, JSONL or Parquet.

    Args:
        source: As in `open_source`.
        storage: As in `open_source`.
        seekable: Whether the reader has to jump (Parquet does): what is not a local file goes to a temporary one first.
        max_bytes: Most bytes that are read; 0 for no bound.

    Returns:
        A context manager that gives the file.

    Raises:
        SourceError: As in `open_source`; also while it is read.
    """
    with open_source(source, storage, max_bytes=max_bytes) as opened:
        if not seekable or opened.stream.seekable():
            yield opened.stream
            return
        with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as spooled:
            while chunk := opened.stream.read(CHUNK_BYTES):
                spooled.write(chunk)
            spooled.seek(0)
            yield spooled


def download(
    source: str | os.PathLike[str],
    storage: "ReadableFileSystem | S3Bucket | None" = None,
    *,
    directory: Path,
    max_bytes: int = MAX_AUDIO_BYTES,
) -> Downloaded:
    """Copy a source into a local file that is named after its content, and so never changes under its reader.

    Args:
        source: As in `open_source`.
        storage: As in `open_source`.
        directory: Where the file goes; made if missing.
        max_bytes: Most bytes that are read; 0 for no bound.

    Returns:
        The file, its size, ETag and the source's name.

    Raises:
        SourceError: As in `open_source`.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open_source(source, storage, max_bytes=max_bytes) as opened:
        handle, partial = tempfile.mkstemp(dir=directory, prefix=".download-")
        try:
            digest, size = hashlib.sha256(), 0
            with os.fdopen(handle, "wb") as file:
                while chunk := opened.stream.read(CHUNK_BYTES):
                    file.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
            path = directory / digest.hexdigest()
            os.replace(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        return Downloaded(path, size, opened.etag, opened.name)


def _is_bucket(storage: object) -> bool:
    # By its shape, so that a run that reads no S3 does not import prefect_aws (two thirds of a second).
    return hasattr(storage, "bucket_name") and hasattr(storage, "credentials")


def _key_in(source: str | os.PathLike[str], storage: object) -> str:
    """The key in a storage that a source names, or one sentence: with storage nothing else is read.

    Raises:
        SourceError: It leads out of the storage.
    """
    text = os.fspath(source)
    key = text
    if _is_bucket(storage) and text.lower().startswith("s3://"):
        bucket, _, key = text[5:].partition("/")
        folder = str(getattr(storage, "bucket_folder", "") or "").strip("/")
        if bucket != getattr(storage, "bucket_name", "") or (folder and not key.startswith(folder + "/")):
            raise SourceError(
                f"{_shown(text)} is not in the storage block's bucket and folder: name a key in it, or leave storage "
                "empty."
            )
    parts = key.replace("\\", "/").split("/")
    leads_out = "://" in key or _DRIVE.match(key) or parts[0] in ("", ".") or parts[0].startswith("~") or ".." in parts
    if isinstance(source, os.PathLike) or leads_out or Path(key).is_absolute():
        raise SourceError(f"{_shown(text)} is not a key in the storage block: name one, or leave storage empty.")
    return key


def _shown(text: str) -> str:
    from .links import link_name

    return link_name(text) if "://" in text else text


@contextmanager
def _open_s3(key: str, storage: object, max_bytes: int, allowed: AllowedSources) -> Iterator[Source]:
    from prefect_aws import S3Bucket

    from .s3 import endpoint_of, locate, open_object

    bucket_block = storage if isinstance(storage, S3Bucket) else None
    bucket, whole = locate(key, bucket_block)
    allowed.check_object(bucket, whole, endpoint_of(bucket_block))
    name = f"s3://{bucket}/{whole}"
    with open_object(bucket, whole, bucket_block) as found:
        check_size(name, found.size or 0, max_bytes)
        with io.BufferedReader(ChunkReader(name, found.chunks, max_bytes=max_bytes), CHUNK_BYTES) as stream:
            yield Source(name, stream, found.size, found.etag)


@contextmanager
def _open_link(link: str, max_bytes: int, allowed: AllowedSources) -> Iterator[Source]:
    from .links import link_name, open_link

    name = link_name(link)
    with open_link(link, allowed=allowed) as found:
        check_size(name, found.size or 0, max_bytes)
        with io.BufferedReader(ChunkReader(name, found.chunks, max_bytes=max_bytes), CHUNK_BYTES) as stream:
            yield Source(name, stream, found.size, found.etag)


@contextmanager
def _open_path(path: Path, max_bytes: int, allowed: AllowedSources) -> Iterator[Source]:
    try:
        path = allowed.check_path(path)
        # What was looked at is what is opened: no link that took its place since, and no pipe that nobody writes to.
        descriptor = os.open(path, _OPEN | (_NO_LINK if allowed.listed else 0))
    except FileNotFoundError:
        raise SourceError(
            f"There is no file {path}: check the path, or pass storage if it is a key in a bucket."
        ) from None
    except OSError as exc:
        raise SourceError(f"{path} can't be read: {exc.strerror or type(exc).__name__}.") from None
    try:
        facts = os.fstat(descriptor)
        if stat.S_ISDIR(facts.st_mode):
            raise SourceError(f"{path} is a directory: name the file in it.")
        if not stat.S_ISREG(facts.st_mode):
            raise SourceError(f"{path} is not a regular file: pass the path of one.")
        check_size(str(path), facts.st_size, max_bytes)
        file = os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise
    with file:
        yield Source(str(path), file, facts.st_size)


@contextmanager
def _open_file_system(
    path: str, storage: "ReadableFileSystem | S3Bucket", max_bytes: int, allowed: AllowedSources
) -> Iterator[Source]:
    name = type(storage).__name__
    allowed.check_file_system(name, str(getattr(storage, "basepath", "")), getattr(storage, "settings", None))
    try:
        # _sync: a block's methods are coroutines where a loop runs, and this may be called in such a thread.
        content = storage.read_path(path, _sync=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    except Exception as exc:  # whatever file system is behind the block has errors of its own
        raise SourceError(
            f"{name} can't read {path!r} ({type(exc).__name__}): check the path and the block's basepath."
        ) from None
    assert isinstance(content, bytes)
    check_size(path, len(content), max_bytes)
    yield Source(path, io.BytesIO(content), len(content))
