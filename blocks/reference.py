"""Lets a saved block be chosen as a flow's parameter."""

from typing import Any

from prefect.blocks.core import Block


class Referable(Block):
    """A block that can be chosen as a parameter although none of its fields is required.

    Prefect's server takes a run's block-typed parameter as exactly one of a reference, `{"$ref": …}`, and the block's
    fields. A block without required fields accepts a reference as fields too, and every saved block is refused as
    "not valid under any of the given schemas". Here the schema says that a reference lacks a field. It says so by
    `required`, which the server leaves out when it checks a deployment's own parameters, because there a reference
    must pass as fields.

    Source: prefect.utilities.schema_tools.validation, `preprocess_schema` and `ignore_required`.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema: dict[str, Any] = handler(core_schema)
        handler.resolve_ref_schema(schema)["dependentSchemas"] = {"$ref": {"required": ["a block's fields"]}}
        return schema
