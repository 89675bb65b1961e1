"""What a block's form asks for, and how a saved block can be chosen as a flow's parameter."""

from abc import ABC
from typing import Any, ClassVar

from prefect.blocks.core import Block


class Referable(Block, ABC):  # abstract, else Prefect's server would offer it beside the blocks
    """A block whose form requires what it needs, although in Python each of its fields has a default.

    In Python, so that a block that was saved with an empty field, or by an older version, still loads; it is refused by the
    field's name where that is needed. In the form, so that nobody saves an account that can't send, and for a second
    reason: Prefect's server takes a run's block-typed parameter as exactly one of a reference, `{"$ref": …}`, and the
    block's fields. A block that requires no field accepts a reference as fields too, and every saved block is refused as
    "not valid under any of the given schemas". `required` is the only keyword that says so everywhere: the older UI
    sends a schema back to be checked without the keywords it does not know.

    Source: prefect.utilities.schema_tools.validation, `preprocess_schema`; the UI's map of `SchemaPropertyResponse`.
    """

    REQUIRED: ClassVar[tuple[str, ...]] = ()  # names of fields, one at least

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        schema: dict[str, Any] = handler(core_schema)
        described = handler.resolve_ref_schema(schema)
        described["required"] = [*cls.REQUIRED]
        for name in cls.REQUIRED:
            field = described["properties"][name]
            if field.get("type") == "string" and not field.get("default"):
                field.pop("default", None)  # else the form fills it in with nothing, and is content
                field["minLength"] = 1
        return schema
