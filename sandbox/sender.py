"""The sandbox's accounts as provider blocks."""

from typing import Any


def sandbox_sender(provider: str, url: str, **fields: Any) -> Any:
    """The block of a provider's account in the sandbox.

    Args:
        provider: `graph`, `chat-api`, `wawp` or `waha`.
        url: The sandbox's address.
        fields: More of the block's fields.
    """
    from prefect_whatsapp import blocks

    token = "sandbox-token"  # noqa: S105  # the sandbox's own
    base = f"{url}/{provider}"
    unpaced = {"min_seconds_between": 0, "max_seconds_between": 0}
    match provider:
        case "graph":
            made: dict[str, Any] = {"access_token": token, "phone_number_id": "100000000000001"}
            return blocks.GraphCredentials(**{"base_url": base, "messages_per_second": 0, **made, **fields})
        case "chat-api":
            made = {"instance_id": "100001", "token": token}
            return blocks.ChatApiCredentials(**{"base_url": base, **unpaced, **made, **fields})
        case "wawp":
            made = {"instance_id": "sandbox", "access_token": token}
            return blocks.WawpCredentials(**{"base_url": base, **unpaced, **made, **fields})
        case _:
            return blocks.WahaCredentials(**{"base_url": base, "api_key": token, **unpaced, **fields})
