"""The block for Wawp."""

import math
from typing import ClassVar, Literal

from pydantic import Field, PrivateAttr, SecretStr

from ..media import LONGEST_LINK_SECONDS
from ..providers.dialect import AccountStatus
from ..providers.waha_webhooks import WawpWebhooks
from ..providers.wawp import ConvertForm, CredentialPlace, FileForm, Place, Wawp
from .gateway import GatewaySender
from .sender import make_dialect, required, secrets_of

LINK_MARGIN_SECONDS = 86_400  # for Wawp's own queue, and for throttles and pauses that nobody foresees


class WawpCredentials(GatewaySender):
    """A WhatsApp session at Wawp.

    Attributes:
        instance_id: Id of the session.
        access_token: The account's API token.
        webhook_secret: For receipts: signs Wawp's webhooks, or is part of their address.

    Example:
        Load a saved session and ask whether it can send:
        ```python
        from prefect_whatsapp.blocks import WawpCredentials

        sender = WawpCredentials.load("BLOCK_NAME")
        print(sender.check())
        ```
    """

    _block_type_name: ClassVar[str | None] = "WhatsApp Wawp Credentials"
    _block_type_slug: ClassVar[str | None] = "whatsapp-wawp-credentials"
    REQUIRED: ClassVar[tuple[str, ...]] = ("instance_id", "access_token", "base_url")

    instance_id: str = Field(
        default="", title="Instance id", description="Id of the WhatsApp session, from Wawp's dashboard."
    )
    access_token: SecretStr = Field(
        default=SecretStr(""), title="Access token", description="API token, from Wawp's dashboard."
    )
    base_url: str = Field(
        default=Wawp.base_url,
        title="Base URL",
        description="Address of the service. Change it to use the sandbox or a compatible service.",
    )
    credential_in: CredentialPlace = Field(
        default=Wawp.credential_in,
        title="Credential placement",
        description="Where the instance id and the token are sent: in the JSON body, the query or a header. auto tries these "
        "in this order when the account is checked.",
    )
    convert_as: ConvertForm = Field(
        default=Wawp.convert_as,
        title="Form of convert",
        description="Whether convert is sent as a JSON boolean, as Wawp's table says, or as text, as its sample does.",
    )
    file_as: FileForm = Field(
        default="flat",
        title="Form of the audio file",
        description="How the link to the audio is sent: by flat keys such as file[url], as Wawp's documents say, or nested "
        "within file, as Wawp's own plugin does.",
    )
    link_seconds: int = Field(
        default=0,
        ge=0,
        le=LONGEST_LINK_SECONDS,
        title="Lifetime of audio links (seconds)",
        description="Wawp loads audio by a signed S3 link, which must remain valid for the whole broadcast and for Wawp's own "
        "queue. 0: as long as the broadcast takes and one more day. S3 allows seven days at most, which is what a link of "
        "the task upload_media gets.",
    )
    webhook_secret: SecretStr = Field(
        default=SecretStr(""),
        title="Webhook secret",
        description="Only for receipts: the secret of the webhook. While you rotate it, enter both secrets, separated by a "
        "space.",
    )
    webhook_header: str = Field(
        default="",
        title="Webhook signature header",
        description="Only for receipts: name of the header that holds the signature. Leave empty if the secret is the last "
        "part of the webhook's address.",
        pattern=r"^[A-Za-z0-9-]*$",
    )
    webhook_algorithm: Literal["sha256", "sha512"] = Field(
        default="sha256",
        title="Webhook signature algorithm",
        description="Only for receipts: hash algorithm of the signature.",
    )

    _found: Place | None = PrivateAttr(default=None)

    def link_life(self, takes: float | None = None) -> int:
        """How long a signed link to the audio lives, in seconds: the field, or the broadcast's length and a day."""
        if self.link_seconds or takes is None:
            return self.link_seconds or LONGEST_LINK_SECONDS
        return min(math.ceil(takes) + LINK_MARGIN_SECONDS, LONGEST_LINK_SECONDS)

    def dialect(self) -> Wawp:
        """Wawp's dialect for this session."""
        return make_dialect(self, Wawp, credential_in=self._found or self.credential_in)

    def learn(self, status: AccountStatus) -> None:
        """Remember where the check found that the credential is taken."""
        self._found = status.credential_in or self._found

    def webhooks(self) -> WawpWebhooks:
        """Wawp's webhooks, signed in a header or with the secret in the path."""
        required(self, "instance_id", "webhook_secret", doing="receiving")
        return WawpWebhooks(
            account=self.instance_id,
            secrets=secrets_of(self.webhook_secret),
            header=self.webhook_header,
            algorithm=self.webhook_algorithm,
        )
