"""Which hosts need no encryption: this machine, and what lies within a private network."""

import ipaddress

# RFC 6761, RFC 6762, RFC 8375, and what ICANN and Kubernetes set aside for inside.
_PRIVATE_ENDINGS = (".localhost", ".internal", ".local", ".lan", ".home.arpa", ".intranet", ".test", ".svc")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its address or as `localhost`.

    Args:
        host: As in an address; IPv6 without its brackets.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("example.com")
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_private(host: str) -> bool:
    """Whether a host is this machine or one of a private network: by its address, or by a name that no public one has.

    Args:
        host: As in an address, with or without the brackets of IPv6. It is not looked up.

    Example:
        >>> is_private("10.0.0.7"), is_private("waha.internal"), is_private("example.com")
        (True, True, False)
    """
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        name = host.rstrip(".").lower()
        return "." not in name or name.endswith(_PRIVATE_ENDINGS)
