"""What a service said of one accepted message."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from .masking import mask, mask_numbers


class Receipt(BaseModel):
    """The service's confirmation that it accepted (or queued) one message. Accepted is not delivered.

    In memory it is whole. Serialised or pickled, as when a task's result is stored, it holds no whole phone number:
    `recipient` and numbers within `message_id` are masked and `raw` is left out; the ledger keeps them.

    Attributes:
        provider: The service's name, such as `graph`.
        account: The sending account's public id (phone number id, instance, session).
        recipient: The canonical address the message went to.
        message_id: The service's id; empty where it gave none (a queued message).
        status: `accepted`, or `queued` where the service says that it holds the message for later.
        status_text: The service's own text.
        raw: The parsed answer.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: str
    account: str
    recipient: str
    message_id: str = ""
    status: Literal["accepted", "queued"] = "accepted"
    status_text: str = ""
    raw: Any = Field(default=None, exclude=True, repr=False)

    @field_serializer("recipient")
    def _masked_recipient(self, value: str) -> str:
        return value if value.startswith("…") else mask(value)

    @field_serializer("message_id", "status_text")
    def _masked_text(self, value: str) -> str:
        return mask_numbers(value)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.model_dump())

    def __repr__(self) -> str:
        return f"Receipt({self.provider}, {mask(self.recipient)}, {self.status})"

    __str__ = __repr__


def _rebuilt(kind: type[Receipt], values: dict[str, Any]) -> Receipt:
    """Make a receipt of what was pickled: a function, because cloudpickle copies a class method's code instead."""
    return kind(**values)
