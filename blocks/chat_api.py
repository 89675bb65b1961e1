"""The block for services that speak the Chat-API dialect."""

from typing import ClassVar

from pydantic import Field, SecretStr

from ..providers.chat_api import AddressBy, ChatApi, ContactForm, ContactMethod, VoiceMethod
from ..providers.chat_api_webhooks import ChatApiWebhooks
from .gateway import GatewaySender
from .sender import make_dialect, required, secrets_of


class ChatApiCredentials(GatewaySender):
    """An instance of a service that speaks the Chat-API dialect (sendPTT, sendContact).

    Attributes:
        base_url: The service's address; chat-api.com itself has closed, compatible hosts answer.
        instance_id: The instance's id.
        token: The instance's token.
        webhook_secret: For receipts: the last part of the webhook's address.

    Example:
        Load a saved instance and ask whether it can send:
        ```python
        from prefect_whatsapp.blocks import ChatApiCredentials

        sender = ChatApiCredentials.load("BLOCK_NAME")
        print(sender.check())
        ```
    """

    _block_type_name: ClassVar[str | None] = "WhatsApp Chat-API Credentials"
    _block_type_slug: ClassVar[str | None] = "whatsapp-chat-api-credentials"
    REQUIRED: ClassVar[tuple[str, ...]] = ("base_url", "instance_id", "token")

    base_url: str = Field(
        default="",
        title="Base URL",
        description="Address of the service, such as https://api.example.com; chat-api.com itself has closed.",
    )
    instance_id: str = Field(
        default="", title="Instance id", description="Id of the instance, from the service's account page."
    )
    token: SecretStr = Field(
        default=SecretStr(""), title="Token", description="Token of the instance, from the service's account page."
    )
    path_template: str = Field(
        default=ChatApi.path_template,
        title="Path template",
        description="Path of each method on this host. For 1msg.io: /{instance_id}/{method}.",
    )
    voice_method: VoiceMethod = Field(
        default=ChatApi.voice_method,
        title="Voice method",
        description="Method that sends voice notes. For 1msg.io: sendFile.",
    )
    contact_form: ContactForm = Field(
        default=ChatApi.contact_form,
        title="Contact form",
        description="What sendContact takes: chat ids (contactId), or contact objects (contacts) as on 1msg.io.",
    )
    contact_method: ContactMethod = Field(
        default=ChatApi.contact_method,
        title="Contact method",
        description="auto chooses the method that keeps the most details: one card with a name is sent by sendVCard, which "
        "shows the name; several cards are sent by sendContact, which shows the names in the recipient's phone book.",
    )
    address_by: AddressBy = Field(
        default=ChatApi.address_by, title="Address people by", description="Parameter that holds a person's number."
    )
    webhook_secret: SecretStr = Field(
        default=SecretStr(""),
        title="Webhook secret",
        description="Only for receipts: a long random text of your own, used as the last part of the webhook's address, "
        "because the service does not sign webhooks. While you rotate it, enter both secrets, separated by a space.",
    )

    def dialect(self) -> ChatApi:
        """The Chat-API dialect for this instance."""
        return make_dialect(self, ChatApi)

    def webhooks(self) -> ChatApiWebhooks:
        """The dialect's webhooks, with the secret in the path."""
        required(self, "instance_id", "webhook_secret", doing="receiving")
        return ChatApiWebhooks(account=self.instance_id, secrets=secrets_of(self.webhook_secret))
