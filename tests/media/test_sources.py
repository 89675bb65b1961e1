"""A source is read from wherever it lies, bounded and streamed, and each way it can fail is one sentence."""

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prefect.filesystems import LocalFileSystem, RemoteFileSystem
from prefect_whatsapp.media import download, open_source, open_stream
from prefect_whatsapp.media.stream import ChunkReader
from prefect_whatsapp.models.errors import SourceError

if TYPE_CHECKING:
    from conftest import Web


def test_importing_the_room_is_cheap() -> None:
    heavy = ["boto3", "botocore", "prefect_aws", "prefect", "av", "ffmpeg", "PIL", "httpx", "imageio_ffmpeg", "pyarrow"]
    code = f"import sys, prefect_whatsapp.media; print([m for m in {heavy!r} if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "[]"


def test_a_path_is_read_in_each_way_of_writing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a list.csv").write_bytes(b"to\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (
        "a list.csv",
        "./a list.csv",
        "~/a list.csv",
        f"file://{tmp_path}/a%20list.csv",
        f"{tmp_path}/a list.csv",
        tmp_path / "a list.csv",
    ):
        with open_source(source) as opened:
            assert (opened.stream.read(), opened.size, opened.etag) == (b"to\n", 3, "")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("gone.mp3", "There is no file gone.mp3: check the path, or pass storage if it is a key in a bucket."),
        ("folder", "folder is a directory: name the file in it."),
        ("pipe", "pipe is not a regular file"),
        ("file.txt/x", "file.txt/x can't be read: Not a directory."),
        ("", "The source is empty"),
        ("a\0b", "The source is empty"),
        ("gs://bucket/key", "gs:// is not read here: pass s3://, https://, a path, or a storage block for it."),
        ("s3://", "'s3://' names no bucket: write s3://bucket/key."),
        ("s3://bucket", "s3://bucket/ is a folder, not an object"),
        ("s3://bucket/folder/", "s3://bucket/folder/ is a folder, not an object"),
    ],
)
def test_a_path_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file.txt").write_text("x")
    os.mkfifo("pipe")
    with pytest.raises(SourceError) as caught, open_source(source):
        pass
    assert str(caught.value).startswith(sentence)


def test_a_download_is_named_after_its_content_and_leaves_nothing_else(samples: Path, tmp_path: Path) -> None:
    got = download(samples / "speech_ru.m4a", directory=tmp_path / "new" / "folder")
    content = (samples / "speech_ru.m4a").read_bytes()
    assert got.path == tmp_path / "new" / "folder" / hashlib.sha256(content).hexdigest()
    assert got.path.read_bytes() == content
    assert (got.size, got.etag, got.source) == (len(content), "", str(samples / "speech_ru.m4a"))
    again = download(samples / "speech_ru.m4a", directory=got.path.parent)
    assert again == got
    assert list(got.path.parent.iterdir()) == [got.path]


def test_what_is_larger_than_allowed_is_refused(samples: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"speech_ru\.m4a is larger than the 0\.05 MB that are read"):
        download(samples / "speech_ru.m4a", directory=tmp_path, max_bytes=50_000)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_mid_stream_leaves_no_file(tmp_path: Path, web: "Web") -> None:
    web.answers["/a.mp3"] = (200, {"Content-Length": "1000"}, b"only this")
    with pytest.raises(SourceError, match="broke off"):
        download(f"{web.address}/a.mp3", directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_chunks_read_like_a_file() -> None:
    def chunks() -> Iterator[bytes]:
        yield from (b"one\ntw", b"", b"o\nthree")

    with io.BufferedReader(ChunkReader("x", chunks())) as file:
        assert list(file) == [b"one\n", b"two\n", b"three"]
        assert file.read() == b""
    endless = iter(lambda: bytes(100), None)
    with (
        io.BufferedReader(ChunkReader("x", endless, max_bytes=1_000)) as file,
        pytest.raises(SourceError, match="x is larger"),
    ):
        file.read()


def test_a_prefect_file_system_serves_its_paths(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a.csv").write_bytes(b"to\n")
    remote = RemoteFileSystem(basepath="memory://media-tests")
    remote.write_path("lists/a.csv", b"to\n", _sync=True)  # type: ignore[call-arg]
    for storage in (LocalFileSystem(basepath=str(tmp_path)), remote):
        with open_stream("lists/a.csv", storage, seekable=True) as stream:
            assert stream.read() == b"to\n"
        with (
            pytest.raises(SourceError, match=r"FileSystem can't read 'lists/b\.csv'"),
            open_source("lists/b.csv", storage),
        ):
            pass
        with pytest.raises(SourceError, match="larger"), open_source("lists/a.csv", storage, max_bytes=2):
            pass


async def test_a_prefect_file_system_serves_where_a_loop_runs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"to\n")
    with open_stream("a.csv", LocalFileSystem(basepath=str(tmp_path))) as stream:
        assert stream.read() == b"to\n"
