"""The block for WAHA."""

from typing import ClassVar

from pydantic import Field, SecretStr

from ..providers.waha import ContactForm, Waha
from ..providers.waha_webhooks import WahaWebhooks
from .gateway import GatewaySender
from .sender import make_dialect, required, secrets_of


class WahaCredentials(GatewaySender):
    """A WhatsApp session on your own WAHA server.

    Attributes:
        base_url: The server's address, such as http://waha.internal:3000.
        session: Name of the session.
        api_key: The server's API key, WAHA_API_KEY; empty where it asks for none.
        webhook_hmac_key: For receipts: signs the session's webhooks.

    Example:
        Load a saved session and ask whether it can send:
        ```python
        from prefect_whatsapp.blocks import WahaCredentials

        sender = WahaCredentials.load("BLOCK_NAME")
        print(sender.check())
        ```
    """

    _block_type_name: ClassVar[str | None] = "WhatsApp WAHA Credentials"
    _block_type_slug: ClassVar[str | None] = "whatsapp-waha-credentials"
    REQUIRED: ClassVar[tuple[str, ...]] = ("base_url", "session")

    base_url: str = Field(
        default="", title="Base URL", description="Address of your WAHA server, such as http://waha.internal:3000."
    )
    session: str = Field(default=Waha.session, title="Session", description="Name of the session in WAHA's dashboard.")
    api_key: SecretStr = Field(
        default=SecretStr(""),
        title="API key",
        description="WAHA_API_KEY in the server's environment or .env. If none is set, WAHA generates a key and prints it "
        "when it starts. Versions 2026.1.4 to 2026.2 that run without a key accept any value here, but not an empty one.",
    )
    contact_form: ContactForm = Field(
        default=Waha.contact_form,
        title="Contact form",
        description="How contact cards are sent. vcard: as vCards, which show everything. object: as WAHA's objects, which "
        "lose the parts of a name. auto: as objects if they hold the whole card, otherwise as vCards.",
    )
    webhook_hmac_key: SecretStr = Field(
        default=SecretStr(""),
        title="Webhook HMAC key",
        description="Only for receipts: the key in the session's webhook settings (hmac.key). While you rotate it, enter "
        "both keys, separated by a space.",
    )

    def dialect(self) -> Waha:
        """WAHA's dialect for this session."""
        return make_dialect(self, Waha)

    def webhooks(self) -> WahaWebhooks:
        """WAHA's webhooks, signed with the session's HMAC key."""
        required(self, "session", "webhook_hmac_key", doing="receiving")
        return WahaWebhooks(account=self.session, secrets=secrets_of(self.webhook_hmac_key))
