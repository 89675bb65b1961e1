"""The sending accounts: addresses, clients, and whether they can send now."""

from typing import Any

import httpx
import pytest
from prefect_whatsapp.blocks import ChatApiCredentials, GraphCredentials, WahaCredentials, WawpCredentials
from prefect_whatsapp.media import VoiceSettings
from prefect_whatsapp.models import Contact, Recipient
from prefect_whatsapp.models.errors import AccountError, InputError, NotSentError, OutcomeUnknownError
from prefect_whatsapp.sandbox.server import RunningSandbox
from pydantic import SecretStr, ValidationError
from senders import PROVIDERS, sender_of


@pytest.mark.parametrize(
    "address",
    [
        "graph.facebook.com",
        "ftp://graph.facebook.com",
        "https://",
        "https://me:word@graph.facebook.com",
        "https://graph.facebook.com?access_token=canary",
        "https://graph.facebook.com#top",
        "https://graph facebook.com",
        "https://[graph",
    ],
)
def test_an_address_that_is_none_or_holds_a_credential_is_refused(sender_block: type[Any], address: str) -> None:
    with pytest.raises(ValidationError, match="base_url"):
        sender_block(base_url=address)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://graph.example.com/", "https://graph.example.com"),
        (" http://waha.internal:3000 ", "http://waha.internal:3000"),
        ("https://host.example.com/path/", "https://host.example.com/path"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("", ""),
    ],
)
def test_an_address_is_kept_without_blanks_and_trailing_slash(sender_block: type[Any], written: str, kept: str) -> None:
    assert sender_block(base_url=written).base_url == kept


def test_the_official_services_need_no_address() -> None:
    assert GraphCredentials().base_url == "https://graph.facebook.com"
    assert WawpCredentials().base_url == "https://api.wawp.net"


@pytest.mark.parametrize(
    ("empty", "field"),
    [
        (GraphCredentials(), "access_token"),
        (GraphCredentials(access_token=SecretStr("x")), "phone_number_id"),
        (ChatApiCredentials(), "base_url"),
        (ChatApiCredentials(base_url="https://h.example.com"), "instance_id"),
        (ChatApiCredentials(base_url="https://h.example.com", instance_id="1"), "token"),
        (WawpCredentials(), "instance_id"),
        (WawpCredentials(instance_id="1"), "access_token"),
        (WahaCredentials(), "base_url"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_field_that_sending_needs_is_asked_for_by_name(empty: Any, field: str) -> None:
    with pytest.raises(InputError, match=f"^{type(empty).__name__} has no {field}"):
        empty.dialect()


def test_a_phone_number_in_place_of_its_id_is_refused() -> None:
    with pytest.raises(ValidationError, match="phone_number_id"):
        GraphCredentials(phone_number_id="+1 650 555 0100")


@pytest.mark.parametrize("field", ["messages_per_second", "answer_timeout_seconds"])
def test_a_negative_limit_is_refused(sender_block: type[Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        sender_block(**{field: -1})


@pytest.mark.parametrize("kind", [ChatApiCredentials, WawpCredentials, WahaCredentials])
def test_gateways_space_sends_by_a_random_time_unless_told_otherwise(kind: Any) -> None:
    assert kind().random_spacing == (30.0, 60.0)
    assert kind(min_seconds_between=0, max_seconds_between=0).random_spacing is None
    with pytest.raises(ValidationError, match="min_seconds_between is greater than"):
        kind(min_seconds_between=9, max_seconds_between=8)


@pytest.mark.parametrize(
    ("field", "takes", "lives"),
    [
        (0, 0.0, 86_400),
        (0, 450.2, 86_400 + 451),
        (0, 10_000_000.0, 604_800),
        (0, None, 604_800),
        (3_600, 0.0, 3_600),
        (3_600, None, 3_600),
    ],
)
def test_a_link_lives_as_long_as_the_broadcast_takes_and_a_day_more(
    field: int, takes: float | None, lives: int
) -> None:
    assert WawpCredentials(link_seconds=field).link_life(takes) == lives
    assert WawpCredentials().link_seconds == 0


def test_a_note_s_form_and_loudness_are_the_account_s_choice(sender_block: type[Any]) -> None:
    gateway = sender_block is not GraphCredentials
    settings = sender_block().voice_settings()
    assert settings == (VoiceSettings.as_phones_record() if gateway else VoiceSettings())
    assert settings.loudness == -16.0
    assert sender_block(level_loudness=False).voice_settings() == settings.model_copy(update={"loudness": None})
    if not gateway:
        assert sender_block(phone_notes=True).voice_settings() == VoiceSettings.as_phones_record()


@pytest.mark.parametrize("block", [ChatApiCredentials, WahaCredentials, WawpCredentials])
def test_a_gateways_form_says_that_rate_and_pause_both_hold(block: Any) -> None:
    for name in ("messages_per_second", "min_seconds_between"):
        assert "the slower of the two decides" in (block.model_fields[name].description or "")


def test_graph_keeps_an_even_pace() -> None:
    assert (GraphCredentials().messages_per_second, GraphCredentials().random_spacing) == (80.0, None)


def test_the_sync_client_is_a_context_manager_that_closes_what_it_opened(sender: Any) -> None:
    below = _Closing()
    with sender.get_client(transport=below) as client:
        assert client.dialect == sender.dialect()
        assert not below.closed
    assert below.closed


async def test_the_async_client_is_a_context_manager_that_closes_what_it_opened(sender: Any) -> None:
    below = _AsyncClosing()
    async with sender.get_async_client(transport=below) as client:
        assert client.dialect == sender.dialect()
        assert not below.closed
    assert below.closed


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_check_says_that_the_account_can_send_now(sandbox: RunningSandbox, provider: str) -> None:
    sender = sender_of(provider, sandbox.url)
    sync, aio = sender.check(), await sender.acheck()
    assert sync == aio
    assert sync.ready
    assert sandbox.truth()["sends"] == 0
    assert sandbox.truth()["checks"] == 2


@pytest.mark.parametrize("provider", ["chat-api", "wawp", "waha"])
async def test_check_says_that_a_session_is_down(sandbox: RunningSandbox, provider: str) -> None:
    sandbox.faults(kind="session_down")
    status = await sender_of(provider, sandbox.url).acheck()
    assert not status.ready


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_check_raises_where_the_credential_is_refused(sandbox: RunningSandbox, provider: str) -> None:
    field = {"graph": "access_token", "chat-api": "token", "wawp": "access_token", "waha": "api_key"}[provider]
    sender = sender_of(provider, sandbox.url, **{field: SecretStr("canary-wrong")})
    with pytest.raises(AccountError) as sync:
        sender.check()
    with pytest.raises(AccountError) as aio:
        await sender.acheck()
    assert str(sync.value) == str(aio.value)
    assert "canary" not in str(sync.value)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_check_raises_where_nobody_listens(provider: str) -> None:
    sender = sender_of(provider, "http://127.0.0.1:9")
    with pytest.raises(NotSentError, match="base_url"):
        await sender.acheck()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_answer_timeout_is_the_blocks(sandbox: RunningSandbox, provider: str) -> None:
    sandbox.faults(kind="latency", seconds=1.5)
    sender = sender_of(provider, sandbox.url, answer_timeout_seconds=0.2)
    async with sender.get_async_client() as client:
        with pytest.raises(OutcomeUnknownError):
            await client.run(client.dialect.send_contacts(*_card_to_somebody()))


def _card_to_somebody() -> Any:
    return [Contact(name="Ada Byron", phone="+16505550199")], Recipient(to="+16505550123")


class _Closing(httpx.BaseTransport):
    closed = False

    def close(self) -> None:
        self.closed = True


class _AsyncClosing(httpx.AsyncBaseTransport):
    closed = False

    async def aclose(self) -> None:
        self.closed = True


def test_two_servers_accounts_of_one_name_are_two_senders_and_a_graph_number_is_one_wherever_it_is_asked() -> None:
    """Pace, media ids and broadcasts are kept by this; it is the same after each start."""
    senders = {sender_of("waha", f"http://{host}:3000").sender for host in ("one", "two", "one")}
    assert len(senders) == 2
    assert len({sender_of("graph", f"http://{host}").sender for host in ("one", "two")}) == 1


@pytest.mark.parametrize("kind", [GraphCredentials, ChatApiCredentials, WawpCredentials, WahaCredentials])
@pytest.mark.parametrize(
    "address", ["http://graph.facebook.com", "http://8.8.8.8:3000", "http://waha.example.com:3000"]
)
def test_a_service_beyond_the_own_network_is_reached_over_https_unless_http_is_allowed(kind: Any, address: str) -> None:
    with pytest.raises(
        ValidationError, match="must begin with https://: over http the credential would be sent unencrypted"
    ):
        kind(base_url=address)
    assert kind(base_url=address, allow_http=True).base_url == address
    assert kind(base_url=address.replace("http:", "https:")).base_url


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:3000",
        "http://[::1]:3000",
        "http://10.0.0.7",
        "http://192.168.0.7:3000",
        "http://localhost:3000",
        "http://waha:3000",
        "http://waha.internal:3000",
        "http://waha.tools.svc.cluster.local",
    ],
)
def test_http_within_the_own_network_needs_no_permission(address: str) -> None:
    assert WahaCredentials(base_url=address).base_url == address
