"""Lets a saved block be chosen as a flow's parameter."""

from typing import Any

from prefect.blocks.core import Block


class Referable(Block):
    """A block whose reference, `{"$ref": …}`, is told apart from its fields.

    Prefect's server takes a block-typed parameter as exactly one of the two. A block without required fields would
    accept a reference as fields too, and the server refuses the run as "not valid under any of the given schemas".
    Source: prefect.utilities.schema_tools.validation, `preprocess_schema`.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema: dict[str, Any] = handler(core_schema)
        handler.resolve_ref_schema(schema)["propertyNames"] = {"not": {"const": "$ref"}}
        return schema
