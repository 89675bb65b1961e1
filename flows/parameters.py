"""Reading a run's parameters: what can't be used is refused without being repeated, and blocks have to be saved ones.

Prefect's own check logs every parameter of a refused run at ERROR: whole phone numbers, contact cards, a token that was
typed into the form. The flows of this pack check for themselves, against the same annotations, and say which parameter
is wrong and why.
"""

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from prefect import Flow
from prefect.blocks.core import Block
from prefect.exceptions import ParameterBindError
from prefect_whatsapp.models.errors import InputError
from prefect_whatsapp.models.masking import mask_numbers
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails

P = ParamSpec("P")
R = TypeVar("R")

_REASONS_AT_MOST = 4
_REASON_CHARACTERS = 200


class CheckedFlow(Flow[P, R]):
    """A flow whose refused parameters are named, and never printed."""

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Read the parameters as their annotations ask.

        Args:
            parameters: As they were passed, or as the server stored them; a saved block is `{"$ref": …}`.

        Returns:
            The parameters, each of its declared type.

        Raises:
            InputError: One of them can't be used, or a block's fields were typed in. The text names the parameter and
                holds nothing of its value.
        """
        if unknown := set(parameters) - set(self._model.model_fields):
            raise InputError(f"{self.name} has no parameter {', '.join(sorted(map(_shown_name, unknown)))}")
        given = {name: _loaded(name, value) for name, value in parameters.items()}
        try:
            read = self._model(**given)
        except ValidationError as refused:
            reasons = _reasons(refused, self._shown)
        else:
            return {name: getattr(read, name) for name in self._model.model_fields if name in read.model_fields_set}
        raise InputError(reasons)  # outside of the handler: the refusal that holds the values isn't its context

    def _shown(self, name: str) -> str:
        """A parameter as the form calls it, with its name in Python where that is another."""
        field = self._model.model_fields.get(name)
        extra = field.json_schema_extra if field else None
        title = str(extra.get("title", name)) if isinstance(extra, dict) else name
        return name if title.lower().replace(" ", "_") == name else f"{title} ({name})"

    @cached_property
    def _model(self) -> type[BaseModel]:
        fields: dict[str, Any] = {}
        for name, parameter in inspect.signature(self.fn).parameters.items():
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (parameter.annotation, default)
        config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)
        return create_model("Parameters", __config__=config, **fields)

    if not TYPE_CHECKING:  # type checkers see the signatures of Prefect's own

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Run the flow; arguments that don't fit its signature are named, and never printed."""
            try:
                inspect.signature(self.fn).bind(*args, **{k: v for k, v in kwargs.items() if k not in _PREFECTS_OWN})
            except TypeError as misfit:
                why = str(misfit)
            else:
                return super().__call__(*args, **kwargs)
            raise ParameterBindError(f"{self.fn.__name__}: {mask_numbers(why)}")

        def with_options(self, **options: Any) -> "CheckedFlow[P, R]":
            """Make the same flow with other options; see `prefect.Flow.with_options`."""
            made = super().with_options(**options)
            made.__class__ = type(self)
            return made


# Arguments of a call that Prefect takes for itself.
_PREFECTS_OWN = frozenset({"return_state", "wait_for"})


def flow(*, name: str, flow_run_name: Callable[[], str]) -> Callable[[Callable[P, R]], CheckedFlow[P, R]]:
    """Make a `CheckedFlow` of a function.

    Args:
        name: The flow's name in Prefect.
        flow_run_name: Gives each run its name.
    """

    def decorate(function: Callable[P, R]) -> CheckedFlow[P, R]:
        return CheckedFlow(function, name=name, flow_run_name=flow_run_name)

    return decorate


def _loaded(name: str, value: Any) -> Any:
    """The saved block that a reference names; all else as it is."""
    if not isinstance(value, dict) or "$ref" not in value:
        return value
    load: Any = (
        Block.load_from_ref
    )  # its `_sync`, by which a running loop doesn't make it async, isn't in its signature
    try:
        return load(value["$ref"], _sync=True)
    except (ValueError, RuntimeError, TypeError):
        pass
    named = value["$ref"].get("block_document_slug") if isinstance(value["$ref"], dict) else None
    block = (
        f"the saved block {mask_numbers(str(named)[:_REASON_CHARACTERS])!r}"
        if named
        else "the saved block that it names"
    )
    raise InputError(f"{name}: {block} does not exist; choose another, or save it again under that name")


def _reasons(refused: ValidationError, shown: Callable[[str], str]) -> str:
    """Say what is wrong in a sentence a parameter, from declared names and pydantic's words alone."""
    by_parameter: dict[str, list[str]] = {}
    for error in refused.errors(include_context=False, include_url=False):
        name = str(error["loc"][0]) if error["loc"] else "parameters"
        reasons = by_parameter.setdefault(name, [])
        if (reason := _reason(error)) not in reasons:
            reasons.append(reason)
    return "; ".join(
        f"{shown(name)} can't be used: {', or '.join(reasons[:_REASONS_AT_MOST])}"
        for name, reasons in by_parameter.items()
    )


def _reason(error: ErrorDetails) -> str:
    # The last step to a field that nobody declared is its name, which is what was typed.
    path = error["loc"][1:-1] if error["type"] == "extra_forbidden" else error["loc"][1:]
    # Between them pydantic puts its own words for the kinds of a union, which mean nothing to who filled in a form.
    place = ".".join(str(step) for step in path if isinstance(step, int) or (step.isidentifier() and step.islower()))
    words = error["msg"].removeprefix("Value error, ")
    for value in sorted(_texts(error["input"]), key=len, reverse=True):  # a library's own words may quote it
        words = words.replace(value, "…")
    words = mask_numbers(words[:1].lower() + words[1:])[:_REASON_CHARACTERS]
    return f"{place}: {words}" if place and place not in ("str", "list") else words


def _texts(value: Any) -> set[str]:
    """The strings within a value."""
    if isinstance(value, str):
        return {value} if len(value) > 2 else set()
    if isinstance(value, dict):
        return {text for pair in value.items() for each in pair for text in _texts(each)}
    return {text for each in value for text in _texts(each)} if isinstance(value, list | tuple | set) else set()


def _shown_name(name: str) -> str:
    return mask_numbers(name[:40]) if name.isidentifier() else "of that name"
