"""Objects are read, kept and signed through boto3 with the block's credentials; each refusal is one sentence."""

import datetime
import io
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prefect_aws import AwsClientParameters, MinIOCredentials, S3Bucket
from prefect_whatsapp.media import download, open_source, open_stream, presign, put
from prefect_whatsapp.media.s3 import locate, remove_old
from prefect_whatsapp.models.errors import SourceError

if TYPE_CHECKING:
    from conftest import Web

Block = Callable[..., S3Bucket]


def test_an_object_is_downloaded_with_size_and_etag(s3: S3Bucket, samples: Path, tmp_path: Path) -> None:
    stored = put(s3, "weekly.mp3", samples / "speech_cover.mp3", "audio/mpeg")
    for source in ("weekly.mp3", "s3://broadcasts/weekly.mp3"):
        got = download(source, s3, directory=tmp_path)
        assert got.path.read_bytes() == (samples / "speech_cover.mp3").read_bytes()
        assert (got.size, got.etag, got.source) == (221_735, stored.etag, "s3://broadcasts/weekly.mp3")


def test_a_list_is_read_as_it_arrives(s3: S3Bucket, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"to\n" + b"+16505550100\n" * 50_000)
    put(s3, "list.csv", tmp_path / "list.csv", "text/csv")
    with open_stream("list.csv", s3) as stream:
        assert not stream.seekable()
        assert stream.readline() == b"to\n"
        assert sum(1 for _ in stream) == 50_000
    with open_stream("list.csv", s3) as stream, io.TextIOWrapper(stream, "utf-8") as text:
        assert next(text) == "to\n"


def test_parquet_can_be_read_from_a_bucket(s3: S3Bucket, tmp_path: Path) -> None:
    pq.write_table(pa.table({"to": ["+16505550100", "+16505550101"]}), tmp_path / "list.parquet")
    put(s3, "list.parquet", tmp_path / "list.parquet", "application/vnd.apache.parquet")
    with open_stream("list.parquet", s3, seekable=True) as stream:
        assert pq.ParquetFile(stream).read().to_pydict() == {"to": ["+16505550100", "+16505550101"]}


def test_without_a_block_the_environment_says_where_and_who(
    s3: S3Bucket, moto: str, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    assert put(None, "s3://broadcasts/a.amr", samples / "speech.amr", "audio/amr").uploaded
    assert download("s3://broadcasts/a.amr", directory=tmp_path).size == 29_318


def test_minio_credentials_work_alike(s3: S3Bucket, moto: str, samples: Path, tmp_path: Path) -> None:
    minio = S3Bucket(
        bucket_name="broadcasts",
        credentials=MinIOCredentials(
            minio_root_user="testing",
            minio_root_password="testing",
            region_name="us-east-1",
            aws_client_parameters=AwsClientParameters(endpoint_url=moto),
        ),
    )
    put(minio, "a.amr", samples / "speech.amr", "audio/amr")
    assert download("a.amr", minio, directory=tmp_path).size == 29_318


def test_the_folder_of_a_block_holds_its_bare_keys(block: Block) -> None:
    storage = block("http://127.0.0.1:1", folder="news/")
    assert locate("a.mp3", storage) == ("broadcasts", "news/a.mp3")
    assert locate("news/a.mp3", storage) == ("broadcasts", "news/a.mp3")
    assert locate("newsletter/a.mp3", storage) == ("broadcasts", "news/newsletter/a.mp3")
    assert locate("s3://other/a.mp3", storage) == ("other", "a.mp3")
    with pytest.raises(SourceError, match="names no bucket"):
        locate("a.mp3", None)


def test_a_key_reads_and_writes_as_the_block_itself_does(s3: S3Bucket, block: Block, moto: str, samples: Path) -> None:
    storage = block(moto, folder="news")
    assert put(storage, "a.amr", samples / "speech.amr", "audio/amr").uri == "s3://broadcasts/news/a.amr"
    assert storage.read_path("a.amr", _sync=True) == (samples / "speech.amr").read_bytes()  # type: ignore[call-arg]


def test_the_same_bytes_are_put_once(s3: S3Bucket, samples: Path) -> None:
    first = put(s3, "a.ogg", samples / "speech_voice.ogg", "audio/ogg")
    again = put(s3, "a.ogg", samples / "speech_voice.ogg", "audio/ogg")
    assert (first.uploaded, again.uploaded) == (True, False)
    assert again.etag == first.etag
    assert put(s3, "a.ogg", samples / "speech_voice.ogg", "audio/ogg; codecs=opus").uploaded
    assert put(s3, "a.ogg", samples / "speech.amr", "audio/amr").uploaded


def test_an_old_object_is_written_anew_so_that_its_age_is_that_of_its_last_use(
    s3: S3Bucket, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, "again.amr", samples / "speech.amr", "audio/amr")
    monkeypatch.setattr("prefect_whatsapp.media.s3._WRITTEN_ANEW_AFTER", datetime.timedelta())
    assert put(s3, "again.amr", samples / "speech.amr", "audio/amr").uploaded


def test_of_a_bucket_only_our_own_old_objects_are_removed(
    block: Block, moto: str, s3: S3Bucket, samples: Path, tmp_path: Path
) -> None:
    """What somebody else keeps in a folder of that name stays, and what was used since."""
    storage = block(moto, folder="own")
    ours = f"prefect-whatsapp/{'a1' * 32}/voice.ogg"
    for key in (
        ours,
        "prefect-whatsapp/list.csv",
        f"prefect-whatsapp/{'a1' * 32}/a/b",
        f"x-prefect-whatsapp/{'a1' * 32}/b",
    ):
        put(storage, key, samples / "speech.amr", "audio/amr")
    put(s3, f"prefect-whatsapp/{'a1' * 32}/voice.ogg", samples / "speech.amr", "audio/amr")
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    assert remove_old(storage, "prefect-whatsapp", now - hour) == (0, 0)
    assert remove_old(storage, "prefect-whatsapp", now + hour, dry_run=True) == (1, 29_318)
    assert remove_old(storage, "prefect-whatsapp", now + hour) == (1, 29_318)
    assert remove_old(storage, "prefect-whatsapp", now + hour) == (0, 0)
    with pytest.raises(SourceError, match="no object"):
        download(ours, storage, directory=tmp_path)
    assert remove_old(s3, "prefect-whatsapp", now + hour) == (1, 29_318)


def test_a_signed_link_serves_the_object_with_its_type_for_its_life(s3: S3Bucket, samples: Path) -> None:
    put(s3, "a.ogg", samples / "speech_voice.ogg", "audio/ogg")
    link = presign(s3, "a.ogg", 3600)
    query = parse_qs(urlsplit(link).query)
    assert (query["X-Amz-Expires"], query["X-Amz-Algorithm"]) == (["3600"], ["AWS4-HMAC-SHA256"])
    answer = httpx.get(link)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/ogg")
    assert answer.content == (samples / "speech_voice.ogg").read_bytes()


@pytest.mark.parametrize("seconds", [0, -1, 7 * 24 * 3600 + 1])
def test_a_life_that_no_link_can_have_is_refused(block: Block, seconds: int) -> None:
    with pytest.raises(SourceError, match="can be valid for 1 to 604,800 seconds"):
        presign(block("http://127.0.0.1:1"), "a.ogg", seconds)


def refusal(source: str, storage: S3Bucket | None) -> str:
    with pytest.raises(SourceError) as caught, open_source(source, storage) as opened:
        opened.stream.read()
    assert "\n" not in str(caught.value)
    assert "testing" not in str(caught.value)
    return str(caught.value)


def test_a_missing_key_or_bucket_is_named(s3: S3Bucket, samples: Path) -> None:
    assert refusal("gone.mp3", s3) == (
        "There is no object 'gone.mp3' in bucket 'broadcasts': check the key, and that the file was uploaded."
    )
    with pytest.raises(SourceError, match="There is no bucket 'no-such-bucket'"):
        put(s3, "s3://no-such-bucket/a.amr", samples / "speech.amr", "audio/amr")
    assert "is not a valid S3 address" in refusal("s3://bad bucket/a.mp3", None)


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (403, "AccessDenied", "S3 refused access, so s3://broadcasts/a.mp3 can't be read (AccessDenied)"),
        (403, "InvalidAccessKeyId", "S3 refused the credentials for s3://broadcasts/a.mp3 (InvalidAccessKeyId)"),
        (400, "ExpiredToken", "S3 refused the credentials for s3://broadcasts/a.mp3 (ExpiredToken)"),
        (403, "SignatureDoesNotMatch", "S3 refused the credentials for s3://broadcasts/a.mp3 (SignatureDoesNotMatch)"),
        (301, "PermanentRedirect", "Bucket 'broadcasts' is in another region (PermanentRedirect)"),
        (403, "InvalidObjectState", "s3://broadcasts/a.mp3 is archived (Glacier): restore it first."),
        (503, "SlowDown", "s3://broadcasts/a.mp3 can't be read: S3 answered SlowDown; run again"),
    ],
)
def test_each_refusal_of_s3_is_one_sentence(web: "Web", block: Block, status: int, code: str, sentence: str) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    web.answers["/broadcasts/a.mp3"] = (status, {"Content-Type": "application/xml"}, body)
    assert refusal("a.mp3", block(web.address)).startswith(sentence)


def test_an_endpoint_that_is_no_s3_is_one_sentence(web: "Web", block: Block) -> None:
    web.answers["/broadcasts/a.mp3"] = (502, {"Content-Type": "text/html"}, b"<html>Bad gateway</html>")
    assert "s3://broadcasts/a.mp3" in refusal("a.mp3", block(web.address))


def test_a_body_that_breaks_off_is_one_sentence(web: "Web", block: Block) -> None:
    web.answers["/broadcasts/a.mp3"] = (200, {"Content-Length": "5000", "ETag": '"abc"'}, b"only this")
    assert refusal("a.mp3", block(web.address)).startswith("s3://broadcasts/a.mp3 could not be read: S3 did not answer")


def test_a_dead_or_silent_endpoint_is_one_sentence(block: Block) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        dead = refusal("a.mp3", block(f"http://user:word@127.0.0.1:{port}"))
        assert dead.startswith(
            f"s3://broadcasts/a.mp3 could not be read: S3 at 127.0.0.1:{port} did not answer in full"
        )
        assert "word" not in dead
        taken.listen()
        assert "ReadTimeoutError" in refusal("a.mp3", block(f"http://127.0.0.1:{port}", read_timeout=0.3))


def test_without_credentials_the_sentence_says_how_to_pass_them() -> None:
    assert refusal("s3://broadcasts/a.mp3", None).startswith(
        "s3://broadcasts/a.mp3 can't be read without S3 credentials (NoCredentialsError): pass storage, an S3Bucket block"
    )


def test_a_block_that_makes_no_client_is_one_sentence(block: Block) -> None:
    storage = block("http://127.0.0.1:1")
    storage.credentials.aws_client_parameters.endpoint_url = "not an address"
    assert refusal("a.mp3", storage).startswith("No S3 client for s3://broadcasts/a.mp3 (ValueError)")
    storage.credentials.aws_client_parameters.endpoint_url = None
    storage.credentials = storage.credentials.model_copy(update={"profile_name": "nobody"})
    assert "ProfileNotFound" in refusal("a.mp3", storage)


def test_an_unsigned_client_reads_a_public_bucket(web: "Web", block: Block) -> None:
    web.answers["/broadcasts/a.csv"] = (200, {}, b"to\n")
    with open_stream("a.csv", block(web.address, signature_version="unsigned")) as stream:
        assert stream.read() == b"to\n"
    assert "Authorization" not in web.requests[0][1]


def test_what_is_too_large_is_refused_before_it_is_read(s3: S3Bucket, samples: Path, tmp_path: Path) -> None:
    put(s3, "a.mp3", samples / "speech_cover.mp3", "audio/mpeg")
    with pytest.raises(SourceError, match=r"s3://broadcasts/a\.mp3 is larger than the 0\.1 MB"):
        download("a.mp3", s3, directory=tmp_path, max_bytes=100_000)
    assert list(tmp_path.iterdir()) == []
