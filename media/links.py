"""Files behind an https address, read as they arrive.

Redirects are followed by hand: each step must be https again, and what httpx logs at INFO, the whole URL, must not
hold a query string, because that is where a signed link keeps its signature.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.request import getproxies, proxy_bypass

import httpx

from ..models.errors import SourceError
from ..models.hosts import is_loopback
from .allowed_sources import AllowedSources

MAX_REDIRECTS = 10
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
# For which all of a body may be waited for: a byte a minute never runs into the limit above, and holds a worker for years.
LONGEST_WAIT = 3_600.0

_REASONS = {
    401: "it requires a login; use a public or signed link",
    403: "access is refused; a signed link may have expired",
    404: "no file was found there",
    410: "it is gone",
    429: "too many requests; run again later",
}


@dataclass(frozen=True)
class LinkBody:
    """The answer to a GET of one link: its chunks as they arrive, its size in bytes, its ETag and its content type."""

    chunks: Iterator[bytes]
    size: int | None
    etag: str
    mime_type: str = ""


def link_name(link: str) -> str:
    """Write a link without what may be secret in it: user, password, query string and fragment.

    Example:
        >>> link_name("https://user:word@files.example.com/weekly.mp3?signature=abc")
        'https://files.example.com/weekly.mp3'
    """
    head, _, rest = link.partition("://")
    rest = rest.split("?", 1)[0].split("#", 1)[0]
    host, slash, path = rest.partition("/")
    return f"{head.lower()}://{host.rpartition('@')[2]}{slash}{path}"


@contextmanager
def open_link(link: str, *, allowed: AllowedSources | None = None) -> Iterator[LinkBody]:
    """GET one link, following redirects, read as it arrives.

    Args:
        link: An https address; http only for this machine itself (`localhost`, `127.0.0.1`, `::1`).
        allowed: Which hosts may be read, at each redirect; None for those of this run.

    Raises:
        SourceError: It can't be reached, answers with an error or a web page, or leads away from https.
    """
    name = link_name(link)
    with ExitStack() as stack:
        with _explained(name):
            response = _follow(stack, httpx.URL(link), name, allowed or AllowedSources.of_this_run())
        if response.status_code != 200:
            raise SourceError(_refusal(name, response.status_code))
        if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
            # A few bytes of gzip unpack to gigabytes in one piece, before any bound is looked at.
            raise SourceError(f"{name} answers compressed, though asked not to: pass a link to the plain file.")
        length = response.headers.get("content-length", "")
        yield LinkBody(
            _chunks(response, name),
            int(length) if length.isdigit() else None,
            response.headers.get("etag", "").removeprefix("W/").strip('"'),
            response.headers.get("content-type", "").partition(";")[0].strip().lower(),
        )


def proxy_for(url: httpx.URL) -> str | None:
    """The proxy of this machine's environment for an address; it looks names up itself."""
    return None if is_loopback(url.host) or proxy_bypass(url.host) else getproxies().get(url.scheme)


class _QueryBelow(httpx.BaseTransport):
    """Put path and query on the request below httpx's log line, and the address that was checked in the host's place."""

    def __init__(self, wrapped: httpx.BaseTransport, target: bytes, address: str = "") -> None:
        self._wrapped, self._target, self._address = wrapped, target, address

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        # A request of its own: httpx logs the one it was given, after the answer.
        url, extensions = request.url.copy_with(raw_path=self._target), request.extensions
        if self._address:  # the Host header is set already; the certificate is still checked against the host's name
            extensions = {**extensions, "sni_hostname": url.host}
            url = url.copy_with(host=self._address)
        return self._wrapped.handle_request(
            httpx.Request(request.method, url, headers=request.headers, stream=request.stream, extensions=extensions)
        )

    def close(self) -> None:
        self._wrapped.close()


def _follow(stack: ExitStack, url: httpx.URL, name: str, allowed: AllowedSources) -> httpx.Response:
    response = _get(stack, url, name, allowed)
    for _ in range(MAX_REDIRECTS):
        if not response.has_redirect_location:
            return response
        before, url = url, url.join(response.headers["location"])
        if url.scheme != "https" and before.scheme == "https":
            raise SourceError(f"{name} redirects to {link_name(str(url))}, which is not https: pass an https link.")
        if (url.host, url.port) == (before.host, before.port) and not url.userinfo:
            url = url.copy_with(userinfo=before.userinfo)
        response = _get(stack, url, name, allowed)
    raise SourceError(f"{name} redirects more than {MAX_REDIRECTS} times: pass the address it ends at.")


def _get(stack: ExitStack, url: httpx.URL, name: str, allowed: AllowedSources) -> httpx.Response:
    loopback = is_loopback(url.host)
    if url.scheme != "https" and not (url.scheme == "http" and loopback):
        raise SourceError(f"{name} is not https: pass an https link, a path or an s3:// address.")
    proxy = proxy_for(url)
    port = url.port or (80 if url.scheme == "http" else 443)
    address = allowed.check_host(name, url.host, port, resolve=proxy is None)
    transport = _QueryBelow(httpx.HTTPTransport(proxy=proxy), url.raw_path, address)
    timeout = httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT)
    client = stack.enter_context(httpx.Client(transport=transport, timeout=timeout, follow_redirects=False))
    shown = url.copy_with(query=None, fragment=None, userinfo=b"")
    auth = httpx.BasicAuth(url.username, url.password) if url.userinfo else None
    # identity: sizes and bounds are those of the file itself.
    request = client.build_request("GET", shown, headers={"Accept-Encoding": "identity", "Accept": "*/*"})
    response = client.send(request, auth=auth, stream=True)
    stack.callback(response.close)
    return response


def _chunks(response: httpx.Response, name: str) -> Iterator[bytes]:
    with _explained(name):
        html = "html" in response.headers.get("content-type", "")
        first, waited, chunks = True, 0.0, response.iter_raw()
        while True:
            asked = time.monotonic()
            chunk = next(chunks, None)
            waited += time.monotonic() - asked
            if chunk is None:
                return
            if waited > LONGEST_WAIT:
                raise SourceError(
                    f"{name} took longer than {LONGEST_WAIT / 60:g} minutes: pass a link to a faster host."
                )
            if first and html and chunk.lstrip()[:1] == b"<":
                raise SourceError(
                    f"{name} answers with a web page, not a file: pass a direct link that needs no login or click."
                )
            first = first and not chunk.strip()
            yield chunk


def _refusal(name: str, status: int) -> str:
    reason = _REASONS.get(status, "the server failed; run again later" if status >= 500 else "no file was given")
    return f"{name} answers HTTP {status}: {reason}."


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except httpx.InvalidURL:
        raise SourceError(f"{name} is not a valid address: pass an https link.") from None
    except httpx.TimeoutException as exc:
        raise SourceError(f"{name} did not answer in time ({type(exc).__name__}): run again later.") from None
    except httpx.ConnectError:
        raise SourceError(f"{name} can't be reached: check the host's name and the network.") from None
    except httpx.HTTPError as exc:
        raise SourceError(f"{name} broke off ({type(exc).__name__}): run again.") from None
