"""What Graph says of a sending number: whether it can send, how fast, and how many people it may write to first.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/health-status
"""

from collections.abc import Callable
from typing import Any

from ..models.masking import mask_numbers
from .dialect import AccountStatus

ACCOUNT_FIELDS = "id,display_phone_number,verified_name,quality_rating,throughput"
HEALTH_FIELDS = "status,health_status,whatsapp_business_manager_messaging_limit"
SUBSCRIPTION_FIELDS = "health_status,webhook_configuration"
# The first that is set is where the messages' webhooks go.
_CALLBACKS = ("phone_number", "whatsapp_business_account", "application")

_MESSAGES_PER_SECOND = {"STANDARD": 80.0, "HIGH": 1000.0}
# A number's `status` that sends nothing; CONNECTED, FLAGGED (low quality), RATE_LIMITED and RESTRICTED (no more templates
# today) still answer those who wrote.
_SILENT = {
    "BANNED": "Meta has banned this number; see WhatsApp Manager",
    "BLOCKED": "Meta has blocked this number; see WhatsApp Manager",
    "DELETED": "the number was deleted",
    "DISCONNECTED": "the number isn't connected to the Cloud API; register it again",
    "MIGRATED": "the number has moved to another business account",
    "PENDING": "the number isn't registered yet: finish its registration in WhatsApp Manager",
    "UNVERIFIED": "the number isn't verified yet: finish its verification in WhatsApp Manager",
}


def read_account(answer: dict[str, Any], *, redact: Callable[[str], str]) -> AccountStatus:
    """Read the answer to a request for these fields; those that Graph withheld are left open.

    Args:
        answer: The parsed body.
        redact: Takes the secrets out of a text.
    """
    throughput = answer.get("throughput")
    level = throughput.get("level") if isinstance(throughput, dict) else None
    name, number = str(answer.get("verified_name", "")), mask_numbers(str(answer.get("display_phone_number", "")))
    status = str(answer.get("status") or "").upper()
    wrong = _SILENT.get(status, "") or _blocked_by(answer.get("health_status"))
    return AccountStatus(
        ready=bool(answer.get("id")) and not wrong,
        state=status if status in _SILENT else "BLOCKED" if wrong else str(answer.get("quality_rating") or "UNKNOWN"),
        detail=redact(mask_numbers(wrong)) or " ".join(filter(None, (name, number))),
        messages_per_second=_MESSAGES_PER_SECOND.get(str(level)),
        messaging_limit=_limit(str(answer.get("whatsapp_business_manager_messaging_limit") or "")),
    )


def read_business_account(answer: dict[str, Any]) -> str:
    """Read the id of the number's WhatsApp Business Account, which only the health status names; empty without it."""
    health = answer.get("health_status")
    entities = health.get("entities") if isinstance(health, dict) else None
    for entity in entities if isinstance(entities, list) else []:
        if isinstance(entity, dict) and entity.get("entity_type") == "WABA" and str(entity.get("id", "")).isdecimal():
            return str(entity["id"])
    return ""


def read_callback(answer: dict[str, Any]) -> str:
    """Read where the number's webhooks are posted; empty where nowhere.

    Source: https://developers.facebook.com/docs/whatsapp/embedded-signup/webhooks/override
    """
    configured = answer.get("webhook_configuration")
    if not isinstance(configured, dict):
        return ""
    return next((str(configured[level]) for level in _CALLBACKS if configured.get(level)), "")


def withholds_a_field(answer: object) -> bool:
    """Whether a field isn't in this version, or not this token's to read: neither keeps the number from sending."""
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return False
    code = error.get("code")
    return (code == 100 and error.get("error_subcode") != 33) or code in {3, 10, *range(200, 300)}


def _blocked_by(health: object) -> str:
    """Say what keeps the number from sending, in Meta's words; empty where nothing does."""
    if not isinstance(health, dict) or health.get("can_send_message") != "BLOCKED":
        return ""
    entities = health.get("entities")
    errors = [
        error
        for entity in (entities if isinstance(entities, list) else [])
        if isinstance(entity, dict) and entity.get("can_send_message") == "BLOCKED"
        for error in (entity.get("errors") or [])
        if isinstance(error, dict)
    ]
    said = (str(error.get(key) or "") for error in errors for key in ("error_description", "possible_solution"))
    return "; ".join(filter(None, said))[:500] or "Meta blocks it from sending; see WhatsApp Manager"


def _limit(tier: str) -> str:
    """Write a messaging limit as a person would: `TIER_2K` as `2,000 people in 24 hours`."""
    size = tier.removeprefix("TIER_")
    if size == "UNLIMITED":
        return "unlimited"
    number = f"{size[:-1]}000" if size.endswith("K") else size
    return f"{int(number):,} people in 24 hours" if number.isdecimal() else ""
