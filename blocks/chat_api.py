"""The block for services that speak the Chat-API dialect."""

from typing import ClassVar, Literal

from pydantic import Field, SecretStr

from ..providers.chat_api import ChatApi
from ..providers.chat_api_webhooks import ChatApiWebhooks
from .gateway import GatewaySender
from .sender import required, secrets_of


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
        default="/instance{instance_id}/{method}",
        title="Path template",
        description="Path of each method on this host. For 1msg.io: /{instance_id}/{method}.",
    )
    voice_method: Literal["sendPTT", "sendFile"] = Field(
        default="sendPTT", title="Voice method", description="Method that sends voice notes. For 1msg.io: sendFile."
    )
    contact_form: Literal["contactId", "contacts"] = Field(
        default="contactId",
        title="Contact form",
        description="What sendContact takes: chat ids (contactId), or contact objects (contacts) as on 1msg.io.",
    )
    contact_method: Literal["auto", "sendContact", "sendVCard"] = Field(
        default="auto",
        title="Contact method",
        description="auto chooses the method that keeps the most details: one card with a name is sent by sendVCard, which "
        "shows the name; several cards are sent by sendContact, which shows the names in the recipient's phone book.",
    )
    address_by: Literal["phone", "chatId"] = Field(
        default="phone", title="Address people by", description="Parameter that holds a person's number."
    )
    webhook_secret: SecretStr = Field(
        default=SecretStr(""),
        title="Webhook secret",
        description="Only for receipts: a long random text of your own, used as the last part of the webhook's address, "
        "because the service does not sign webhooks. While you rotate it, enter both secrets, separated by a space.",
    )

    def dialect(self) -> ChatApi:
        """The Chat-API dialect for this instance."""
        required(self, "base_url", "instance_id", "token")
        return ChatApi.with_token(
            self.instance_id,
            self.token.get_secret_value(),
            base_url=self.base_url,
            path_template=self.path_template,
            voice_method=self.voice_method,
            contact_form=self.contact_form,
            contact_method=self.contact_method,
            address_by=self.address_by,
        )

    def webhooks(self) -> ChatApiWebhooks:
        """The dialect's webhooks, with the secret in the path."""
        required(self, "instance_id", "webhook_secret", doing="receiving")
        return ChatApiWebhooks(account=self.instance_id, secrets=secrets_of(self.webhook_secret))
