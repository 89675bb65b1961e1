"""A block in Python, on paper and on a real Prefect server."""

import json
import pickle
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect_whatsapp.blocks import GraphCredentials
from pydantic import SecretStr, ValidationError


def test_no_dump_and_no_representation_shows_a_secret(filled: Any, secret: str) -> None:
    for text in (
        repr(filled),
        str(filled),
        repr(filled.model_dump()),
        json.dumps(filled.model_dump(mode="json")),
        filled.model_dump_json(),
    ):
        assert secret not in text
        assert "***" in text


def test_a_secret_is_dumped_only_where_prefect_asks_for_it(filled: Any, secret: str) -> None:
    assert secret in filled.model_dump_json(context={"include_secrets": True})


def test_a_block_survives_pickling_to_a_worker(filled: Any) -> None:
    again = pickle.loads(pickle.dumps(filled))
    assert again == filled


def test_a_refused_field_does_not_repeat_what_was_written() -> None:
    with pytest.raises(ValidationError) as refused:
        GraphCredentials(base_url="https://me:canary@graph.facebook.com")
    assert "canary" not in str(refused.value)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_what_was_saved_is_what_is_loaded(block: type[Any], filled: Any) -> None:
    name = block.__name__.lower()
    await filled.asave(name, overwrite=True)
    loaded = await block.aload(name)
    for field in block.model_fields:
        assert getattr(loaded, field) == getattr(filled, field), field
    assert type(loaded) is block


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
async def test_a_saved_document_shows_no_secret_unless_asked(filled: Any, block: type[Any], secret: str) -> None:
    name = f"{block.__name__.lower()}-shown"
    await filled.asave(name, overwrite=True)
    async with get_client() as client:
        slug = block._block_type_slug
        shown = await client.read_block_document_by_name(name, slug, include_secrets=False)
        whole = await client.read_block_document_by_name(name, slug, include_secrets=True)
    assert secret not in json.dumps(shown.data)
    assert secret in json.dumps(whole.data)


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
def test_a_block_is_saved_and_loaded_without_an_event_loop_too(secret: str) -> None:
    GraphCredentials(access_token=SecretStr(secret), phone_number_id="1").save("sync", overwrite=True)
    assert GraphCredentials.load("sync").access_token.get_secret_value() == secret
