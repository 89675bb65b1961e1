"""The data that the package passes around: small frozen pydantic models."""

from .audio import Audio
from .contact import Contact, ContactAddress, ContactEmail, ContactPhone, ContactUrl
from .logs import keep_logs_clean
from .masking import mask, mask_numbers
from .options import Scale
from .receipt import Receipt
from .recipient import ReadAddress, Recipient, RecipientKind, canonical_address, check_region, read_address
from .report import Report, outcome_counts
from .states import (
    ACCEPTED_STATES,
    ARRIVED_STATES,
    ATTENTION_STATES,
    AWAITING_RECEIPT_STATES,
    IN_DOUBT_STATES,
    OPEN_STATES,
    PROGRESS_STATES,
    RECEIPT_STATES,
    SETTLED_STATES,
    SendState,
    StopReason,
)

__all__ = [
    "ACCEPTED_STATES",
    "ARRIVED_STATES",
    "ATTENTION_STATES",
    "AWAITING_RECEIPT_STATES",
    "IN_DOUBT_STATES",
    "OPEN_STATES",
    "PROGRESS_STATES",
    "RECEIPT_STATES",
    "SETTLED_STATES",
    "Audio",
    "Contact",
    "ContactAddress",
    "ContactEmail",
    "ContactPhone",
    "ContactUrl",
    "ReadAddress",
    "Receipt",
    "Recipient",
    "RecipientKind",
    "Report",
    "Scale",
    "SendState",
    "StopReason",
    "canonical_address",
    "check_region",
    "mask",
    "mask_numbers",
    "outcome_counts",
    "read_address",
]

keep_logs_clean()
