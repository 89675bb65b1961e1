"""A link is loaded over https alone, with redirects, bounds, and nothing secret in what is said about it."""

import itertools
import logging
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from prefect_whatsapp.media import download, open_source, open_stream
from prefect_whatsapp.media.links import link_name
from prefect_whatsapp.models.errors import SourceError

if TYPE_CHECKING:
    from conftest import Web


def test_a_link_is_downloaded_with_size_and_etag(web: "Web", tmp_path: Path, samples: Path) -> None:
    content = (samples / "speech_ru.m4a").read_bytes()
    web.answers["/news/weekly.m4a"] = (200, {"ETag": 'W/"abc"'}, content)
    got = download(f"{web.address}/news/weekly.m4a?signature=canary#top", directory=tmp_path)
    assert got.path.read_bytes() == content
    assert (got.size, got.etag, got.source) == (len(content), "abc", f"{web.address}/news/weekly.m4a")
    path, headers = web.requests[0]
    assert path == "/news/weekly.m4a?signature=canary"
    assert headers["Accept-Encoding"] == "identity"


def test_redirects_are_followed_and_keep_their_query(web: "Web") -> None:
    web.answers["/short"] = (302, {"Location": "/real.csv?signature=canary"}, b"")
    web.answers["/real.csv"] = (200, {}, b"to\n")
    with open_stream(f"{web.address}/short", seekable=True) as stream:
        assert stream.read() == b"to\n"
        assert stream.seek(0) == 0
    assert [path for path, _ in web.requests] == ["/short", "/real.csv?signature=canary"]


def test_no_log_line_holds_a_query_or_a_password(web: "Web", caplog: pytest.LogCaptureFixture) -> None:
    web.answers["/short"] = (302, {"Location": "/real.csv"}, b"")
    web.answers["/real.csv"] = (200, {}, b"to\n")
    caplog.set_level(logging.DEBUG)
    host = web.address.removeprefix("http://")
    with open_source(f"http://user:canary1@{host}/short?signature=canary2") as opened:
        assert opened.name == f"{web.address}/short"
        opened.stream.read()
    assert "HTTP Request: GET" in caplog.text
    assert "canary" not in caplog.text
    assert [headers["Authorization"] for _, headers in web.requests] == ["Basic dXNlcjpjYW5hcnkx"] * 2


def test_a_password_is_not_carried_to_another_host(web: "Web") -> None:
    port = web.address.rpartition(":")[2]
    web.answers["/short"] = (302, {"Location": f"http://localhost:{port}/real.csv"}, b"")
    web.answers["/real.csv"] = (200, {}, b"to\n")
    with open_stream(f"http://user:word@127.0.0.1:{port}/short") as stream:
        stream.read()
    assert ["Authorization" in headers for _, headers in web.requests] == [True, False]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (404, "answers HTTP 404: no file was found there."),
        (403, "answers HTTP 403: access is refused; a signed link may have expired."),
        (401, "answers HTTP 401: it requires a login; use a public or signed link."),
        (410, "answers HTTP 410: it is gone."),
        (503, "answers HTTP 503: the server failed; run again later."),
        (418, "answers HTTP 418: no file was given."),
        (206, "answers HTTP 206: no file was given."),
    ],
)
def test_an_answer_that_is_no_file_is_one_sentence(web: "Web", status: int, sentence: str) -> None:
    web.answers["/a.mp3"] = (status, {"Content-Type": "text/html"}, b"<html>no</html>")
    with pytest.raises(SourceError) as caught, open_source(f"{web.address}/a.mp3?signature=canary"):
        pass
    assert str(caught.value) == f"{web.address}/a.mp3 {sentence}"


def test_a_web_page_with_status_200_is_refused(web: "Web") -> None:
    web.answers["/a.mp3"] = (200, {"Content-Type": "text/html; charset=utf-8"}, b"\n<!doctype html>sign in")
    with (
        pytest.raises(SourceError, match="answers with a web page, not a file"),
        open_source(f"{web.address}/a.mp3") as a,
    ):
        a.stream.read()


def test_a_file_that_is_only_called_html_is_read(web: "Web") -> None:
    web.answers["/a.csv"] = (200, {"Content-Type": "text/html"}, b"to\n")
    with open_stream(f"{web.address}/a.csv") as stream:
        assert stream.read() == b"to\n"


def test_what_is_too_large_is_refused_before_and_while_it_is_read(web: "Web") -> None:
    web.answers["/stated"] = (200, {}, bytes(5_000))
    with pytest.raises(SourceError, match=r"/stated is larger"), open_source(f"{web.address}/stated", max_bytes=1_000):
        pass
    web.answers["/unstated"] = (
        200,
        {"Transfer-Encoding": "chunked"},
        b"%x\r\n%b\r\n0\r\n\r\n" % (5_000, bytes(5_000)),
    )
    with (
        open_source(f"{web.address}/unstated", max_bytes=1_000) as opened,
        pytest.raises(SourceError, match="is larger"),
    ):
        opened.stream.read()


@pytest.mark.parametrize("link", ["http://files.example.com/a.mp3?x=canary", "http://10.0.0.1/a.mp3?x=canary"])
def test_http_is_for_this_machine_alone(link: str) -> None:
    with pytest.raises(SourceError, match="is not https: pass an https link") as caught, open_source(link):
        pass
    assert "canary" not in str(caught.value)


def test_a_redirect_away_from_https_or_this_machine_is_refused(web: "Web") -> None:
    web.answers["/a"] = (302, {"Location": "http://files.example.com/a.mp3?x=canary"}, b"")
    web.answers["/b"] = (302, {"Location": "/b"}, b"")
    web.answers["/c"] = (302, {"Location": "ftp://127.0.0.1/a"}, b"")
    for path, sentence in (("/a", "is not https"), ("/b", "redirects more than 10 times"), ("/c", "is not https")):
        with pytest.raises(SourceError, match=sentence) as caught, open_source(web.address + path):
            pass
        assert "canary" not in str(caught.value)


def test_a_dead_host_and_a_broken_address_are_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with (
            pytest.raises(SourceError, match=rf"^http://127\.0\.0\.1:{port}/a can't be reached"),
            open_source(f"http://127.0.0.1:{port}/a?x=canary"),
        ):
            pass
    with pytest.raises(SourceError, match="is not a valid address"), open_source("https://127.0.0.1:port/a?x=canary"):
        pass


def test_a_silent_host_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefect_whatsapp.media.links.READ_TIMEOUT", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with (
            pytest.raises(SourceError, match=r"did not answer in time \(ReadTimeout\)"),
            open_source(f"http://127.0.0.1:{silent.getsockname()[1]}/a"),
        ):
            pass


def test_a_host_that_gives_a_byte_now_and_then_is_given_up(web: "Web", monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte begins the wait for the next one anew."""
    now = itertools.count(0, 1_000)
    monkeypatch.setattr("prefect_whatsapp.media.links.time", SimpleNamespace(monotonic=lambda: next(now)))
    web.answers["/a.mp3"] = (200, {}, b"x" * 8_000_000)
    with (
        pytest.raises(SourceError, match="took longer than 60 minutes: pass a link to a faster host"),
        open_source(f"{web.address}/a.mp3") as opened,
    ):
        opened.stream.read()


@pytest.mark.parametrize(
    ("link", "name"),
    [
        ("HTTPS://u:p@h.example/a?b#c", "https://h.example/a"),
        ("https://h.example?x=1", "https://h.example"),
        ("https://u:p%40q@h.example:8443/a/b.mp3", "https://h.example:8443/a/b.mp3"),
    ],
)
def test_a_name_holds_nothing_secret(link: str, name: str) -> None:
    assert link_name(link) == name
