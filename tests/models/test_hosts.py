"""Which hosts count as this machine, and which as a private network."""

import pytest
from prefect_whatsapp.models.hosts import is_loopback, is_private


@pytest.mark.parametrize(
    ("host", "loopback", "private"),
    [
        ("127.0.0.1", True, True),
        ("127.8.8.8", True, True),
        ("::1", True, True),
        ("localhost", True, True),
        ("10.0.0.7", False, True),
        ("169.254.169.254", False, True),
        ("fd00::7", False, True),
        ("[fd00::7]", False, True),
        ("postgres", False, True),
        ("WAHA.Internal.", False, True),
        ("db.prod.svc", False, True),
        ("8.8.8.8", False, False),
        ("2001:4860:4860::8888", False, False),
        ("example.com", False, False),
        ("localhost.example.com", False, False),
        ("notlocalhost", False, True),
        ("internal.example.com.", False, False),
    ],
)
def test_a_host_is_told_by_its_address_or_name_alone(host: str, loopback: bool, private: bool) -> None:
    assert (is_loopback(host), is_private(host)) == (loopback, private)
