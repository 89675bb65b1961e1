"""How the sandbox posts webhooks: where, signed by whom, how often, in which order, and how it misbehaves."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from prefect_whatsapp.sandbox.server import ThreadedSandbox
from prefect_whatsapp.sandbox.settings import SandboxSettings
from sandbox_server import CHAT_API_INSTANCE, PHONE_NUMBER_ID, TOKEN
from senders import PROVIDERS
from web_server import Handler, WebServer

NUMBER = "16505550123"
SETTINGS = SandboxSettings()


class Receiver(WebServer):
    """Notes what is posted, and answers as it is told."""

    def __init__(self) -> None:
        self.posts: list[tuple[float, str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.challenge = True
        receiver = self

        class Taking(Handler):
            def do_GET(self) -> None:
                query = parse_qs(urlsplit(self.path).query)
                right = query["hub.verify_token"] == [SETTINGS.verify_token] and receiver.challenge
                self.say(200 if right else 403, query["hub.challenge"][0].encode())

            def do_POST(self) -> None:
                body = self.body()
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.posts.append((time.monotonic(), self.path, headers, body))
                self.say(receiver.answers.pop(0) if receiver.answers else 200)

        super().__init__(Taking)

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


def test_graph_tells_where_its_webhooks_go(simulator: ThreadedSandbox, http: httpx.Client, receiver: Receiver) -> None:
    path = f"{simulator.graph_url}/v26.0/{PHONE_NUMBER_ID}?fields=webhook_configuration"
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert http.get(path, headers=headers).json()["webhook_configuration"] == {}
    simulator.webhooks(service="graph", url=f"{receiver.url}/graph/x")
    assert http.get(path, headers=headers).json()["webhook_configuration"] == {"application": f"{receiver.url}/graph/x"}


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
