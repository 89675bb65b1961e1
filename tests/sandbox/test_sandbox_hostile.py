"""Whatever is sent, the simulated services answer it: no body ends in an exception."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from prefect_whatsapp.sandbox.app import create_app
from prefect_whatsapp.sandbox.service import Call
from prefect_whatsapp.sandbox.settings import SandboxSettings
from sandbox_server import CHAT_API_INSTANCE, PHONE_NUMBER_ID, TOKEN, WAWP_INSTANCE

PATHS = [
    ("graph", f"/v26.0/{PHONE_NUMBER_ID}/messages"),
    ("graph", f"/v26.0/{PHONE_NUMBER_ID}/media"),
    ("chat-api", f"/instance{CHAT_API_INSTANCE}/sendPTT"),
    ("chat-api", f"/instance{CHAT_API_INSTANCE}/sendFile"),
    ("chat-api", f"/instance{CHAT_API_INSTANCE}/sendContact"),
    ("chat-api", f"/instance{CHAT_API_INSTANCE}/sendVCard"),
    ("wawp", "/v2/send/voice"),
    ("wawp", "/v2/send/contact"),
    ("waha", "/api/sendVoice"),
    ("waha", "/api/sendContactVcard"),
]
LINK, DATA = "https://example.org/a.ogg", "data:audio/ogg;base64,T2dnUw=="
GRAPH = ("messaging_product", "to", "type", "recipient_type", "context")
SHAPES: list[tuple[tuple[str, str], tuple[str, ...]]] = [
    (PATHS[0], (*GRAPH, "audio")),
    (PATHS[0], (*GRAPH, "contacts")),
    (PATHS[2], ("phone", "audio")),
    (PATHS[3], ("phone", "body", "filename")),
    (PATHS[4], ("chatId", "contactId")),
    (PATHS[4], ("chatId", "contacts")),
    (PATHS[5], ("chatId", "vcard")),
    (PATHS[6], ("chatId", "file[url]", "file[filename]", "file[mimetype]", "convert")),
    (PATHS[7], ("chatId", "contacts")),
    (PATHS[8], ("session", "chatId", "file", "convert")),
    (PATHS[9], ("session", "chatId", "contacts")),
]
KNOWN: dict[str, list[Any]] = {
    "messaging_product": ["whatsapp"],
    "type": ["audio", "contacts"],
    "to": ["+16505550123", "16505550123", ""],
    "recipient": ["US.1349"],
    "recipient_type": ["individual", "group"],
    "context": [{"message_id": "wamid.x"}, {}],
    "audio": [{"id": "1"}, {"link": LINK, "voice": True}, {"link": "https://[bad"}, LINK, "https://[bad", DATA],
    "contacts": [[{"name": {"formatted_name": "A", "first_name": "A"}}], [{"fullName": "A", "phoneNumber": "1"}], []],
    "contactId": ["16505550123@c.us", ["16505550123@c.us"]],
    "vcard": ["BEGIN:VCARD"],
    "phone": ["16505550123", 16505550123],
    "chatId": ["16505550123@c.us", "120363000000001234@g.us"],
    "session": ["default"],
    "file": [{"mimetype": "audio/ogg; codecs=opus", "data": "T2dnUw=="}, {"url": LINK}],
    "file[url]": [LINK, "https://[bad"],
    "file[filename]": ["a.ogg"],
    "file[mimetype]": ["audio/ogg; codecs=opus"],
    "convert": [True, "false"],
    "body": [DATA],
    "filename": ["a.ogg"],
}  # fmt: skip
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def nearly_right(draw: st.DrawFn) -> tuple[tuple[str, str], Any]:
    """A call as the documents have it, with any value in one place."""
    path, keys = draw(st.sampled_from(SHAPES))
    body = {key: draw(st.sampled_from(KNOWN[key])) for key in keys}
    if draw(st.booleans()):
        body[draw(st.sampled_from(keys))] = draw(anything)
    return path, body


APP = create_app(SandboxSettings(waha_validates=True))
LENIENT = create_app()


@settings(max_examples=600)
@given(called=nearly_right() | st.tuples(st.sampled_from(PATHS), anything))
async def test_any_body_is_answered(called: tuple[tuple[str, str], Any]) -> None:
    (service, where), body = called
    call = Call(
        method="POST",
        path=where,
        query_string=f"token={TOKEN}&instance_id={WAWP_INSTANCE}&access_token={TOKEN}".encode(),
        headers={b"authorization": f"Bearer {TOKEN}".encode(), b"x-api-key": TOKEN.encode()},
        body=json.dumps(body).encode(),
    )
    answer = await APP.services[service].answer(call)
    assert answer.status < 500
    assert answer.content()
    assert (await LENIENT.services[service].answer(call)).content()


@settings(max_examples=200)
@given(path=st.sampled_from(PATHS), body=st.binary(max_size=60), kind=st.sampled_from(["json", "form", "multipart"]))
async def test_any_bytes_are_answered(path: tuple[str, str], body: bytes, kind: str) -> None:
    types = {"json": "application/json", "form": "application/x-www-form-urlencoded"}
    content_type = types.get(kind, "multipart/form-data; boundary=b")
    service, where = path
    call = Call(
        method="POST",
        path=where,
        query_string=f"token={TOKEN}&instance_id={WAWP_INSTANCE}&access_token={TOKEN}".encode(),
        headers={
            b"authorization": f"Bearer {TOKEN}".encode(),
            b"x-api-key": TOKEN.encode(),
            b"content-type": content_type.encode(),
        },
        body=body,
    )
    assert (await APP.services[service].answer(call)).status < 500
