"""Every provider, and both drivers."""

from typing import cast

import pytest
from provider_accounts import ACCOUNTS, Account, Driver


@pytest.fixture(params=list(ACCOUNTS))
def account(request: pytest.FixtureRequest) -> Account:
    """Each provider's account in turn."""
    return ACCOUNTS[request.param]


@pytest.fixture(params=["sync", "async"])
def driver(request: pytest.FixtureRequest) -> Driver:
    """Each driver in turn."""
    return cast(Driver, request.param)
