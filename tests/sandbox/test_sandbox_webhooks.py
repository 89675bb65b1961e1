"""The webhooks that the sandbox posts: what they say, how they are signed, and how they misbehave."""

import datetime
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from prefect_whatsapp.models import SendState
from prefect_whatsapp.models.updates import Inbound, StatusUpdate, Unread
from prefect_whatsapp.sandbox import gateway_webhooks, graph_webhooks
from prefect_whatsapp.sandbox.gateway_webhooks import ChatApiWebhooks, WahaWebhooks, WawpWebhooks
from prefect_whatsapp.sandbox.graph_webhooks import GraphWebhooks
from prefect_whatsapp.sandbox.people import lid_of, other_form, user_id_of
from prefect_whatsapp.sandbox.phones import Phone, Phones, Update
from prefect_whatsapp.sandbox.server import ThreadedSandbox
from prefect_whatsapp.sandbox.settings import SandboxSettings
from prefect_whatsapp.sandbox.truth import Message
from sandbox_server import CHAT_API_INSTANCE, PHONE_NUMBER_ID, TOKEN
from senders import PROVIDERS, sender_of

NUMBER = "16505550123"
REST = "55550123"
SETTINGS = SandboxSettings()
IDS = {
    "graph": "wamid.HBgA",
    "waha": f"true_{NUMBER}@c.us_3EB0AA",
    "wawp": f"true_{NUMBER}@c.us_3EB0AA",
    "chat-api": f"true_{NUMBER}@c.us_3EB0AA",
}
WRITERS: dict[str, Callable[..., Any]] = {
    "graph": GraphWebhooks,
    "waha": WahaWebhooks,
    "wawp": WawpWebhooks,
    "chat-api": ChatApiWebhooks,
}


def message_of(service: str, recipient: str = NUMBER, **more: Any) -> Message:
    return Message(
        service, recipient, "audio", IDS[service], voice=True, callback="cb:1", at=time.time(), body={}, **more
    )


def update(service: str, step: Any, **more: Any) -> Update:
    return Update(step, message_of(service), 1_789_000_000.0, 7, **more)


def read(service: str, *updates: Update, **how: Any) -> list[Any]:
    """What the package's own readers make of what the sandbox writes."""
    dialect = sender_of(service, "http://127.0.0.1:1").webhooks()
    now = datetime.datetime.now(datetime.UTC)
    writer = WRITERS[service](SETTINGS, **how)
    told = [each for each in updates if writer.tells(each)]
    return [item for body in writer.bodies(told) for item in dialect.items(json.loads(body), now)] if told else []


# What they say ------------------------------------------------------------------------------------------------------

STATES = {
    "graph": {"sent": "sent", "delivered": "delivered", "read": "read", "played": "played", "failed": "failed"},
    "waha": {
        **{"accepted": "sent", "sent": "sent", "delivered": "delivered", "read": "read", "played": "played"},
        "failed": "failed",
    },
    "chat-api": {"accepted": "accepted", "delivered": "delivered", "read": "read"},
}
STATES["wawp"] = STATES["waha"]
STEPS = ("accepted", "sent", "delivered", "read", "played", "failed")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("service", PROVIDERS)
def test_each_step_is_read_as_what_it_is_or_never_told(service: str, step: str) -> None:
    items = read(service, update(service, step, code=131049))
    wanted = STATES[service].get(step)
    assert [item.state for item in items] == ([SendState(wanted)] if wanted else [])
    for item in items:
        assert isinstance(item, StatusUpdate)
        assert item.message_id == ("wamid.HBgA" if service == "graph" else "3EB0AA")
        assert (item.callback, item.code) == (
            ("cb:1", "131049" if step == "failed" else "")
            if service == "graph"
            else ("", "-1" if step == "failed" else "")
        )


KINDS = {
    "graph": ["text", "button", "reaction", "audio", "contacts", "call"],
    "waha": ["text", "text", "reaction", "audio", "contacts", None],
    "chat-api": ["text", "text", None, "audio", "contacts", None],
}


@pytest.mark.parametrize(("reply", "place"), [(r, n) for n, r in enumerate(KINDS["graph"])])
@pytest.mark.parametrize("service", PROVIDERS)
def test_each_reply_is_read_as_what_it_is_with_the_message_it_answers(service: str, reply: Any, place: int) -> None:
    items = read(service, update(service, "reply", reply=reply, text="Stop"))
    kind = KINDS["waha" if service == "wawp" else service][place]
    if kind is None:
        assert all(isinstance(item, Unread) for item in items)  # a call at a gateway
        return
    first = items[0]
    assert isinstance(first, Inbound)
    assert first.kind == kind
    assert f"+{NUMBER}" in first.addresses
    if reply != "call":
        assert first.answers == ("wamid.HBgA" if service == "graph" else "3EB0AA")
    assert (first.text == "Stop") is (reply in ("text", "button"))
    twice = service == "wawp" and reply != "reaction"
    assert [item.message_id for item in items] == [first.message_id] * (2 if twice else 1)


@pytest.mark.parametrize("engine", ["NOWEB", "GOWS", "WEBJS"])
def test_each_engine_of_waha_tells_acks_in_its_own_way_and_all_are_read(engine: Any) -> None:
    settings = SandboxSettings(waha_engine=engine)
    writer = WahaWebhooks(settings)
    told = [update("waha", step) for step in STEPS[:5] if writer.tells(update("waha", step))]
    assert [each.step for each in told] == [s for s in STEPS[:5] if engine != "GOWS" or s != "sent"]
    dialect = sender_of("waha", "http://127.0.0.1:1").webhooks()
    now = datetime.datetime.now(datetime.UTC)
    states = [item.state for body in writer.bodies(told) for item in dialect.items(json.loads(body), now)]
    assert states[-3:] == [SendState.DELIVERED, SendState.READ, SendState.PLAYED]
    whole = json.loads(writer.bodies([update("waha", "read")])[0])["payload"]
    assert (whole["from"] == "16505550100@c.us") is (engine == "WEBJS")


@pytest.mark.parametrize("service", ["waha", "wawp"])
@pytest.mark.parametrize(("lids", "phone_too"), [("beside", True), ("alone", False)])
def test_people_come_by_their_lid_with_the_number_or_without(service: str, lids: Any, phone_too: bool) -> None:
    (status,) = read(service, update(service, "delivered"), lids=lids)
    assert (status.message_id, status.aliases) == ("3EB0AA", (lid_of(NUMBER),))
    inbound = read(service, update(service, "reply"), lids=lids)[0]
    assert (lid_of(NUMBER) in inbound.addresses, f"+{NUMBER}" in inbound.addresses) == (True, phone_too)


@pytest.mark.parametrize("service", PROVIDERS)
@pytest.mark.parametrize(("given", "told"), [("55119" + REST, "5511" + REST), ("5411" + REST, "54911" + REST)])
def test_brazilian_and_argentinian_numbers_come_in_their_other_form(service: str, given: str, told: str) -> None:
    assert (other_form(given), other_form(told)) == (told, given)
    message = message_of(service, given)
    for step in ("delivered", "reply"):
        (item, *_) = read(service, Update(step, message, 1.0, 1), other_forms=True)  # type: ignore[arg-type]
        named = item.aliases if isinstance(item, StatusUpdate) else item.addresses
        assert f"+{told}" in named
        assert f"+{given}" not in named


def test_a_thousand_updates_are_one_body_of_graph() -> None:
    updates = [Update("sent", message_of("graph", f"1650{n:07d}"), 1.0, n) for n in range(1000)]
    (body,) = GraphWebhooks(SETTINGS).bodies(updates)
    assert len(body) < 3_000_000
    assert len(read("graph", *updates)) == 1000


def test_a_failed_status_has_no_contact_and_no_user_id_and_a_group_is_named_as_one() -> None:
    body = json.loads(GraphWebhooks(SETTINGS).bodies([update("graph", "failed", code=131026)])[0])
    value = body["entry"][0]["changes"][0]["value"]
    assert "contacts" not in value
    (status,) = value["statuses"]
    assert "recipient_user_id" not in status
    assert status["errors"][0]["code"] == 131026
    group = Message("graph", "Y2FwaV9ncm91cDo", "audio", "wamid.G", body={"recipient_type": "group"})
    body = json.loads(GraphWebhooks(SETTINGS).bodies([Update("read", group, 1.0, 1)])[0])
    assert body["entry"][0]["changes"][0]["value"]["statuses"][0]["recipient_type"] == "group"


def test_graph_names_people_by_user_id_beside_the_number() -> None:
    (status,) = read("graph", update("graph", "read"))
    assert status.aliases == (f"+{NUMBER}", user_id_of(NUMBER))


def test_the_simulators_share_no_code_with_the_readers() -> None:
    """What is written from the same code as it is read would agree in every mistake."""
    for module in (graph_webhooks, gateway_webhooks):
        assert not [name for name in vars(module) if name in ("bare_message_id", "spellings", "address_in_webhook")]
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        assert "providers" not in source
        assert "models" not in source


# What phones do -----------------------------------------------------------------------------------------------------


def steps(*phones: Phone, voice: bool = True, recipient: str = NUMBER) -> list[str]:
    message = message_of("graph", recipient)
    message.voice = voice
    return [each.step for each in Phones(phones).updates(message)][1:]


@pytest.mark.parametrize(
    ("phone", "wanted"),
    [
        (Phone(does="nothing"), []),
        (Phone(does="delivered"), ["sent", "delivered"]),
        (Phone(does="played"), ["sent", "delivered", "read", "played"]),
        (Phone(does="read", chat_open=True), ["sent", "read"]),
        (Phone(does="failed"), ["failed"]),
        (Phone(does="failed, then delivered"), ["failed", "delivered"]),
        (Phone(does="delivered", reply="text"), ["sent", "delivered", "reply"]),
    ],
)
def test_a_phone_does_as_it_is_told(phone: Phone, wanted: list[str]) -> None:
    assert steps(phone) == wanted


def test_a_phone_that_nobody_told_anything_is_off() -> None:
    assert steps() == ["sent"]


def test_only_a_voice_note_is_played() -> None:
    assert steps(Phone(does="played"), voice=False) == ["sent", "delivered", "read"]


def test_the_first_phone_that_fits_decides_and_a_part_is_spread_evenly() -> None:
    phones = Phones(
        [Phone(does="failed", recipients=frozenset({"+1 650 555 0123"})), Phone(does="read", fraction=0.25)]
    )
    assert [u.step for u in phones.updates(message_of("graph"))][1:] == ["failed"]
    others = [[u.step for u in phones.updates(message_of("graph", f"1650555010{n}"))][-1] for n in range(8)]
    assert others == ["sent", "sent", "sent", "read"] * 2


# How they are posted ------------------------------------------------------------------------------------------------


class Receiver:
    """Notes what is posted, and answers as it is told."""

    def __init__(self) -> None:
        self.posts: list[tuple[float, str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.challenge = True
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                right = query["hub.verify_token"] == [SETTINGS.verify_token] and receiver.challenge
                self.say(200 if right else 403, query["hub.challenge"][0].encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.posts.append((time.monotonic(), self.path, headers, body))
                self.say(receiver.answers.pop(0) if receiver.answers else 200, b"")

            def say(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def statuses(self) -> list[str]:
        """The statuses of Graph that came, in that order."""
        values = [
            change["value"] for _, _, _, body in list(self.posts) for change in json.loads(body)["entry"][0]["changes"]
        ]
        return [status["status"] for value in values for status in value.get("statuses", ())]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def cards(number: str) -> dict[str, Any]:
    name = {"formatted_name": "Ada", "first_name": "Ada"}
    return {"messaging_product": "whatsapp", "to": f"+{number}", "type": "contacts", "contacts": [{"name": name}]}


def send(http: httpx.Client, count: int = 1) -> None:
    for n in range(count):
        http.post(f"/graph/v26.0/{PHONE_NUMBER_ID}/messages", json=cards(f"165055501{n + 1:02d}")).raise_for_status()


def settled(simulator: ThreadedSandbox, *, waiting: int = 0) -> dict[str, Any]:
    """The first target's counts, once nothing more comes by itself."""
    until = time.monotonic() + 20
    while (met := simulator.webhooks_met()[0])["waiting"] > waiting:
        assert time.monotonic() < until, met
        time.sleep(0.02)
    return met


def test_a_send_is_told_by_the_service_that_took_it_signed_as_it_signs(
    simulator: ThreadedSandbox, http: httpx.Client, receiver: Receiver
) -> None:
    simulator.phones(does="delivered", seconds=0.01)
    simulator.receive_at(receiver.url)
    send(http)
    headers = {"X-Api-Key": TOKEN}
    chat = {"session": "default", "chatId": f"{NUMBER}@c.us", "text": "Hello"}
    http.post("/waha/api/sendText", json=chat, headers=headers).raise_for_status()
    keys = {"instance_id": "sandbox", "access_token": TOKEN}
    http.post("/wawp/v2/send/text", json={**keys, "chatId": f"{NUMBER}@c.us", "message": "Hi"}).raise_for_status()
    path = f"/chat-api/instance{CHAT_API_INSTANCE}/sendMessage?token={TOKEN}"
    http.post(path, json={"phone": NUMBER, "body": "Hi"}).raise_for_status()
    for target in simulator.webhooks_met():
        assert target["service"] in PROVIDERS
    until = time.monotonic() + 20
    while any(target["waiting"] or not target["taken"] for target in simulator.webhooks_met()):
        assert time.monotonic() < until
        time.sleep(0.02)
    signs = {
        "/graph/": ("x-hub-signature-256", "sha256=", SETTINGS.app_secret, hashlib.sha256),
        "/waha/": ("x-webhook-hmac", "", SETTINGS.webhook_secret, hashlib.sha512),
        "/wawp/": ("x-wawp-signature", "", SETTINGS.webhook_secret, hashlib.sha256),
    }
    for _, path, headers, body in receiver.posts:
        if path.startswith("/chat-api/"):
            assert path.endswith(f"/{SETTINGS.webhook_secret}")
            continue
        name, before, secret, algorithm = signs["/" + path.split("/")[1] + "/"]
        assert headers[name] == before + hmac.new(secret.encode(), body, algorithm).hexdigest()
    assert {path.split("/")[1] for _, path, _, _ in receiver.posts} == set(PROVIDERS)


def test_metas_body_is_signed_in_metas_own_writing() -> None:
    (body,) = GraphWebhooks(SETTINGS).bodies([update("graph", "reply", text="Grüße 😀 a/b")])
    assert body.isascii()
    assert rb"Gr\u00fc\u00dfe \ud83d\ude00 a\/b" in body


def test_what_is_not_taken_is_posted_again_and_nothing_is_taken_twice(
    simulator: ThreadedSandbox, http: httpx.Client, receiver: Receiver
) -> None:
    receiver.answers = [503, 500]
    simulator.webhooks(service="graph", url=f"{receiver.url}/graph/x", retry_seconds=0.05)
    send(http)
    met = settled(simulator)
    assert (met["posted"], met["refused"], met["taken"]) == (3, 2, 1)
    assert len({body for _, _, _, body in receiver.posts}) == 1
    assert [each["step"] for each in simulator.webhooks_taken()] == ["sent"]
    first, second, third = (at for at, _, _, _ in receiver.posts)
    assert third - second > second - first  # Meta waits ever longer


def test_waha_gives_up_after_its_tries(simulator: ThreadedSandbox, http: httpx.Client, receiver: Receiver) -> None:
    receiver.answers = [401] * 100
    simulator.webhooks(service="waha", url=f"{receiver.url}/waha/x", retry_seconds=0.01)
    body = {"session": "default", "chatId": f"{NUMBER}@c.us", "text": "Hello"}
    http.post("/waha/api/sendText", json=body, headers={"X-Api-Key": TOKEN}).raise_for_status()
    settled(simulator)
    events = {json.loads(body)["id"] for _, _, _, body in receiver.posts}
    assert len(receiver.posts) == 16 * len(events)  # the first time, and fifteen more
    ids = [headers["x-webhook-request-id"] for _, _, headers, _ in receiver.posts]
    assert len(set(ids)) == len(events)


def test_an_early_webhook_is_taken_before_the_send_is_answered(
    simulator: ThreadedSandbox, http: httpx.Client, receiver: Receiver
) -> None:
    simulator.webhooks(service="graph", url=f"{receiver.url}/graph/x", early=1.0)
    send(http)
    assert receiver.statuses() == ["sent"]


def test_updates_come_twice_late_or_never(simulator: ThreadedSandbox, http: httpx.Client, receiver: Receiver) -> None:
    simulator.phones(does="read", seconds=0)
    simulator.webhooks(service="graph", url=f"{receiver.url}/graph/x", twice=1.0, lost=0.3, late=0.5, seed=3)
    send(http, 20)
    until = time.monotonic() + 20
    while (met := simulator.webhooks_met()[0])["taken"] < 30 and time.monotonic() < until:
        time.sleep(0.02)
    assert met["told"] == 60
    assert 0 < met["lost"] < 40
    assert met["waiting"] > 0  # a day late
    before = len(receiver.statuses())
    simulator.flush_webhooks()
    met = settled(simulator)
    assert len(receiver.statuses()) == 2 * (60 - met["lost"]) > before


def test_updates_come_in_any_order(simulator: ThreadedSandbox, http: httpx.Client, receiver: Receiver) -> None:
    simulator.phones(does="read", seconds=0)
    simulator.webhooks(service="graph", url=f"{receiver.url}/graph/x", shuffle_seconds=0.3, seed=1)
    send(http, 10)
    settled(simulator)
    came = receiver.statuses()
    assert sorted(came) == sorted(["sent", "delivered", "read"] * 10)
    assert came != ["sent", "delivered", "read"] * 10


def test_updates_are_collected_into_one_body(
    simulator: ThreadedSandbox, http: httpx.Client, receiver: Receiver
) -> None:
    simulator.phones(does="delivered", seconds=0)
    simulator.webhooks(service="graph", url=f"{receiver.url}/graph/x", at_most=40, collect_seconds=5)
    send(http, 20)
    settled(simulator)
    assert (len(receiver.posts), len(receiver.statuses())) == (1, 40)


def test_a_person_writes_unasked(simulator: ThreadedSandbox, receiver: Receiver) -> None:
    simulator.webhooks(service="waha", url=f"{receiver.url}/waha/x")
    simulator.write(service="waha", sender="+1 650 555 0123", text="STOP")
    settled(simulator)
    ((_, _, _, body),) = receiver.posts
    payload = json.loads(body)["payload"]
    assert (payload["from"], payload["body"], "replyTo" in payload) == (f"{NUMBER}@c.us", "STOP", False)


# The guard ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["http://example.com/graph/x", "http://10.0.0.1/x", "file:///etc/passwd", "http://127.0.0.1.evil.example/x"]
)
def test_webhooks_go_to_this_machine_alone(simulator: ThreadedSandbox, url: str) -> None:
    answer = httpx.post(f"{simulator.url}/_sandbox/webhooks", json={"service": "waha", "url": url}, trust_env=False)
    assert answer.status_code == 422
    assert simulator.webhooks_met() == []


@pytest.mark.parametrize("what", ["webhooks", "webhooks/flush", "phones", "writings"])
def test_it_is_told_in_json_alone_and_by_no_other_site(simulator: ThreadedSandbox, what: str) -> None:
    url = f"{simulator.url}/_sandbox/{what}"
    assert httpx.post(url, content=b"[]", headers={"Content-Type": "text/plain"}, trust_env=False).status_code == 415
    assert httpx.post(url, json=[], headers={"Origin": "https://evil.example"}, trust_env=False).status_code == 421
    assert httpx.post(url, json=[], headers={"Host": "evil.example"}, trust_env=False).status_code == 421


def test_a_receiver_of_graphs_must_answer_the_handshake(simulator: ThreadedSandbox, receiver: Receiver) -> None:
    receiver.challenge = False
    with pytest.raises(ValueError, match="challenge"):
        simulator.webhooks(service="graph", url=f"{receiver.url}/graph/x")
    with pytest.raises(ValueError, match="could not be reached"):
        simulator.webhooks(service="graph", url="http://127.0.0.1:1/graph/x")
    assert simulator.webhooks_met() == []


# Histories ----------------------------------------------------------------------------------------------------------


def test_a_held_message_of_chat_api_is_in_no_history_and_told_of_when_it_goes_out(
    simulator: ThreadedSandbox, http: httpx.Client, receiver: Receiver
) -> None:
    simulator.webhooks(service="chat-api", url=f"{receiver.url}/chat-api/x/y")
    simulator.faults(kind="session_down", service="chat-api")
    path = f"/chat-api/instance{CHAT_API_INSTANCE}"
    http.post(f"{path}/sendMessage?token={TOKEN}", json={"phone": NUMBER, "body": "Hi"}).raise_for_status()
    history = f"{path}/messages?token={TOKEN}&chatId={NUMBER}@c.us"
    assert http.get(history).json().get("messages") in (None, [])
    assert receiver.posts == []
    simulator.behave()
    assert len(http.get(history).json()["messages"]) == 1
    settled(simulator)
    assert len(receiver.posts) == 1
