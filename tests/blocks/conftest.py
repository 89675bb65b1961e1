"""The five blocks, and values with which each can send."""

from typing import Any

import pytest
from prefect_whatsapp.blocks import ChatApiCredentials, GraphCredentials, Ledger, WahaCredentials, WawpCredentials
from prefect_whatsapp.blocks.senders import sender_blocks
from pydantic import SecretStr

SECRET = "canary+/=&%41'~secret"

VALUES: dict[type[Any], dict[str, Any]] = {
    GraphCredentials: {
        "access_token": SecretStr(SECRET),
        "phone_number_id": "100000000000001",
        "api_version": "v26.0",
        "messages_per_second": 1000.0,
        "voice_mime_type": "audio/ogg; codecs=opus",
    },
    ChatApiCredentials: {
        "base_url": "https://api.example.com",
        "instance_id": "100001",
        "token": SecretStr(SECRET),
        "path_template": "/{instance_id}/{method}",
        "voice_method": "sendFile",
        "contact_form": "contacts",
        "min_seconds_between": 1.0,
        "max_seconds_between": 2.0,
    },
    WawpCredentials: {"instance_id": "ABC123", "access_token": SecretStr(SECRET), "link_seconds": 86_400},
    WahaCredentials: {
        "base_url": "http://waha.internal:3000",
        "session": "sales",
        "api_key": SecretStr(SECRET),
        "contact_form": "vcard",
    },
    Ledger: {"url": SecretStr(f"postgresql+asyncpg://me:{SECRET}@db.internal/ledger"), "patience_seconds": 5.0},
}
SENDERS = [kind for kind in VALUES if kind is not Ledger]
assert [*sender_blocks().values()] == SENDERS


@pytest.fixture(params=VALUES, ids=lambda kind: kind.__name__)
def block(request: pytest.FixtureRequest) -> type[Any]:
    """Each block's class in turn."""
    kind: type[Any] = request.param
    return kind


@pytest.fixture
def filled(block: type[Any]) -> Any:
    """The block with every field that sending needs."""
    return block(**VALUES[block])


@pytest.fixture(params=SENDERS, ids=lambda kind: kind.__name__)
def sender_block(request: pytest.FixtureRequest) -> type[Any]:
    """Each sending account's class in turn."""
    kind: type[Any] = request.param
    return kind


@pytest.fixture
def sender(sender_block: type[Any]) -> Any:
    """The sending account with every field that it needs."""
    return sender_block(**VALUES[sender_block])


@pytest.fixture
def secret() -> str:
    """What stands in each block's secret field."""
    return SECRET
