"""What a block's form asks for, although each field has a default in Python."""

import json
from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.models.errors import InputError


def test_the_form_requires_what_sending_needs_and_fills_in_no_empty_text(sender_block: type[Any]) -> None:
    schema = sender_block.model_json_schema()
    assert schema["required"] == list(sender_block.REQUIRED)
    for name in sender_block.REQUIRED:
        assert schema["properties"][name].get("default") != "", f"{name}: an empty account could be saved"


def test_the_form_refuses_an_empty_text_where_one_is_required(sender_block: type[Any]) -> None:
    import jsonschema

    schema = sender_block.model_json_schema()
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(dict.fromkeys(sender_block.REQUIRED, ""), schema)


def test_every_block_requires_a_field_or_a_saved_one_could_not_be_chosen(block: type[Block]) -> None:
    assert block.model_json_schema()["required"]


def test_the_ledgers_form_can_be_saved_as_it_opens() -> None:
    schema = Ledger.model_json_schema()
    assert all("default" in schema["properties"][name] for name in schema["required"])


def test_a_block_that_was_saved_with_an_empty_field_loads_and_is_refused_by_the_fields_name(
    sender_block: type[Any],
) -> None:
    old = sender_block.model_validate(json.loads(json.dumps(dict.fromkeys(sender_block.REQUIRED, ""))))
    with pytest.raises(
        InputError, match=f"^{sender_block.__name__} has no ({'|'.join(sender_block.REQUIRED)}): fill it in"
    ):
        old.dialect()
