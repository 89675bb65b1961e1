"""Who the sandbox's accounts are, and how strict it is."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class SandboxSettings(BaseModel):
    """What the simulated services know.

    Attributes:
        token: The one credential that all four accept: access token, `token`, `access_token` and `X-Api-Key`.
        phone_number_id: Graph's sending number.
        display_phone_number: Its phone number; Graph refuses it as a recipient.
        throughput: What Graph says of its throughput.
        chat_api_instance: Chat-API's instance, without `instance` before it.
        wawp_instance: Wawp's `instance_id`.
        waha_session: WAHA's session.
        waha_validates: Refuse what WAHA's documents refuse. The real server validates little: an unknown property or a
            bad chat id gives 201.
        waha_session_seconds: How long WAHA waits for a session that isn't WORKING before it answers 422; a real server
            was seen to wait 10 s.
        wawp_credential_in: Where Wawp looks for the credential.
        waha_engine: Gives the shape of WAHA's answers: Baileys' raw message on NOWEB, an id on GOWS, an object on WEBJS.
        waha_version: From 2026.4.3 on a client may choose the ids of texts and cards, but for WEBJS.
        wawp_shapes: The shapes in which Wawp's message ids were recorded, used in turn.
        fetch_links: Load each audio address once and check what comes; otherwise only the address is checked.
        media_seconds: How long an uploaded media id lives.
        gone_media_code: What Graph answers to a send by a media id that is gone: 100 was recorded.
        hosts: Names by which it may be asked; a page of another site that has its name point to this machine gets nothing.
        keep_messages: How many accepted messages are kept whole; the counts are kept for all.
        app_secret: Signs Graph's webhooks.
        verify_token: What Graph's handshake repeats.
        webhook_secret: Signs WAHA's and Wawp's webhooks, and is the last part of the address of Chat-API's.
        wawp_webhook_header: Header of Wawp's signature; empty for none, then the secret is a part of the address.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str = "sandbox-token"  # noqa: S105 - the sandbox's own, known to everyone
    phone_number_id: str = "100000000000001"
    display_phone_number: str = "+16505550100"
    throughput: Literal["STANDARD", "HIGH"] = "STANDARD"
    chat_api_instance: str = "100001"
    wawp_instance: str = "sandbox"
    waha_session: str = "default"
    waha_validates: bool = False
    waha_version: str = "2026.6.1"
    waha_session_seconds: float = 0.2
    wawp_credential_in: tuple[Literal["body", "query", "header"], ...] = ("body", "query", "header")
    waha_engine: Literal["NOWEB", "GOWS", "WEBJS"] = "NOWEB"
    wawp_shapes: tuple[Literal["_data", "id", "string", "key", "data"], ...] = ("_data", "id", "string", "key", "data")
    fetch_links: bool = False
    media_seconds: float = 30 * 86400.0
    gone_media_code: Literal[100, 131009, 131053] = 100
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "::1", "sandbox")
    keep_messages: int = 200_000
    app_secret: str = "sandbox-app-secret"  # noqa: S105 - likewise
    verify_token: str = "sandbox-verify-token"  # noqa: S105 - likewise
    webhook_secret: str = "sandbox-webhook-secret"  # noqa: S105 - likewise
    wawp_webhook_header: str = "X-Wawp-Signature"
