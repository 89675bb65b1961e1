"""The flows' forms: one declaration for the signature, the server's schema, the docstring and the command line."""

import inspect
from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate
from prefect_whatsapp.cli.app import app
from prefect_whatsapp.flows import broadcast_audio, broadcast_contacts, send_audio_message, send_contact_message
from prefect_whatsapp.flows.form import BroadcastAudioForm, take_apart
from prefect_whatsapp.models.options import AudioOptions, BroadcastOptions, Scale

FLOWS = [broadcast_audio, broadcast_contacts, send_audio_message, send_contact_message]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_every_parameter_has_a_title_and_a_description_as_declared(flow: Flow[Any, Any]) -> None:
    shown = flow.parameters.properties
    assert all(each["title"] and each["title"] != name for name, each in shown.items())
    assert all(each["description"].endswith(".") for each in shown.values())
    assert "Args:" in (flow.fn.__doc__ or "")


@pytest.mark.parametrize(("flow", "message"), [(broadcast_audio, "audio"), (broadcast_contacts, "contacts")])
def test_a_person_meets_the_fields_in_the_order_of_their_thoughts_and_scale_last(
    flow: Flow[Any, Any], message: str
) -> None:
    names = [*inspect.signature(flow.fn).parameters]
    first = ["broadcast", "sender", message, "recipients", "storage", "default_region", "dry_run", "approve"]
    assert names[:8] == first
    assert names[-1] == "scale"
    assert [*sorted(flow.parameters.properties, key=lambda n: flow.parameters.properties[n]["position"])] == names
    assert flow.parameters.properties["scale"]["default"] is None


def test_the_command_line_has_every_option_of_the_flows() -> None:
    offered = {name for each in app["broadcast"].assemble_argument_collection() for name in each.names}
    for model in (BroadcastOptions, AudioOptions, Scale):
        assert {"--" + name.replace("_", "-") for name in model.model_fields} <= offered


def test_the_forms_options_are_the_models() -> None:
    declared = {name: field.description for name, field in BroadcastOptions.model_fields.items()}
    shown = broadcast_audio.parameters.properties
    assert {name: shown[name]["description"] for name in declared} == declared
    assert declared.keys() <= BroadcastAudioForm.model_fields.keys()


@pytest.mark.parametrize(
    "pasted",
    [
        "+1 650 555 0101\n+1 650 555 0102\n",
        "16505550101;16505550102",
        ["+16505550101\r\n+16505550102"],
        ["+16505550101", "+16505550102"],
        "16505550101@c.us, 12036302@g.us",
    ],
)
def test_a_pasted_column_of_numbers_is_taken_apart(pasted: Any) -> None:
    assert len(take_apart(pasted)) == 2


def test_of_a_pasted_list_each_line_is_a_row_and_no_files_name() -> None:
    """A file's name would be looked for, and quoted where it isn't found."""
    pasted = "+1 650 555 0101\n\n+44 7700 900123, Bob\nnot a number\n"
    assert take_apart(pasted) == ["+1 650 555 0101", "+44 7700 900123", "not a number"]
    assert take_apart([pasted]) == take_apart(pasted)


@pytest.mark.parametrize("place", ["list.csv", "s3://bucket/a,b.csv", "broadcast:weekly?state=skipped", ""])
def test_a_file_stays_a_file(place: str) -> None:
    assert take_apart(place) == place


def test_one_number_in_the_files_field_is_a_number() -> None:
    assert take_apart("+16505550101") == ["+16505550101"]


# What the older UI keeps of a property when it sends a schema back to be checked: its map of `SchemaPropertyResponse`.
_KEPT = (
    *("position", "block_type_slug", "$ref", "anyOf", "allOf", "example", "default", "const", "description", "enum"),
    *("format", "items", "prefixItems", "properties", "required", "title", "type", "maxItems", "minItems"),
)


def _as_the_older_ui_sends_it(schema: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in schema.items() if name in (*_KEPT, "definitions")}
    for group in ("properties", "definitions"):
        if group in kept:
            kept[group] = {name: _as_the_older_ui_sends_it(each) for name, each in kept[group].items()}
    return kept


@pytest.mark.parametrize("of", ["the server", "the older UI"])
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_saved_block_fits_each_field_that_takes_one(flow: Flow[Any, Any], of: str) -> None:
    schema = parameter_schema(flow).model_dump_for_openapi()
    schema = schema if of == "the server" else _as_the_older_ui_sends_it(schema)
    reference = {"$ref": {"block_document_id": "00000000-0000-4000-8000-000000000000"}}
    blocks = {name for name in ("sender", "storage", "ledger") if name in schema["properties"]}
    filled = {name: "filled" for name in schema["required"]} | dict.fromkeys(blocks, reference)
    if "contacts" in filled:
        filled["contacts"] = [{"name": "Front desk", "phone": "+16505550199"}]  # type: ignore[assignment]
    assert [error.message for error in validate(filled, schema)] == []


def test_each_tab_and_each_item_of_the_recipients_has_a_name() -> None:
    schema = parameter_schema(broadcast_audio).model_dump_for_openapi()["properties"]["recipients"]
    assert [kind["title"] for kind in schema["anyOf"]] == ["A file", "Typed in"]
    assert [kind["title"] for kind in schema["anyOf"][1]["items"]["anyOf"]] == ["A number", "With a name"]


def test_a_group_of_fields_is_named_where_either_ui_looks_for_its_name() -> None:
    """The newer UI shows the title beside the reference, the older that of the definition."""
    schema = parameter_schema(broadcast_audio).model_dump_for_openapi()
    beside = [
        schema["properties"]["scale"]["anyOf"][0],
        schema["properties"]["recipients"]["anyOf"][1]["items"]["anyOf"][1],
    ]
    assert [each["title"] for each in beside] == ["For large broadcasts", "With a name"]
    assert [schema["definitions"][name]["title"] for name in ("Scale", "Recipient")] == [
        "For large broadcasts",
        "With a name",
    ]
