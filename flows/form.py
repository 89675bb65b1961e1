"""The flows' parameters as the Prefect UI shows them: one form for each flow, each field declared once.

`takes` makes a flow's signature and the `Args:` of its docstring from its form, so that the server's schema, the type
checker, `help()` and docs/reference all say what stands here. Plain options, which the command line shares, are in
`models.options`.
"""

import dataclasses
import functools
import inspect
import operator
import re
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar, cast

from prefect.blocks.core import Block
from prefect_aws import S3Bucket
from prefect_whatsapp.blocks import Ledger
from prefect_whatsapp.blocks.sender import Sender
from prefect_whatsapp.blocks.senders import sender_blocks
from prefect_whatsapp.models import Contact, Recipient, Scale
from prefect_whatsapp.models.options import AudioOptions, BroadcastOptions, NumberOptions, Options
from prefect_whatsapp.providers.registry import providers
from prefect_whatsapp.recipients.reader import is_rows
from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.fields import FieldInfo

# What a run stores of a block is its reference alone: fields that were typed in would lie there in clear, tokens too.
_ONLY_A_REFERENCE: dict[str, Any] = {"propertyNames": {"const": "$ref"}}

P = ParamSpec("P")
F = TypeVar("F", bound=Options)
R = TypeVar("R")


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


@dataclasses.dataclass(frozen=True)
class _Group:
    """The name of a tab or an item that is a group of fields.

    The newer UI reads it beside the reference to the group's definition, the older one in the definition. Not for a block:
    Prefect's server looks for a block's definition under its title, so that must stay the name of its class.

    Source: prefect.utilities.schema_tools.validation, `preprocess_schema`.
    """

    title: str

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        handler.resolve_ref_schema(schema)["title"] = self.title
        return {**schema, "title": self.title}


# A number as people write it, or a chat id; never a path.
_RECIPIENT = re.compile(r"\+?[\d ()./-]{6,24}|\S+@(c\.us|g\.us|lid|newsletter|s\.whatsapp\.net)")
_BETWEEN = re.compile(r"[\r\n\t,;]+")
_LINE_END = re.compile(r"[\r\n]+")


def take_apart(value: Any) -> Any:
    """Take a pasted column of numbers apart, whether it was pasted as a file's name or as one of the numbers.

    Example:
        >>> take_apart(["+1 650 555 0101\\n+1 650 555 0102"])
        ['+1 650 555 0101', '+1 650 555 0102']
        >>> take_apart("+1 650 555 0101, Ada\\n+1 650 555 O102")
        ['+1 650 555 0101', '+1 650 555 O102']
        >>> take_apart("lists/2026, spring.csv")
        'lists/2026, spring.csv'
    """
    if isinstance(value, list | tuple):
        return [part for each in value for part in (_rows_of(each) if isinstance(each, str) else [each])]
    if not isinstance(value, str):
        return value
    if _LINE_END.search(value.strip()):  # no file's name: it would be asked for, and be quoted where it isn't found
        return _rows_of(value)
    parts = _parts(value)
    several = len(parts) > 1 or value.lstrip().startswith("+")
    return parts if several and all(_RECIPIENT.fullmatch(part) for part in parts) else value


def _rows_of(text: str) -> list[str]:
    """A row a line; of a number with a name beside it the number, of several numbers in a line each."""
    return [row for line in _LINE_END.split(text) for row in _numbers_of(line)]


def _numbers_of(line: str) -> list[str]:
    parts = _parts(line)
    numbers = [part for part in parts if _RECIPIENT.fullmatch(part)]
    return numbers if numbers and (len(numbers) == len(parts) or numbers == parts[:1]) else [line.strip()][: len(parts)]


def _parts(text: str) -> list[str]:
    return [part.strip() for part in _BETWEEN.split(text) if part.strip()]


if TYPE_CHECKING:
    AnySender = Sender
else:  # a tab each
    _TABS = (Annotated[kind, Field(title=providers()[name].title)] for name, kind in sender_blocks().items())
    AnySender = Annotated[functools.reduce(operator.or_, _TABS), _block(*sender_blocks().values())]


def _rows_in_memory(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Take rows as they are, data frames too: a bad one is removed with its reason, as in a file."""
    if isinstance(value, Generator) and inspect.getgeneratorstate(value) == inspect.GEN_CLOSED:
        raise ValueError("recipients is a generator that Prefect has already read: pass list(…) of it instead")
    return value if is_rows(value) else validate(value)


Storage = Annotated[Annotated[S3Bucket, Field(title="S3 bucket")] | None, _block(S3Bucket)]
LedgerBlock = Annotated[Annotated[Ledger, Field(title="Saved ledger")] | None, _block(Ledger)]
RecipientsField = Annotated[
    Annotated[str, Field(title="A file")]
    | Annotated[
        Sequence[Annotated[str, Field(title="A number")] | Annotated[Recipient, _Group("With a name")]],
        Field(title="Typed in"),
    ],
    WrapValidator(_rows_in_memory),
    BeforeValidator(take_apart),
]


class SenderForm(NumberOptions):
    """The account that sends."""

    sender: AnySender = Field(
        title="Sender",
        description="Account that sends the messages. Choose the service, then a saved block.",
        json_schema_extra=_ONLY_A_REFERENCE,
    )


class StorageForm(Options):
    """Where files are."""

    storage: Storage = Field(
        default=None,
        title="Storage",
        description="S3 bucket that holds the audio and, for a broadcast, the list. If empty, the worker's own AWS "
        "credentials are used.",
        json_schema_extra=_ONLY_A_REFERENCE,
    )


class LedgerForm(Options):
    """Where the send history is."""

    ledger: LedgerBlock = Field(
        default=None,
        title="Ledger",
        description="Where the send history is stored. If empty, a SQLite file on the worker.",
        json_schema_extra=_ONLY_A_REFERENCE,
    )


class AudioForm(StorageForm, LedgerForm, AudioOptions):
    """An audio message."""

    audio: str = Field(
        title="Audio",
        description="Audio file: s3://bucket/key, a key in Storage, an https link, or a path on the worker.",
    )


class ContactsForm(Options):
    """A message of contact cards."""

    contacts: list[Contact] = Field(title="Contact cards", description="Cards, each with a name and a phone number.")


class BroadcastForm(StorageForm, LedgerForm, SenderForm, BroadcastOptions):
    """A broadcast, whatever it sends."""

    broadcast: str = Field(
        title="Broadcast",
        description="Name of the broadcast. Run it again under the same name to continue where it stopped; nobody gets the "
        "message twice. {:%G-W%V} in the name becomes the ISO week of the run's scheduled start, so that each week of a "
        "schedule has its own name.",
    )
    recipients: RecipientsField = Field(
        default="",
        title="Recipients",
        description="File (CSV, Excel, JSON, JSON Lines or Parquet) as s3://bucket/key, a key in Storage or a path on the "
        "worker; or phone numbers and chat ids, typed in or pasted as a column; or the rows of another broadcast, as "
        "broadcast:NAME?state=skipped. Leave empty to continue with the recipients that are already planned.",
    )
    scale: Annotated[Scale, _Group("For large broadcasts")] | None = Field(
        default=None, title="Scale", description="How a large broadcast is sent. The defaults suit most broadcasts."
    )


class BroadcastAudioForm(BroadcastForm, AudioForm):  # type: ignore[misc]  # of the plugin's own `model_construct`
    """A broadcast of an audio message."""


class BroadcastContactsForm(BroadcastForm, ContactsForm):
    """A broadcast of contact cards."""


class SingleMessageForm(Options):
    """A message to one recipient."""

    to: str = Field(title="To", description="Phone number with + and country code, or a chat id.")
    reply_to: str = Field(default="", title="Reply to", description="Id of the message to quote.")


class AudioMessageForm(AudioForm, SenderForm, SingleMessageForm):
    """An audio message to one recipient."""


class ContactMessageForm(ContactsForm, SenderForm, SingleMessageForm):
    """Contact cards to one recipient."""


# The order of a person's thoughts; what isn't named stands between the two, as declared.
_FIRST = (
    *("broadcast", "to", "sender", "audio", "contacts", "recipients", "storage", "default_region"),
    *("dry_run", "approve", "voice"),
)
_LAST = ("convert", "ledger", "scale")


def takes(
    form: Callable[P, F],
) -> Callable[[Callable[[F], Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]]:
    """Give a flow's function the fields of a form as its keyword arguments.

    Args:
        form: The form's class.

    Returns:
        A decorator. The function that it makes is called with keywords and calls the decorated one with the form.
    """
    fields = cast(type[Options], form).model_fields
    names = sorted(fields, key=_place)

    def decorate(function: Callable[[F], Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
        @functools.wraps(function)
        async def call(*positional: P.args, **given: P.kwargs) -> R:
            read: Any = form
            return await function(read(**signature.bind(*positional, **given).arguments))

        result = inspect.signature(function).return_annotation
        signature = inspect.Signature([_parameter(name, fields[name]) for name in names], return_annotation=result)
        described = "\n".join(f"    {name}: {fields[name].description}" for name in names)
        call.__signature__ = signature  # type: ignore[attr-defined]  # functions take any attribute
        call.__doc__ = inspect.cleandoc(function.__doc__ or "").replace(
            "\nReturns:", f"\nArgs:\n{described}\n\nReturns:", 1
        )
        return call

    return decorate


def _place(name: str) -> int:
    if name in _FIRST:
        return _FIRST.index(name) - len(_FIRST)
    return 1 + _LAST.index(name) if name in _LAST else 0


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    # Prefect gives every parameter its name as the title; what stands in the extra is put on after that.
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    shown = Field(json_schema_extra={"title": field.title or name, **extra})
    return inspect.Parameter(
        name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=inspect.Parameter.empty if field.is_required() else field.default,
        annotation=Annotated[(field.annotation, *field.metadata, shown)],
    )
