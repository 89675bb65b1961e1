"""The block for Meta's WhatsApp Cloud API (Graph)."""

from typing import ClassVar

from pydantic import Field, SecretStr

from ..media import VoiceSettings
from ..providers.graph import Graph, VoiceMimeType
from ..providers.graph_webhooks import GraphWebhooks
from .sender import Sender, make_dialect, required, secrets_of


class GraphCredentials(Sender):
    """A business phone number of Meta's WhatsApp Cloud API, with a token that has permission to send from it.

    Attributes:
        access_token: System user's or business token with the permission `whatsapp_business_messaging`.
        phone_number_id: Id of the sending number (WhatsApp → API Setup); not the number itself.
        app_secret: For receipts: the secret with which Meta signs webhooks.
        verify_token: For receipts: the text that Meta repeats when it verifies the receiver's address.

    Example:
        Load a saved account and ask whether it can send:
        ```python
        from prefect_whatsapp.blocks import GraphCredentials

        sender = GraphCredentials.load("BLOCK_NAME")
        print(sender.check())
        ```
    """

    _block_type_name: ClassVar[str | None] = "WhatsApp Graph Credentials"
    _block_type_slug: ClassVar[str | None] = "whatsapp-graph-credentials"
    REQUIRED: ClassVar[tuple[str, ...]] = ("access_token", "phone_number_id", "base_url")

    access_token: SecretStr = Field(
        default=SecretStr(""),
        title="Access token",
        description="Token that has the permission whatsapp_business_messaging, from developers.facebook.com → Business "
        "settings → System users.",
    )
    phone_number_id: str = Field(
        default="",
        title="Phone number id",
        description="Id of the sending number, from your app's WhatsApp → API Setup; not the number itself.",
        pattern=r"^\d*$",
    )
    api_version: str = Field(
        default=Graph.api_version,
        title="API version",
        description="Version of the Graph API. Meta supports each version for at least two years.",
        pattern=r"^v\d+\.\d+$",
    )
    base_url: str = Field(
        default=Graph.base_url,
        title="Base URL",
        description="Address of the service. Change it to use the sandbox or a compatible service.",
    )
    messages_per_second: float = Field(
        default=80.0,
        ge=0,
        title="Messages per second",
        description="Maximum messages that this number sends in any second, across all runs and machines: 80, or 1,000 "
        "after Meta has upgraded the number; 0 for no limit.",
    )
    voice_mime_type: VoiceMimeType = Field(
        default=Graph.voice_mime_type,
        title="Voice MIME type",
        description="MIME type of an uploaded voice note. Change it only if Meta answers with error 131053.",
    )
    phone_notes: bool = Field(
        default=False,
        title="Voice notes as phones record them",
        description="Make voice notes at 16 kHz with three frames in a packet, as for the gateways, instead of at 48 kHz with "
        "one.",
    )
    app_secret: SecretStr = Field(
        default=SecretStr(""),
        title="App secret",
        description="Only for receipts: the secret with which Meta signs webhooks, from your app's App settings → Basic. "
        "While you rotate it, enter both secrets, separated by a space.",
    )
    verify_token: SecretStr = Field(
        default=SecretStr(""),
        title="Verify token",
        description="Only for receipts: a text of your choice, which you also enter in your app's WhatsApp → Configuration.",
    )

    def voice_settings(self) -> VoiceSettings:
        """How a voice note for Graph is made."""
        return self._levelled(VoiceSettings.as_phones_record() if self.phone_notes else VoiceSettings())

    def dialect(self) -> Graph:
        """Graph's dialect for this number."""
        return make_dialect(self, Graph)

    def webhooks(self) -> GraphWebhooks:
        """Graph's webhooks, signed with the app secret."""
        required(self, "phone_number_id", "app_secret", doing="receiving")
        return GraphWebhooks(
            account=self.phone_number_id,
            secrets=secrets_of(self.app_secret),
            verify_token=self.verify_token.get_secret_value(),
        )
