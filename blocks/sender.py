"""What the providers' blocks have in common: pace, time limits and the two clients."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import httpx
from prefect.blocks.abstract import CredentialsBlock
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, TypeAdapter, field_validator, model_validator

from ..media import VoiceSettings
from ..models.errors import InputError, UnsupportedError
from ..models.hosts import is_private
from ..providers.dialect import AccountStatus, Dialect
from ..providers.webhooks import WebhookDialect
from .reference import Referable

if TYPE_CHECKING:  # aiohttp is imported with the first client
    from ..providers.transport import AsyncClient, Client

DOCUMENTATION_URL = TypeAdapter(HttpUrl).validate_python("https://github.com/prefect-whatsapp/prefect-whatsapp#readme")
# Prefect's client takes http(s) addresses only, so a picture inside the package can't be named here. These are the neutral
# ones of Prefect's own Webhook and Local File System blocks: nobody's trademark, and wherever theirs shows, so does ours.
_LOGOS = (
    "https://raw.githubusercontent.com/PrefectHQ/prefect/420d0d6a78bb6df1fc18bcf188fdad43c1d22ea9/assets/block-logos"
)
LOGO_URL = TypeAdapter(HttpUrl).validate_python(f"{_LOGOS}/webhook.png")
LEDGER_LOGO_URL = TypeAdapter(HttpUrl).validate_python(f"{_LOGOS}/filesystem.png")


class Sender(Referable, CredentialsBlock, ABC):
    """A sending account of one provider. Use the concrete block of a provider.

    Attributes:
        UNPACED: The fields by which it sends as fast as it can, as to a simulator.
    """

    UNPACED: ClassVar[Mapping[str, float]] = {"messages_per_second": 0.0}

    # An address with a token in it is refused; the refusal must not repeat it.
    model_config = ConfigDict(hide_input_in_errors=True)

    _logo_url: ClassVar[HttpUrl | None] = LOGO_URL
    _documentation_url: ClassVar[HttpUrl | None] = DOCUMENTATION_URL
    REQUIRED: ClassVar[tuple[str, ...]] = ("base_url",)

    base_url: str = Field(default="", title="Base URL", description="Address of the service, without a trailing slash.")
    messages_per_second: float = Field(
        default=0.0,
        ge=0,
        title="Messages per second",
        description="Maximum messages that this account sends in any second, across all runs and machines; 0 for no limit. The "
        "pause between sends applies as well: the slower of the two decides.",
    )
    answer_timeout_seconds: float = Field(
        default=60.0,
        gt=0,
        title="Answer timeout (seconds)",
        description="Maximum time to wait for the service's answer. A send without an answer counts as unknown.",
    )

    allow_http: bool = Field(
        default=False,
        title="Allow unencrypted http",
        description="Only for a service outside your own network that has no https: the credential and all numbers are then "
        "sent unencrypted. http to this machine and to private networks is always allowed.",
    )

    level_loudness: bool = Field(
        default=True,
        title="Level the loudness",
        description="Bring each voice note towards −16 LUFS by one constant gain, as far as its peaks allow. If off, a note is "
        "as loud as its recording.",
    )

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        value = value.strip()
        if value:
            try:
                url = httpx.URL(value)
            except httpx.InvalidURL:
                raise ValueError("base_url is not a valid address") from None
            if url.scheme not in {"http", "https"} or not url.host:
                raise ValueError("base_url must begin with https:// (or http:// for a host of your own)")
            if url.query or url.fragment or url.userinfo or "?" in value or "#" in value:
                raise ValueError("base_url must not contain a query or credentials")
            if "%" in url.host or any(c.isspace() for c in value):
                raise ValueError("base_url contains a character that is not allowed in an address")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _is_encrypted(self) -> Self:
        url = httpx.URL(self.base_url)
        if url.scheme == "http" and not self.allow_http and not is_private(url.host):
            raise ValueError("base_url must begin with https://: over http the credential would be sent unencrypted")
        return self

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Describe the block, for its form: what the account is stands before how it sends."""
        schema = super().model_json_schema(*args, **kwargs)
        declared = (name for kind in cls.__mro__ for name in vars(kind).get("__annotations__", ()))
        for position, name in enumerate(dict.fromkeys(name for name in declared if name in schema["properties"])):
            schema["properties"][name]["position"] = position
        return schema

    @abstractmethod
    def dialect(self) -> Dialect:
        """The provider's dialect for this account.

        Raises:
            InputError: A field that sending needs is empty.
        """

    def webhooks(self) -> WebhookDialect:
        """Read and verify the webhooks that the service posts about this account.

        Raises:
            InputError: A field that receiving needs is empty.
            UnsupportedError: The service posts none.
        """
        raise UnsupportedError(type(self).__name__, "webhooks", "the service posts none that can be read")

    @property
    def sender(self) -> str:
        """`provider:account`, under which the ledger keeps media ids and the pace."""
        return self.dialect().sender

    @property
    def random_spacing(self) -> tuple[float, float] | None:
        """Minimum and maximum seconds between two sends; None where an even pace is right."""
        return None

    def voice_settings(self) -> VoiceSettings:
        """How a voice note for this service is made."""
        return self._levelled(VoiceSettings())

    def _levelled(self, settings: VoiceSettings) -> VoiceSettings:
        return settings if self.level_loudness else settings.model_copy(update={"loudness": None})

    def link_life(self, takes: float | None = None) -> int:
        """How long a signed link to audio lives, in seconds, where the service loads audio by link.

        Args:
            takes: Seconds that all sends take at the account's pace; None where nobody knows.
        """
        return 0

    def get_client(
        self, *, connections: int = 16, transport: httpx.BaseTransport | None = None
    ) -> "AbstractContextManager[Client]":
        """Open a sync client of this account.

        Args:
            connections: How many requests at once.
            transport: Another httpx transport, for tests.

        Returns:
            A context manager that gives a `providers.transport.Client`.
        """
        return self._client(connections, transport)

    def get_async_client(
        self, *, connections: int = 16, transport: httpx.AsyncBaseTransport | None = None
    ) -> "AbstractAsyncContextManager[AsyncClient]":
        """Open an async client of this account; arguments as for `get_client`.

        Returns:
            An async context manager that gives a `providers.transport.AsyncClient`, for one event loop.
        """
        return self._async_client(connections, transport)

    @contextmanager
    def _client(self, connections: int, transport: httpx.BaseTransport | None) -> "Iterator[Client]":
        from ..providers.transport import Client

        with Client(
            self.dialect(), connections=connections, timeout=self.answer_timeout_seconds, transport=transport
        ) as client:
            yield client

    @asynccontextmanager
    async def _async_client(
        self, connections: int, transport: httpx.AsyncBaseTransport | None
    ) -> "AsyncIterator[AsyncClient]":
        from ..providers.transport import AsyncClient

        async with AsyncClient(
            self.dialect(), connections=connections, timeout=self.answer_timeout_seconds, transport=transport
        ) as client:
            yield client

    def check(self) -> AccountStatus:
        """Ask the service whether this account can send now.

        Raises:
            AccountError: The service refuses the account or its credential.
            TransportError: The service can't be reached.
        """
        client: Client
        with self.get_client(connections=1) as client:
            status = client.run(client.dialect.check())
        self.learn(status)
        return status

    async def acheck(self) -> AccountStatus:
        """Ask the service whether this account can send now; errors as for `check`."""
        async with self.get_async_client(connections=1) as client:
            status = await client.run(client.dialect.check())
        self.learn(status)
        return status

    def learn(self, status: AccountStatus) -> None:
        """Remember, for this block's later clients, what a check found out."""


D = TypeVar("D", bound=Dialect)


def make_dialect(sender: Sender, kind: type[D], **fields: Any) -> D:
    """Make a provider's dialect of the block's fields: of those that both have, by their names.

    Args:
        sender: The block.
        kind: The dialect's class.
        fields: What is to stand in place of a block's field.

    Raises:
        InputError: A field is empty that has no default in the dialect, or another one than empty.
    """
    given: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.init and field.name in type(sender).model_fields:
            value = getattr(sender, field.name)
            given[field.name] = value.get_secret_value() if isinstance(value, SecretStr) else value
            if field.default != "":
                required(sender, field.name)
    return kind(**given | fields)


def required(sender: Sender, *fields: str, doing: str = "sending") -> None:
    """Refuse a block in which a field that is needed is empty.

    Args:
        sender: The block.
        fields: Names of its fields.
        doing: What needs them.

    Raises:
        InputError: Naming the block's type and the field.
    """
    for name in fields:
        value = getattr(sender, name)
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not plain:
            raise InputError(f"{type(sender).__name__} has no {name}: fill it in before {doing}")


def secrets_of(value: SecretStr) -> tuple[str, ...]:
    """The secrets of a field that holds several, separated by spaces, while they are rotated."""
    return tuple(value.get_secret_value().split())
