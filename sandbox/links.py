"""Audio that is sent by address: loaded once for each address, as a service would."""

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

import httpx

from ..models.hosts import is_loopback
from .voice import MAX_BYTES, NotVoice, container, read_voice


class Links:
    """Audio addresses that were sent.

    Args:
        fetch: Whether to load them; otherwise only the address is checked.
    """

    def __init__(self, *, fetch: bool) -> None:
        self._fetch = fetch
        self._loads: dict[str, asyncio.Task[str]] = {}

    async def fault(self, url: str, *, voice: bool, plain_http: bool = True) -> str:
        """Say why an address can't be sent, or nothing.

        Args:
            url: The address.
            voice: Whether a voice note must come of it; otherwise any audio.
            plain_http: Whether `http:` is allowed beyond this machine.
        """
        try:
            parts = urlsplit(url)
        except ValueError:
            return "not an address"
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return "not a public http(s) address"
        if parts.scheme == "http" and not plain_http and not is_loopback(parts.hostname):
            return "not an https address"
        if not self._fetch:
            return ""
        load = self._loads.get(url)
        if load is None:
            load = self._loads[url] = asyncio.ensure_future(_load(url))
        said = await asyncio.shield(load)
        return said.removeprefix("basic:") if voice or not said.startswith("basic:") else ""


async def _load(url: str) -> str:
    """What is wrong with what comes; led by `basic:` where it is audio, only no voice note."""
    try:
        if await asyncio.to_thread(_is_internal, urlsplit(url).hostname or ""):
            return "not a public address"
        # No redirect is followed: it would lead past the check above.
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            answer = await client.get(url)
    except (httpx.HTTPError, OSError) as failure:
        return f"could not be downloaded: {type(failure).__name__}"
    if answer.status_code != 200:
        return f"could not be downloaded: HTTP {answer.status_code}"
    if len(answer.content) > MAX_BYTES:
        return "is larger than 16 MB"
    try:
        read_voice(answer.content)
    except NotVoice as why:
        return f"basic:{why}" if container(answer.content) else str(why)
    return ""


def _is_internal(host: str) -> bool:
    """Whether a name leads into a network that isn't public, such as a cloud's metadata; this machine's S3 is what we load."""
    for *_, address in socket.getaddrinfo(host, None):
        found = ipaddress.ip_address(str(address[0]).partition("%")[0])
        if not found.is_loopback and not found.is_global:
            return True
    return False
