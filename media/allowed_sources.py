"""What a deployed run may read: the folders, buckets and hosts that its operator lists, and no private address else.

Whoever may start a deployed run types in where audio and lists come from. Without a bound, that is every file and every
address that the worker reaches: key files, cloud metadata, services that trust their own network.

`PREFECT_WHATSAPP_SOURCES` lists them, separated by commas, spaces or line ends:

    /srv/broadcasts            a folder and all below it
    s3://lists                 a bucket, or a part of one: s3://lists/weekly
    s3://lists@10.0.0.7:9000   the same at a block's own endpoint, whatever its address is
    files.example.com          a host, also *.example.com, also one with a private address
    10.0.0.7:9000              a host at one port

Runs that a person starts on their own machine are not bound.
"""

import ipaddress
import os
import re
import socket
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from ..models.errors import SourceError

VARIABLE = "PREFECT_WHATSAPP_SOURCES"
_HERE = frozenset({"file", "local", "memory"})
_CLOUDS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"})  # a bucket follows, no host


@dataclass(frozen=True)
class AllowedSources:
    """What may be read.

    Attributes:
        deployed: Whether this is a deployed run; for others there is no bound.
        listed: Whether a list was given; without one only private addresses are refused.
        folders: Folders, resolved.
        buckets: `bucket/prefix` or `bucket@host:port/prefix`, the prefix empty or with its ending slash.
        hosts: Host names and patterns in small letters, with or without a port.
    """

    deployed: bool = False
    listed: bool = False
    folders: tuple[Path, ...] = ()
    buckets: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    @classmethod
    def of_this_run(cls) -> "AllowedSources":
        """Read the variable, and whether this run is one of a deployment."""
        if not _is_deployed():
            return cls()
        return cls.parse(os.environ.get(VARIABLE, ""))

    @classmethod
    def parse(cls, text: str) -> "AllowedSources":
        """Read the list of a deployed run.

        Example:
            >>> AllowedSources.parse("s3://lists/weekly, *.example.com").buckets
            ('lists/weekly/',)
        """
        folders: list[Path] = []
        buckets: list[str] = []
        hosts: list[str] = []
        for entry in re.split(r"[,\s]+", text.strip()):
            if entry.startswith("s3://"):
                bucket, _, prefix = entry[5:].partition("/")
                bucket, at, endpoint = bucket.partition("@")
                bucket += at + endpoint.lower()
                buckets.append(f"{bucket}/{prefix.rstrip('/')}/" if prefix.strip("/") else f"{bucket}/")
            elif entry.startswith("file://") or entry.startswith("~") or Path(entry).is_absolute():
                folders.append(Path(entry.removeprefix("file://")).expanduser().resolve())
            elif entry:
                hosts.append((urlsplit(entry).netloc if "://" in entry else entry.rstrip("/")).lower())
        return cls(True, bool(text.strip()), tuple(folders), tuple(buckets), tuple(hosts))

    def check_path(self, path: Path) -> Path:
        """Refuse a file outside the folders, wherever its links lead.

        Returns:
            The path to open: resolved, where there is a bound.

        Raises:
            SourceError: It lies outside.
        """
        if not self.listed:
            return path
        resolved = path.resolve()
        if not any(resolved.is_relative_to(folder) for folder in self.folders):
            bucket = "" if path.is_absolute() else "if it is in a bucket, choose the bucket as Storage; else "
            raise SourceError(
                f"{path} is not in a folder that deployed runs may read: {bucket}ask the operator to list it in {VARIABLE}."
            )
        return resolved

    def check_object(self, bucket: str, key: str, endpoint: str = "") -> None:
        """Refuse an object outside the buckets.

        Args:
            bucket: The bucket's name.
            key: The whole key.
            endpoint: The address that a block gives for its store; empty for that of AWS or of the worker's environment.

        Raises:
            SourceError: It lies outside.
        """
        named = [f"{place}/{key}" for place in _places(bucket, endpoint)]
        if self.listed and not any(each.startswith(allowed) for each in named for allowed in self.buckets):
            raise SourceError(
                f"s3://{bucket}/{key} is not in a bucket that deployed runs may read: ask the operator to list "
                f"s3://{_places(bucket, endpoint)[-1]} in {VARIABLE}."
            )

    def check_endpoint(self, bucket: str, endpoint: str) -> bool:
        """Refuse a block's own endpoint that isn't listed with the bucket, or whose address is private.

        Args:
            bucket: The bucket's name.
            endpoint: The address that the block gives for its store.

        Returns:
            Whether the host of each request has to be looked at as well, because nobody has listed the endpoint.

        Raises:
            SourceError: It may not be asked.
        """
        if not self.deployed:
            return False
        places = _places(bucket, endpoint)
        if any(allowed.startswith(f"{place}/") for place in places for allowed in self.buckets):
            return False
        if self.listed:
            raise SourceError(
                f"The bucket {bucket!r} at this endpoint is not listed for deployed runs: ask the operator to list "
                f"s3://{places[-1]} in {VARIABLE}."
            )
        return True

    def check_file_system(self, name: str, basepath: str = "", settings: object = None) -> None:
        """Refuse a file system that can't be bound, and one whose block says which address is asked.

        Args:
            name: The block's type.
            basepath: Where it begins, as fsspec takes it.
            settings: What the block passes on to fsspec: it may name an endpoint, a proxy, a host for its login.

        Raises:
            SourceError: It can't be read.
        """
        if self.listed:
            raise SourceError(
                f"Deployed runs can't read a {name} block here: use an S3Bucket block, or a folder or host listed in {VARIABLE}."
            )
        scheme = basepath.partition("://")[0].lower() if "://" in basepath else ""
        if self.deployed and scheme and scheme not in _HERE and (scheme not in _CLOUDS or settings):
            raise SourceError(
                f"Deployed runs can't read a {name} block at {scheme}:// that names a host or has settings of its own: use an "
                "S3Bucket block or an https link, or give the worker's environment what the settings say."
            )

    def check_host(self, name: str, host: str, port: int | None, *, resolve: bool = True) -> str:
        """Refuse a host that isn't listed, or whose address is private.

        Args:
            name: What the error calls the link.
            host: Its name or address.
            port: Its port; None for that of https.
            resolve: Whether a name is looked up; a proxy does that itself.

        Returns:
            The address to connect to, so that a second look-up can't give another; empty for no bound.

        Raises:
            SourceError: It may not be read.
        """
        if not self.deployed:
            return ""
        host = host.lower().strip("[]")
        if any(fnmatchcase(host, allowed) or fnmatchcase(f"{host}:{port or 443}", allowed) for allowed in self.hosts):
            return ""
        if self.listed:
            raise SourceError(
                f"{name} is not at a host that deployed runs may read: ask the operator to list it in {VARIABLE}."
            )
        return _public_address(name, host) if resolve or _is_written_out(host) else ""


def _places(bucket: str, endpoint: str) -> tuple[str, ...]:
    """How the list may name a bucket; the last is the plainest."""
    if not endpoint:
        return (bucket,)
    address = urlsplit(endpoint)
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
    except ValueError:
        raise SourceError("The storage block's endpoint_url is not a valid address: correct it.") from None
    host = address.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return (f"{bucket}@{host}", f"{bucket}@{host}:{port}")


def _is_written_out(host: str) -> bool:
    """Whether a host is an address, in any of the spellings that a resolver takes, such as `2130706433`."""
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


def _public_address(name: str, host: str) -> str:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceError(f"{name} can't be reached: check the host's name and the network.") from None
    addresses = list(dict.fromkeys(str(each[4][0]).partition("%")[0] for each in found))
    if not addresses or not all(_is_public(each) for each in addresses):
        raise SourceError(
            f"{name} is at a private address, which deployed runs may not read: ask the operator to list the host in {VARIABLE}."
        )
    return addresses[0]


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        # An IPv4 address can be wrapped in three ways.
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return _is_public(str(inner))
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _is_deployed() -> bool:
    # Set by whoever starts a deployed run in a process of its own: workers the one, `flow.serve` the other. A subflow's own
    # run has no deployment, so that its context alone would not say it.
    if any(os.environ.get(name) for name in ("PREFECT__FLOW_RUN_ID", "PREFECT__DEPLOYMENT_NAME")):
        return True
    context = sys.modules.get("prefect.context")  # without it there is no run
    run = context.FlowRunContext.get() if context else None
    return bool(run and run.flow_run and run.flow_run.deployment_id)
