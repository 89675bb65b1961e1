"""A deployed run reads what its operator lists and no private address else; with storage, keys in it and nothing else."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import pytest
from prefect.filesystems import LocalFileSystem, RemoteFileSystem
from prefect_aws import AwsClientParameters, AwsCredentials, S3Bucket
from prefect_whatsapp.media import download, open_source, put
from prefect_whatsapp.media.allowed_sources import VARIABLE, AllowedSources
from prefect_whatsapp.models.errors import SourceError

if TYPE_CHECKING:
    from conftest import Web


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "6f0a9c5e-0000-4000-8000-000000000001")
    monkeypatch.delenv(VARIABLE, raising=False)


def name_resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    asked: list[str] = []

    def look_up(host: str, *_: object, flags: int = 0, **__: object) -> list[Any]:
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]

    monkeypatch.setattr("prefect_whatsapp.media.allowed_sources.socket.getaddrinfo", look_up)
    return asked


@pytest.mark.parametrize("variable", ["PREFECT__FLOW_RUN_ID", "PREFECT__DEPLOYMENT_NAME"])
def test_a_subflow_of_a_deployed_run_is_bound_as_the_run_itself(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a worker or by `flow.serve`: the subflow's own run has no deployment."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"key")

    def within() -> str:
        try:
            with open_source(str(secret)):
                return "read"
        except SourceError as refused:
            return str(refused)

    monkeypatch.setenv(VARIABLE, str(tmp_path / "lists"))
    assert within() == "read"
    monkeypatch.setenv(variable, "weekly")
    assert "not in a folder that deployed runs may read" in within()


@pytest.mark.usefixtures("deployed")
def test_a_key_whose_storage_was_left_empty_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "s3://broadcasts")
    with (
        pytest.raises(SourceError, match="choose the bucket as Storage"),
        open_source("weekly.mp3"),
    ):
        pass


@pytest.mark.usefixtures("deployed")
def test_what_becomes_a_link_after_it_was_looked_at_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lists, secret = tmp_path / "lists", tmp_path / "secret"
    lists.mkdir()
    secret.write_bytes(b"key")
    (lists / "weekly.csv").write_bytes(b"to")
    looked_at = AllowedSources.check_path

    def swapped(allowed: AllowedSources, path: Path) -> Path:
        found = looked_at(allowed, path)
        path.unlink()
        path.symlink_to(secret)
        return found

    monkeypatch.setenv(VARIABLE, str(lists))
    monkeypatch.setattr(AllowedSources, "check_path", swapped)
    with pytest.raises(SourceError, match="can't be read"), open_source(str(lists / "weekly.csv")):
        pass


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(
    "link",
    [
        "http://127.0.0.1:{port}/a.mp3",
        "http://localhost:{port}/a.mp3",
        "https://10.0.0.7/a.mp3",
        "https://192.168.1.1/a.mp3",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/a.mp3",
        "https://[::ffff:10.0.0.7]/a.mp3",
        "https://[64:ff9b::a00:7]/a.mp3",
        "https://[fd00::1]/a.mp3",
        "https://[::a00:7]/a.mp3",
        "https://0.0.0.0/a.mp3",
        "https://100.64.0.1/a.mp3",
        "https://2130706433/a.mp3",
    ],
)
def test_no_private_address_gets_a_request_from_a_deployed_run(web: "Web", link: str) -> None:
    port = web.address.rpartition(":")[2]
    with pytest.raises(SourceError, match=r"private address|can't be reached"), open_source(link.format(port=port)):
        pass
    assert web.requests == []


@pytest.mark.usefixtures("deployed")
def test_a_name_is_judged_by_all_its_addresses_and_connected_to_the_one_that_was_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name_resolves_to(monkeypatch, "93.184.215.14", "10.0.0.7")
    with pytest.raises(SourceError, match="is at a private address"), open_source("https://files.example.com/a.mp3"):
        pass
    name_resolves_to(monkeypatch, "93.184.215.14")
    bound = AllowedSources.of_this_run()
    assert bound.check_host("it", "files.example.com", None) == "93.184.215.14"


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("host", ["10.0.0.7", "169.254.169.254", "[fd00::1]", "2130706433", "0x7f.1"])
def test_an_address_that_is_written_out_is_judged_also_where_a_proxy_looks_names_up(host: str) -> None:
    with pytest.raises(SourceError, match="is at a private address"):
        AllowedSources.of_this_run().check_host("it", host, None, resolve=False)


@pytest.mark.usefixtures("deployed")
def test_where_a_proxy_looks_names_up_no_name_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = name_resolves_to(monkeypatch, "10.0.0.7")
    assert AllowedSources.of_this_run().check_host("it", "files.example.com", None, resolve=False) == ""
    assert asked == []


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(("port", "said"), [(443, "can't be reached"), (8443, "not at a host")])
def test_a_host_that_is_listed_with_the_schemes_own_port_is_read(
    monkeypatch: pytest.MonkeyPatch, port: int, said: str
) -> None:
    monkeypatch.setenv(VARIABLE, f"nowhere.invalid:{port}")
    with pytest.raises(SourceError, match=said), open_source("https://nowhere.invalid/a.mp3"):
        pass


@pytest.mark.usefixtures("deployed")
def test_a_redirect_to_a_private_address_is_not_followed(web: "Web", monkeypatch: pytest.MonkeyPatch) -> None:
    host = web.address.removeprefix("http://")
    monkeypatch.setenv(VARIABLE, host)
    web.answers["/a.mp3"] = (302, {"Location": "http://127.0.0.2:9/secret"}, b"")
    with (
        pytest.raises(SourceError, match="not at a host that deployed runs may read"),
        open_source(f"{web.address}/a.mp3"),
    ):
        pass
    assert len(web.requests) == 1


@pytest.mark.usefixtures("deployed")
def test_a_listed_host_is_read_also_at_a_private_address(web: "Web", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, web.address.removeprefix("http://"))
    web.answers["/a.csv"] = (200, {}, b"to\n")
    with open_source(f"{web.address}/a.csv") as opened:
        assert opened.stream.read() == b"to\n"


@pytest.mark.usefixtures("deployed")
def test_only_listed_folders_are_read_wherever_links_and_dots_lead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "a.csv").write_bytes(b"to\n")
    (tmp_path / "secret").write_bytes(b"canary")
    (tmp_path / "lists" / "link.csv").symlink_to(tmp_path / "secret")
    (tmp_path / "listsbutnot").mkdir()
    (tmp_path / "listsbutnot" / "a.csv").write_bytes(b"canary")
    monkeypatch.setenv(VARIABLE, f"{tmp_path}/lists, s3://bucket")
    with open_source(f"{tmp_path}/lists/a.csv") as opened:
        assert opened.stream.read() == b"to\n"
    for path in ("secret", "lists/link.csv", "lists/../secret", "listsbutnot/a.csv"):
        with (
            pytest.raises(SourceError, match="not in a folder that deployed runs may read"),
            open_source(f"{tmp_path}/{path}"),
        ):
            pass


@pytest.mark.usefixtures("deployed")
def test_only_listed_buckets_hosts_and_file_systems_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "s3://lists/weekly *.example.com")
    for source in ("s3://other/weekly/a.csv", "s3://lists/a.csv", "s3://lists/weekly-secret/a.csv"):
        with pytest.raises(SourceError, match="not in a bucket"), open_source(source):
            pass
    with pytest.raises(SourceError, match="not at a host"), open_source("https://files.example.org/a.csv"):
        pass
    with (
        pytest.raises(SourceError, match="read a LocalFileSystem block"),
        open_source("a", LocalFileSystem(basepath=str(tmp_path))),
    ):
        pass
    bound = AllowedSources.of_this_run()
    bound.check_object("lists", "weekly/a.csv")
    assert bound.check_host("it", "Files.Example.com", None) == ""


def test_a_run_of_ones_own_is_not_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: "Web") -> None:
    monkeypatch.setenv(VARIABLE, "s3://lists")
    web.answers["/a.csv"] = (200, {}, b"to\n")
    (tmp_path / "a.csv").write_bytes(b"to\n")
    for source in (f"{web.address}/a.csv", str(tmp_path / "a.csv")):
        with open_source(source) as opened:
            assert opened.stream.read() == b"to\n"


STORAGE = S3Bucket(bucket_name="lists", bucket_folder="weekly", credentials=AwsCredentials(region_name="us-east-1"))


@pytest.mark.parametrize("storage", [STORAGE, LocalFileSystem(basepath="/nowhere")])
@pytest.mark.parametrize(
    "source",
    [
        "/etc/passwd",
        "//etc/passwd",
        "./a.csv",
        "../a.csv",
        "a/../../b.csv",
        "..\\a.csv",
        "~/a.csv",
        "~root/a.csv",
        "file:///etc/passwd",
        "C:\\a.csv",
        "s3://other/a.csv",
        "S3://other/a.csv",
        "http://127.0.0.1/a.csv",
        "https://files.example.com/a.csv",
        "gs://lists/a.csv",
        Path("a.csv"),
    ],
)
def test_with_storage_nothing_but_a_key_in_it_is_read(storage: Any, source: str | Path) -> None:
    with pytest.raises(SourceError, match="in the storage block"), open_source(source, storage):
        pass


@pytest.mark.parametrize("source", ["s3://lists/a.csv", "s3://lists/weekly-secret/a.csv", "s3://lists/weekly/../a.csv"])
def test_an_address_in_the_storages_bucket_must_be_in_its_folder(source: str) -> None:
    with pytest.raises(SourceError, match="in the storage block"), open_source(source, STORAGE):
        pass


def test_a_key_may_be_written_as_an_address_in_the_storage(s3: S3Bucket, moto: str) -> None:
    client = s3.credentials.get_boto3_session().client("s3", endpoint_url=moto)
    client.put_object(Bucket="broadcasts", Key="week 47:a.csv", Body=b"to\n")
    for source in ("week 47:a.csv", "s3://broadcasts/week 47:a.csv"):
        with open_source(source, s3) as opened:
            assert opened.stream.read() == b"to\n"
    client.close()


def test_a_compressed_answer_is_refused_before_it_is_unpacked(web: "Web", tmp_path: Path) -> None:
    web.answers["/a.csv"] = (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b")
    with pytest.raises(SourceError, match="answers compressed, though asked not to"):
        download(f"{web.address}/a.csv", directory=tmp_path)


def at(endpoint: str, bucket: str = "latest", **config: Any) -> S3Bucket:
    parameters = AwsClientParameters(endpoint_url=endpoint, config={"retries": {"total_max_attempts": 1}, **config})
    login = AwsCredentials(
        aws_access_key_id="a",
        aws_secret_access_key="b",
        region_name="us-east-1",
        aws_client_parameters=parameters,
    )
    return S3Bucket(bucket_name=bucket, credentials=login)


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(
    "listed", ["", "s3://latest", "s3://latest@other.example.com", "127.0.0.1", "s3://other@127.0.0.1"]
)
def test_a_blocks_own_endpoint_at_a_private_address_gets_no_request(
    web: "Web", tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str
) -> None:
    monkeypatch.setenv(VARIABLE, listed)
    said = "is at a private address" if not listed else r"s3://latest@127\.0\.0\.1:\d+"
    with pytest.raises(SourceError, match=said), open_source("meta-data", at(web.address)):
        pass
    (tmp_path / "a.ogg").write_bytes(b"audio")
    with pytest.raises(SourceError, match=said):
        put(at(web.address), "a.ogg", tmp_path / "a.ogg", "audio/ogg")
    assert web.requests == []


@pytest.mark.usefixtures("deployed")
def test_a_host_that_a_buckets_name_becomes_part_of_is_judged_as_it_is_asked(
    web: "Web", monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = name_resolves_to(monkeypatch, "127.0.0.1")
    port = web.address.rpartition(":")[2]
    storage = at(f"http://public.example.com:{port}", "10-0-0-7", s3={"addressing_style": "virtual"})
    with pytest.raises(SourceError, match="is at a private address"), open_source("a.csv", storage):
        pass
    assert asked == ["10-0-0-7.public.example.com"]


@pytest.mark.usefixtures("deployed")
def test_no_proxy_of_a_block_is_asked_by_a_deployed_run(web: "Web") -> None:
    storage = at("http://public.example.com", proxies={"http": web.address})
    with pytest.raises(SourceError, match="by a proxy that the storage block names"), open_source("a.csv", storage):
        pass
    assert web.requests == []


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("entry", ["s3://latest@{host}", "s3://latest@127.0.0.1", "s3://latest@{host}/weekly"])
def test_a_bucket_that_is_listed_with_its_endpoint_is_read_there(
    web: "Web", monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setenv(VARIABLE, entry.format(host=web.address.removeprefix("http://")))
    web.answers["/latest/weekly/a.csv"] = (200, {}, b"to\n")
    with open_source("weekly/a.csv", at(web.address)) as opened:
        assert opened.stream.read() == b"to\n"
    with pytest.raises(SourceError, match="not in a bucket"), open_source("weekly/a.csv", at(web.address, "other")):
        pass
    assert len(web.requests) == 1


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(
    ("basepath", "settings"),
    [
        ("{web}/", {}),
        ("s3://lists/", {"client_kwargs": {"endpoint_url": "{web}"}}),
        ("sftp://127.0.0.1/", {}),
    ],
)
def test_a_file_system_block_that_says_which_host_is_asked_is_refused(
    web: "Web", basepath: str, settings: dict[str, Any]
) -> None:
    storage = RemoteFileSystem(basepath=basepath.format(web=web.address), settings=settings)
    with pytest.raises(SourceError, match="names a host or has settings of its own"), open_source("x.csv", storage):
        pass
    assert web.requests == []


@pytest.mark.usefixtures("deployed")
def test_a_file_system_block_that_names_no_host_is_read_by_a_deployed_run_without_a_list(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"to\n")
    fsspec.filesystem("memory").pipe("/bound/a.csv", b"to\n")
    for storage in (LocalFileSystem(basepath=str(tmp_path)), RemoteFileSystem(basepath="memory://bound/")):
        with open_source("a.csv", storage) as opened:
            assert opened.stream.read() == b"to\n"
    AllowedSources.of_this_run().check_file_system("RemoteFileSystem", "gs://lists/weekly", {})
