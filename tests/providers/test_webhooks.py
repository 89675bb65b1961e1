"""Reading webhooks: signatures over raw bytes, and what each service's events mean in one vocabulary."""

import datetime
import json
from typing import Any

import pytest
from prefect_whatsapp.models import SendState
from prefect_whatsapp.models.message_ids import bare_message_id
from prefect_whatsapp.models.spellings import address_in_webhook, spellings
from prefect_whatsapp.models.updates import Inbound, Item, Preference, SamePerson, StatusUpdate, Unread
from prefect_whatsapp.providers.chat_api_webhooks import ChatApiWebhooks
from prefect_whatsapp.providers.graph_webhooks import GraphWebhooks
from prefect_whatsapp.providers.waha_webhooks import WahaWebhooks, WawpWebhooks
from prefect_whatsapp.providers.webhooks import WebhookDialect, WebhookRefusedError, moment, same_secret

NOW = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC)
GRAPH = GraphWebhooks(account="106540", secrets=("test-app-secret",), verify_token="hello")
WAHA = WahaWebhooks(account="default", secrets=("my-secret-key",))
WAWP = WawpWebhooks(account="ABC123", secrets=("one", "two"), header="X-Wawp-Signature")
CHAT_API = ChatApiWebhooks(account="12345", secrets=("path-secret",))


def read(dialect: WebhookDialect, body: Any) -> list[Item]:
    return list(dialect.items(body, NOW))


def change(field: str, **value: Any) -> dict[str, Any]:
    value = {"metadata": {"display_phone_number": "16505550100", "phone_number_id": "106540"}, **value}
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": "1", "changes": [{"field": field, "value": value}]}],
    }


def waha(event: str, payload: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "evt_1", "timestamp": 1789000000123, "event": event, "session": "office", "payload": payload, **more}


GRAPH_VECTORS = [
    (
        rb'{"object":"whatsapp_business_account"}',
        "b6978b21c4467654c466607663db9b43fae44b71083568df403e0a077089208e",
    ),
    (
        rb'{"object":"whatsapp_business_account","text":"\u00e4\ud83d\ude00 \/ @"}',
        "00a4c09622a047fc5741016ee4192d744db23b13af39b5bba6640d0658416f29",
    ),
]
WAHA_BODY = b'{"event":"message","session":"default","engine":"WEBJS"}'
WAHA_DIGEST = (
    "208f8a55dde9e05519e898b10b89bf0d0b3b0fdf11fdbf09b6b9"
    "0476301b98d8097c462b2b17a6ce93b6b47a136cf2e78a33a63f6752c2c1631777076153fa89"
)


@pytest.mark.parametrize(("body", "digest"), GRAPH_VECTORS)
def test_graphs_signature_is_checked_over_the_raw_bytes(body: bytes, digest: str) -> None:
    assert GRAPH.verify({"x-hub-signature-256": f"sha256={digest}"}, body)
    reencoded = json.dumps(json.loads(body), ensure_ascii=False).encode()
    assert not GRAPH.verify({"x-hub-signature-256": f"sha256={digest}"}, reencoded)


@pytest.mark.parametrize(
    "header",
    [None, "", "sha256=", GRAPH_VECTORS[0][1], f"sha1={GRAPH_VECTORS[0][1]}", "sha256=" + "0" * 64, "sha256=é"],
)
def test_a_missing_or_wrong_signature_of_graph_fails(header: str | None) -> None:
    headers = {} if header is None else {"x-hub-signature-256": header}
    assert not GRAPH.verify(headers, GRAPH_VECTORS[0][0])


def test_wahas_signature_is_sha512_over_the_raw_bytes() -> None:
    assert WAHA.verify({"x-webhook-hmac": WAHA_DIGEST}, WAHA_BODY)
    assert not WAHA.verify({"x-webhook-hmac": WAHA_DIGEST}, WAHA_BODY + b" ")
    assert not WAHA.verify({}, WAHA_BODY)


def test_while_secrets_are_rotated_the_old_and_the_new_one_both_count() -> None:
    old = "26b7ad5a5a9af0aef4fcdb9d5bd02ff8be1b1a4aaaad6e6f0ad5bb1d37c9ee8b"
    import hashlib
    import hmac

    for secret in ("one", "two"):
        digest = hmac.new(secret.encode(), b"{}", hashlib.sha256).hexdigest()
        assert WAWP.verify({"x-wawp-signature": digest}, b"{}")
        assert WAWP.verify({"x-wawp-signature": f"sha256={digest}"}, b"{}")
    assert not WAWP.verify({"x-wawp-signature": old}, b"{}")


def test_an_empty_secret_never_matches() -> None:
    import hashlib
    import hmac

    empty = hmac.new(b"", b"{}", hashlib.sha256).hexdigest()
    nobody = GraphWebhooks(account="1", secrets=("",), verify_token="")
    assert not nobody.verify({"x-hub-signature-256": f"sha256={empty}"}, b"{}")
    assert nobody.handshake({"hub.mode": "subscribe", "hub.verify_token": "", "hub.challenge": "7"}) is None
    assert not same_secret("", ("",))


def test_services_without_a_signature_have_their_secret_in_the_path() -> None:
    assert CHAT_API.secret_in_path
    assert not CHAT_API.verify({}, b"{}")
    assert WawpWebhooks(account="A", secrets=("s",)).secret_in_path
    assert not WAWP.secret_in_path
    assert same_secret("path-secret", CHAT_API.secrets)
    assert not same_secret("path-secreT", CHAT_API.secrets)


def test_graphs_handshake_answers_the_challenge_where_the_token_is_ours() -> None:
    query = {"hub.mode": "subscribe", "hub.verify_token": "hello", "hub.challenge": "1158201444"}
    assert GRAPH.handshake(query) == "1158201444"
    assert GRAPH.handshake({**query, "hub.verify_token": "other"}) is None
    assert GRAPH.handshake({**query, "hub.mode": "unsubscribe"}) is None
    assert GRAPH.handshake({}) is None


def test_a_status_of_graph_carries_our_callback_and_who_got_it() -> None:
    status = {
        "id": "wamid.HBgL",
        "status": "delivered",
        "timestamp": "1789000000",
        "recipient_id": "16505550123",
        "recipient_user_id": "US.1349120865",
        "biz_opaque_callback_data": "ab:42",
    }
    (item,) = read(GRAPH, change("messages", statuses=[status]))
    assert item == StatusUpdate(
        account="106540",
        message_id="wamid.HBgL",
        state=SendState.DELIVERED,
        at=datetime.datetime(2026, 9, 10, 0, 26, 40, tzinfo=datetime.UTC),
        callback="ab:42",
        aliases=("+16505550123", "US.1349120865"),
    )


def test_a_failed_status_carries_code_and_words_and_130403_is_an_opt_out() -> None:
    status = {
        "id": "wamid.1",
        "status": "failed",
        "timestamp": "1789000000",
        "recipient_id": "16505550123",
        "errors": [{"code": 130403, "title": "Blocked", "error_data": {"details": "by +1 650 555 0123"}}],
    }
    update, preference = read(GRAPH, change("messages", statuses=[status]))
    assert isinstance(update, StatusUpdate)
    assert (update.state, update.code, update.text) == (SendState.FAILED, "130403", "by …0123")
    assert isinstance(preference, Preference)
    assert preference.opted_out
    assert preference.addresses == ("+16505550123",)


@pytest.mark.parametrize(
    ("message", "kind", "text", "answers"),
    [
        ({"type": "text", "text": {"body": "STOP"}}, "text", "STOP", ""),
        (
            {"type": "button", "button": {"payload": "x", "text": "Stop"}, "context": {"id": "wamid.T"}},
            "button",
            "Stop",
            "wamid.T",
        ),
        (
            {"type": "interactive", "interactive": {"type": "list_reply", "list_reply": {"id": "1", "title": "Stop"}}},
            "button",
            "Stop",
            "",
        ),
        ({"type": "reaction", "reaction": {"message_id": "wamid.R", "emoji": "x"}}, "reaction", "", "wamid.R"),
        ({"type": "audio", "audio": {"id": "1", "voice": True}}, "audio", "", ""),
        ({"type": "sticker"}, "other", "", ""),
        (
            {
                "type": "edit",
                "edit": {"original_message_id": "wamid.O", "message": {"type": "text", "text": {"body": "STOP"}}},
            },
            "edit",
            "STOP",
            "",
        ),
        ({"type": "edit", "edit": {"message": {"type": "image", "image": {"caption": "stop"}}}}, "edit", "stop", ""),
        ({"type": "edit", "edit": []}, "edit", "", ""),
        ({"type": "image", "image": {"id": "1", "caption": "Stop"}}, "other", "Stop", ""),
    ],
)
def test_each_kind_of_reply_on_graph_is_read(message: dict[str, Any], kind: str, text: str, answers: str) -> None:
    body = change(
        "messages",
        contacts=[{"wa_id": "16505550123", "user_id": "US.1349120865"}],
        messages=[{"from": "16505550123", "id": "wamid.in", "timestamp": "1789000100", **message}],
    )
    (item,) = read(GRAPH, body)
    assert isinstance(item, Inbound)
    assert (item.kind, item.text, item.answers) == (kind, text, answers)
    assert item.addresses == ("+16505550123", "US.1349120865")
    assert item.opens_window is (kind not in ("reaction", "edit"))
    assert "16505550123" not in repr(item)


def test_a_person_without_a_phone_is_known_by_the_user_id() -> None:
    body = change("messages", messages=[{"from_user_id": "US.1349120865", "id": "wamid.in", "type": "text"}])
    (item,) = read(GRAPH, body)
    assert isinstance(item, Inbound)
    assert item.addresses == ("US.1349120865",)
    assert item.at == NOW


def test_calls_open_the_window_and_calls_of_ours_do_not() -> None:
    theirs = {"id": "wacid.1", "from": "16505550123", "timestamp": "1789000000", "direction": "USER_INITIATED"}
    ours = {**theirs, "id": "wacid.2", "direction": "BUSINESS_INITIATED"}
    (item,) = read(GRAPH, change("calls", calls=[theirs, ours]))
    assert isinstance(item, Inbound)
    assert (item.kind, item.opens_window) == ("call", True)


def test_a_changed_number_is_the_same_person_and_no_message() -> None:
    message = {
        "type": "system",
        "from": "16505550123",
        "system": {"wa_id": "16505550124", "type": "user_changed_number"},
    }
    assert read(GRAPH, change("messages", messages=[{"id": "wamid.s", **message}])) == [
        SamePerson(("+16505550123", "+16505550124"))
    ]


def test_user_preferences_stop_and_resume() -> None:
    stop = {"wa_id": "16505550123", "value": "stop", "category": "marketing_messages", "timestamp": 1789000000}
    items = read(GRAPH, change("user_preferences", user_preferences=[stop, {**stop, "value": "resume"}]))
    assert [item.opted_out for item in items if isinstance(item, Preference)] == [True, False]


def test_an_unknown_field_of_graph_is_kept_as_it_came() -> None:
    (item,) = read(GRAPH, change("account_update", event="ACCOUNT_RESTRICTION"))
    assert isinstance(item, Unread)
    assert (item.name, item.raw["event"]) == ("account_update", "ACCOUNT_RESTRICTION")


def test_one_bad_item_leaves_the_others_readable() -> None:
    good = {"id": "wamid.1", "status": "sent", "timestamp": "1789000000"}
    bad: list[Any] = [None, 7, "x", {}, {"id": 5}, {"id": "wamid.2", "status": "melted"}, {"status": "read", "id": ""}]
    items = read(GRAPH, change("messages", statuses=[*bad, good], messages=[None, {"type": 3}]))
    assert [item.message_id for item in items if isinstance(item, StatusUpdate)] == ["wamid.1"]


@pytest.mark.parametrize("body", [None, [], "x", {}, {"entry": "x"}])
def test_what_is_no_webhook_is_refused(body: Any) -> None:
    for dialect in (GRAPH, WAHA, WAWP, CHAT_API):
        with pytest.raises(WebhookRefusedError):
            read(dialect, body)


@pytest.mark.parametrize("value", [None, "", "x", "-5", 0, float("nan"), 1e300, "9" * 400, [], True])
def test_a_time_that_is_none_is_the_time_of_receipt(value: Any) -> None:
    at = moment(value, NOW)
    assert at == NOW or value is True


def test_a_time_in_the_future_is_the_time_of_receipt() -> None:
    assert moment(NOW.timestamp() + 500, NOW) == NOW
    assert moment(NOW.timestamp() * 1000 - 500, NOW) < NOW


@pytest.mark.parametrize(
    ("ack", "state"),
    [(-1, "failed"), (0, "accepted"), (1, "sent"), (2, "delivered"), (3, "read"), (4, "played")],
)
def test_acks_of_waha_and_wawp_are_our_states_by_the_bare_id(ack: int, state: str) -> None:
    payload = {"id": "true_16505550123@c.us_3EB0AA", "from": "16505550123@c.us", "fromMe": True, "ack": ack}
    for dialect, account in ((WAHA, "office"), (WAWP, "ABC123")):
        (item,) = read(dialect, waha("message.ack", payload))
        assert isinstance(item, StatusUpdate)
        assert (item.account, item.message_id, item.state.value) == (account, "3EB0AA", state)
        assert item.aliases == ("+16505550123",)
        assert item.at == datetime.datetime(2026, 9, 10, 0, 26, 40, 123000, tzinfo=datetime.UTC)


def test_an_ack_by_lid_is_of_the_same_message() -> None:
    (item,) = read(WAHA, waha("message.ack", {"id": "true_777000111@lid_3EB0AA", "fromMe": True, "ack": 3}))
    assert isinstance(item, StatusUpdate)
    assert (item.message_id, item.aliases) == ("3EB0AA", ("777000111@lid",))


def test_acks_of_what_we_read_elsewhere_are_no_statuses_of_ours() -> None:
    assert read(WAHA, waha("message.ack", {"id": "false_1@c.us_3A", "fromMe": False, "ack": 3})) == []


def test_our_own_message_in_message_any_is_accepted() -> None:
    payload = {"id": "true_16505550123@c.us_3EB0AA", "fromMe": True, "timestamp": 1789000100, "source": "app"}
    (item,) = read(WAHA, waha("message.any", payload))
    assert isinstance(item, StatusUpdate)
    assert item.state is SendState.ACCEPTED


@pytest.mark.parametrize(
    "data", [{"key": {"remoteJidAlt": "16505550123:7@s.whatsapp.net"}}, {"Info": {"SenderAlt": "16505550123@c.us"}}]
)
def test_a_reply_by_lid_tells_the_phone_where_the_engine_does(data: dict[str, Any]) -> None:
    payload = {
        "id": "false_777000111@lid_3A99",
        "timestamp": 1789000100,
        "from": "777000111@lid",
        "fromMe": False,
        "body": "STOP",
        "replyTo": {"id": "true_777000111@lid_3EB0AA"},
        "_data": data,
    }
    (item,) = read(WAHA, waha("message", payload))
    assert isinstance(item, Inbound)
    assert item.addresses == ("777000111@lid", "+16505550123")
    assert (item.message_id, item.answers, item.text, item.kind) == ("3A99", "3EB0AA", "STOP", "text")


def test_what_is_said_in_groups_is_no_reply() -> None:
    assert (
        read(WAHA, waha("message", {"id": "false_1@g.us_3A", "from": "120363000000001234@g.us", "body": "STOP"})) == []
    )


def test_an_unknown_event_of_waha_keeps_its_name_alone() -> None:
    assert read(WAHA, waha("poll.vote", {"voter": "16505550123@c.us"})) == [Unread("office", "poll.vote", None)]


def test_acks_and_messages_of_chat_api() -> None:
    body = {
        "instanceId": "12345",
        "ack": [{"id": "true_16505550123@c.us_3EB0AA", "chatId": "16505550123@c.us", "status": "viewed"}],
        "messages": [
            {"id": "true_1@c.us_3EB0BB", "fromMe": True, "time": 1789000100, "chatId": "1@c.us", "type": "ptt"},
            {
                "id": "false_16505550123@c.us_3A99",
                "fromMe": False,
                "chatId": "16505550123@c.us",
                "author": "16505550123@c.us",
                "time": 1789000100,
                "type": "chat",
                "body": "STOP",
                "quotedMsgId": "true_16505550123@c.us_3EB0AA",
            },
        ],
    }
    read_, accepted, reply = read(CHAT_API, body)
    assert isinstance(read_, StatusUpdate)
    assert (read_.message_id, read_.state) == ("3EB0AA", SendState.READ)
    assert isinstance(accepted, StatusUpdate)
    assert accepted.state is SendState.ACCEPTED
    assert isinstance(reply, Inbound)
    assert (reply.addresses, reply.answers, reply.text) == (("+16505550123",), "3EB0AA", "STOP")


def test_a_webhook_of_another_instance_is_refused() -> None:
    with pytest.raises(WebhookRefusedError):
        read(CHAT_API, {"instanceId": "99", "ack": []})


@pytest.mark.parametrize(
    ("whole", "bare"),
    [
        ("true_16505550123@c.us_3EB0AA", "3EB0AA"),
        ("true_777@lid_3EB0AA", "3EB0AA"),
        ("false_1203@g.us_3A_16505550123@c.us", "3A"),
        ("3EB0AA", "3EB0AA"),
        ("wamid.HBgL_a_b", "wamid.HBgL_a_b"),
        ("", ""),
    ],
)
def test_one_message_has_one_bare_id(whole: str, bare: str) -> None:
    assert bare_message_id(whole) == bare


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+5511955550123", "+5511" + "55550123"),
        ("+549" + "1155550123", "+54" + "1155550123"),
        ("+521" + "5555550123", "+52" + "5555550123"),
    ],
)
def test_numbers_that_whatsapp_writes_in_two_forms_are_found_by_either(one: str, other: str) -> None:
    assert set(spellings(one)) == set(spellings(other)) == {one, other}


@pytest.mark.parametrize("address", ["+16505550123", "777000111@lid", "US.1349", "+442079460123"])
def test_other_addresses_have_one_form(address: str) -> None:
    assert spellings(address) == (address,)


@pytest.mark.parametrize("value", [None, 5, "", "a b", "x" * 300, "é"])
def test_an_address_that_is_none_is_empty(value: Any) -> None:
    assert address_in_webhook(value) == ""
