"""The flows' parameters as the Prefect UI shows them: titles, bounds, and blocks that can be chosen.

Descriptions come from the flows' docstrings, the order from their signatures.
"""

import inspect
from collections.abc import Generator
from typing import Annotated, Any, Literal

from prefect.blocks.core import Block
from prefect_aws import S3Bucket
from prefect_whatsapp.blocks import (
    ChatApiCredentials,
    GraphCredentials,
    Ledger,
    WahaCredentials,
    WawpCredentials,
)
from prefect_whatsapp.models import Contact, Recipient
from prefect_whatsapp.recipients.reader import is_rows
from pydantic import BeforeValidator, Field, ValidatorFunctionWrapHandler, WrapValidator

# What a run stores of a block is its reference alone: fields that were typed in would lie there in clear, tokens too.
_ONLY_A_REFERENCE = {"propertyNames": {"const": "$ref"}}


def _titled(title: str, *, saved_block: bool = False, **bounds: Any) -> Any:
    # Prefect gives every parameter its name as the title; what stands in the extra is put on after that.
    extra: dict[str, Any] = {"title": title, **(_ONLY_A_REFERENCE if saved_block else {})}
    return Field(json_schema_extra=extra, **bounds)


def _block(*kinds: type[Block]) -> BeforeValidator:
    """Take a block, saved or made in Python; refuse fields that were typed in, and a block of another kind.

    In one sentence; pydantic would say one for each kind.
    """
    wanted = ", ".join(str(kind._block_type_name) for kind in kinds)

    def refuse_others(value: Any) -> Any:
        if value is not None and not isinstance(value, Block):
            raise ValueError(f"choose a saved block ({wanted}); its fields can't be typed in here")
        if isinstance(value, Block) and not isinstance(value, kinds):
            raise ValueError(
                f"a block of type {value.get_block_type_slug()} does not fit here; choose one of: {wanted}"
            )
        return value

    return BeforeValidator(refuse_others)


AnySender = (
    Annotated[GraphCredentials, Field(title="Meta Graph")]
    | Annotated[ChatApiCredentials, Field(title="Chat-API")]
    | Annotated[WawpCredentials, Field(title="Wawp")]
    | Annotated[WahaCredentials, Field(title="WAHA")]
)

Broadcast = Annotated[str, _titled("Broadcast")]
Sender = Annotated[
    AnySender,
    _block(GraphCredentials, ChatApiCredentials, WawpCredentials, WahaCredentials),
    _titled("Sender", saved_block=True),
]
AudioSource = Annotated[str, _titled("Audio")]
Contacts = Annotated[list[Contact], _titled("Contact cards")]


def _rows_in_memory(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Take rows as they are, data frames too: a bad one is removed with its reason, as in a file."""
    if isinstance(value, Generator) and inspect.getgeneratorstate(value) == inspect.GEN_CLOSED:
        raise ValueError("recipients is a generator that Prefect has read already: pass list(…) of it")
    return value if is_rows(value) else validate(value)


Recipients = Annotated[
    Annotated[str, Field(title="A file")] | Annotated[list[str | Recipient], Field(title="Typed in")],
    WrapValidator(_rows_in_memory),
    _titled("Recipients"),
]
Storage = Annotated[
    Annotated[S3Bucket, Field(title="S3 bucket")] | None, _block(S3Bucket), _titled("Storage", saved_block=True)
]
LedgerBlock = Annotated[
    Annotated[Ledger, Field(title="Saved ledger")] | None, _block(Ledger), _titled("Ledger", saved_block=True)
]
Voice = Annotated[bool, _titled("Voice note")]
Convert = Annotated[bool, _titled("Let the service convert")]
InFlight = Annotated[int, _titled("Requests at once", ge=0, le=64)]
MaxMessages = Annotated[int, _titled("Messages at most", ge=0)]
DefaultRegion = Annotated[str, _titled("Default country")]
OnUnknown = Annotated[Literal["hold", "resend"], _titled("Unknown sends")]
RetryFailed = Annotated[bool, _titled("Retry failed sends")]
WaitForReceipts = Annotated[int, _titled("Wait for receipts (minutes)", ge=0, le=1_440)]
DryRun = Annotated[bool, _titled("Dry run")]
Approve = Annotated[bool, _titled("Wait for approval")]
RunsPer = Annotated[Literal["send", "engine", "batch"], _titled("A task run for each")]
Shards = Annotated[int, _titled("Shards", ge=0, le=100)]
ShardDeployment = Annotated[str, _titled("Deployment of the shards")]
BatchSize = Annotated[int, _titled("Sends a batch", ge=1, le=5_000)]
To = Annotated[str, _titled("To")]
ReplyTo = Annotated[str, _titled("Reply to")]
