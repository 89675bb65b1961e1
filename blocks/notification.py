"""The block by which Prefect's automations notify a person on WhatsApp."""

from typing import Any, ClassVar

from prefect.blocks.abstract import NotificationBlock, NotificationError
from pydantic import Field, HttpUrl, field_validator

from ..models import Recipient
from ..models.errors import InputError, WhatsAppError
from ..providers.dialect import MAX_TEXT
from .sender import DOCUMENTATION_URL, LOGO_URL, Sender
from .senders import AnySender, sender_blocks


class WhatsAppNotification(NotificationBlock):
    """Sends a notification as a WhatsApp text message to a person or a group.

    Prefect runs it inside the server, which therefore needs this package. Meta's Graph delivers free-form texts only
    to those who wrote to the number within the last 24 hours; the gateways have no such limit.

    Attributes:
        sender: The account that sends.
        to: Who is notified.

    Example:
        Load a saved notification and tell somebody:
        ```python
        import asyncio
        from prefect_whatsapp.blocks import WhatsAppNotification

        notification = WhatsAppNotification.load("BLOCK_NAME")
        asyncio.run(notification.notify("The broadcast stopped."))
        ```
    """

    _block_type_name: ClassVar[str | None] = "WhatsApp Notification"
    _block_type_slug: ClassVar[str | None] = "whatsapp-notification"
    _logo_url: ClassVar[HttpUrl | None] = LOGO_URL
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION_URL

    sender: AnySender = Field(
        title="Sender", description="Account that sends the notification. Choose the service, then a saved block."
    )
    to: str = Field(
        title="To", description="Who is notified: a phone number with + and country code, or the chat id of a group."
    )

    @field_validator("sender", mode="before")
    @classmethod
    def _is_the_account_that_was_chosen(cls, value: Any) -> Any:
        """Say of which type a saved account is: Prefect gives a nested block's fields without it, and each type takes them."""
        if not isinstance(value, dict) or "block_type_slug" in value:
            return value
        given = value.keys()

        def likeness(kind: type[Sender]) -> int:
            return len(given & kind.model_fields.keys()) - len(given - kind.model_fields.keys())

        return {**value, "block_type_slug": max(sender_blocks().values(), key=likeness).get_block_type_slug()}

    @field_validator("to")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        try:
            return Recipient.parse(value).to
        except InputError as wrong:
            raise ValueError(wrong.message) from None

    async def notify(self, body: str, subject: str | None = None) -> None:
        """Send the notification, the subject in bold above the body.

        Args:
            body: What to say; what is beyond 4,096 characters is cut off.
            subject: One line.

        Raises:
            NotificationError: It could not be sent, while `raise_on_failure` is active; otherwise that is logged.
        """
        text = f"*{subject.strip()}*\n\n{body}" if subject and subject.strip() else body
        if len(text) > MAX_TEXT:
            text = text[: MAX_TEXT - 1] + "…"
        try:
            async with self.sender.get_async_client(connections=1) as client:
                await client.run(client.dialect.send_text(text, Recipient(to=self.to)))
        except WhatsAppError as failure:
            if self._raise_on_failure:
                raise NotificationError(failure.message) from failure
            self.logger.error("The notification was not sent: %s", failure.message)
