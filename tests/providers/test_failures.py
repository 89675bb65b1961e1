"""One table of failures that every provider runs in both drivers: the same verdict for the same situation."""

import gzip
from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx
import prefect_whatsapp.providers.transport as transport_module
import pytest
import raw_server
from prefect_whatsapp.models.errors import NotSentError, OutcomeUnknownError, RetryLaterError
from provider_accounts import ACCOUNTS, Account, Answer, Driver, both, drive, refusal
from raw_server import RawServer
from senders import PROVIDERS

RETRY, ACCOUNT = "RetryLaterError", "AccountError"
REQUEST, RECIPIENT = "RequestRefusedError", "RecipientRefusedError"
UNKNOWN, NOT_SENT = "OutcomeUnknownError", "NotSentError"

HTML = b"<html><body><h1>nginx</h1></body></html>"
AS_HTML = {"content-type": "text/html"}


def html(status: int, **headers: str) -> Answer:
    return Answer(status, HTML, AS_HTML | {name.replace("_", "-"): value for name, value in headers.items()})


# What stands between us and every service, or the service itself in trouble, says: the same to all.
SAME_TO_ALL: dict[str, tuple[Answer, str, str]] = {
    "429 with Retry-After": (html(429, retry_after="7"), RETRY, "throttle"),
    "429 without Retry-After": (html(429), RETRY, "throttle"),
    "429 empty": (Answer(429), RETRY, "throttle"),
    # Varnish's default error page sends the header for every failure of its backend, timeouts included
    # (varnishcache/varnish-cache, bin/varnishd/builtin.vcl, vcl_backend_error).
    "503 with Retry-After": (html(503, retry_after="7"), UNKNOWN, ""),
    "502 with Retry-After": (html(502, retry_after="7"), UNKNOWN, ""),
    "503 JSON with Retry-After": (Answer(503, {"message": "Backend fetch failed"}, {"retry-after": "5"}), UNKNOWN, ""),
    "503 without Retry-After": (html(503), UNKNOWN, ""),
    "401 HTML": (html(401), ACCOUNT, "auth"),
    "402 empty": (Answer(402), ACCOUNT, "payment"),
    "403 HTML": (html(403), ACCOUNT, "auth"),
    "403 empty": (Answer(403), ACCOUNT, "auth"),
    "407 HTML": (html(407), ACCOUNT, "auth"),
    # RFC 9110 §15.4: 303 tells where the outcome of what was done stands, and 302 is used the same way; 301, 307 and
    # 308 say that the very same request belongs to another address.
    "302 after the body left": (html(302, location="https://login.test/"), UNKNOWN, ""),
    "303 after the body left": (html(303, location="https://service.test/done"), UNKNOWN, ""),
    "302 with JSON": (Answer(302, {"message": "Found"}, {"location": "/done"}), UNKNOWN, ""),
    "301 to https": (html(301, location="https://service.test/"), REQUEST, ""),
    "307 to https": (html(307, location="https://service.test/"), REQUEST, ""),
    "308 to https": (html(308, location="https://service.test/"), REQUEST, ""),
    "400 HTML": (html(400), REQUEST, ""),
    "404 HTML": (html(404), REQUEST, ""),
    "405 empty": (Answer(405), REQUEST, ""),
    "413 HTML": (html(413), REQUEST, ""),
    "408 HTML": (html(408), UNKNOWN, ""),
    "460, a load balancer's": (Answer(460), UNKNOWN, ""),
    "499, a proxy's": (Answer(499), UNKNOWN, ""),
    "500 HTML": (html(500), UNKNOWN, ""),
    "500 empty": (Answer(500), UNKNOWN, ""),
    "500 with a framework's JSON": (Answer(500, {"message": "Internal Server Error"}), UNKNOWN, ""),
    "502 HTML": (html(502), UNKNOWN, ""),
    "504 HTML": (html(504), UNKNOWN, ""),
    "520 empty": (Answer(520), UNKNOWN, ""),
    "200 empty": (Answer(200), UNKNOWN, ""),
    "204": (Answer(204), UNKNOWN, ""),
    "200 HTML": (html(200), UNKNOWN, ""),
    "200 malformed JSON": (Answer(200, b"{'sent': True}"), UNKNOWN, ""),
    "200 truncated JSON": (Answer(200, b'{"id": "true_1@c.us_3EB0", "messages": [{"id'), UNKNOWN, ""),
    "200 not UTF-8": (Answer(200, b'{"message": "\xff\xfe"}'), UNKNOWN, ""),
    "200 nested without end": (Answer(200, b"[" * 200_000), UNKNOWN, ""),
    "200 null": (Answer(200, None), UNKNOWN, ""),
    "200 text": (Answer(200, "ok"), UNKNOWN, ""),
    "200 number": (Answer(200, 1), UNKNOWN, ""),
    "200 empty list": (Answer(200, []), UNKNOWN, ""),
    "200 empty object": (Answer(200, {}), UNKNOWN, ""),
    "200 JSON that says nothing": (Answer(200, {"hello": "world"}), UNKNOWN, ""),
    "200 broken gzip": (Answer(200, b"no gzip", {"content-encoding": "gzip"}), UNKNOWN, ""),
    "429 compressed": (Answer(429, gzip.compress(HTML), {"content-encoding": "gzip"}), RETRY, "throttle"),
}


def graph_error(status: int, code: int, message: str = "Said by Graph") -> Answer:
    return Answer(status, {"error": {"message": f"(#{code}) {message}", "type": "OAuthException", "code": code}})


def waha_500(message: str) -> Answer:
    exception = {"message": message, "name": "Error", "stack": f"Error: {message}\n    at send"}
    return Answer(500, {"statusCode": 500, "timestamp": "2026-01-01", "exception": exception, "request": {"path": "/"}})


# What each service says itself, in its own words, of one and the same thing.
IN_THEIR_WORDS: dict[str, tuple[str, str, dict[str, Answer]]] = {
    "throttled": (
        RETRY,
        "throttle",
        {
            "graph": graph_error(400, 130429, "Rate limit hit"),
            "chat-api": Answer(429, {"error": "Too many requests"}),
            "wawp": Answer(429, {"code": "rate_limited", "message": "Slow down"}),
            "waha": Answer(429, {"statusCode": 429, "message": "ThrottlerException: Too Many Requests"}),
        },
    ),
    "throttled with another status": (
        RETRY,
        "throttle",
        {
            "graph": graph_error(429, 80007),
            "chat-api": Answer(200, {"sent": False, "message": "Rate limit exceeded, try again later"}),
            "wawp": Answer(400, {"error": {"message": "Too many requests", "code": "too_many"}}),
            "waha": Answer(400, {"statusCode": 400, "message": "rate-overlimit"}),
        },
    ),
    "bad token": (
        ACCOUNT,
        "auth",
        {
            "graph": graph_error(401, 190, "Invalid OAuth access token"),
            "chat-api": Answer(401, {"error": "Wrong token. Please provide token as a GET parameter."}),
            "wawp": Answer(401, {"code": "invalid_token", "message": "Invalid access_token"}),
            "waha": Answer(401, {"message": "Unauthorized", "statusCode": 401}),
        },
    ),
    "bad token, told with 200": (
        ACCOUNT,
        "auth",
        {
            "graph": graph_error(200, 190),
            "chat-api": Answer(200, {"error": "Wrong token. Please provide token as a GET parameter."}),
            "wawp": Answer(200, {"error": {"code": "invalid_token", "message": "Invalid access token"}}),
            "waha": Answer(200, {"message": "Unauthorized", "statusCode": 401}),
        },
    ),
    "unpaid": (
        ACCOUNT,
        "",
        {
            "graph": graph_error(400, 131042, "Business eligibility payment issue"),
            "chat-api": Answer(402, {"error": "Instance is not paid"}),
            "wawp": Answer(403, {"code": "quota_reached", "message": "You have reached the limit of your plan"}),
            "waha": Answer(402, {"statusCode": 402, "message": "Payment Required"}),
        },
    ),
    "unpaid, told with another status": (
        ACCOUNT,
        "",
        {
            "graph": graph_error(400, 131044, "Payment eligibility"),
            "chat-api": Answer(200, {"error": "Instance is not paid"}),
            "wawp": Answer(403, {"message": "Forbidden - Quota or Limit Reached"}),
            "waha": Answer(403, {"statusCode": 403, "message": "Subscription quota reached"}),
        },
    ),
    "session down": (
        ACCOUNT,
        "",
        {
            "graph": graph_error(400, 133010, "Account not registered"),
            "chat-api": Answer(200, {"sent": False, "message": "Instance is not authenticated"}),
            "wawp": Answer(200, {"code": "invalid_session", "message": "Session closed"}),
            "waha": Answer(
                422,
                {
                    "error": "Session status is not as expected. Try again later or restart the session",
                    "session": "default",
                    "status": "STOPPED",
                    "expected": ["WORKING"],
                },
            ),
        },
    ),
    "session unknown": (
        ACCOUNT,
        "",
        {
            "graph": graph_error(400, 33, "Phone number deleted"),
            "chat-api": Answer(404, {"error": "Instance 12345 not found"}),
            "wawp": Answer(
                404,
                {"code": "invalid_session", "message": "Session not found. Please verify your instance_id and token"},
            ),
            "waha": Answer(404, {"statusCode": 404, "message": 'Session "default" does not exist'}),
        },
    ),
    "restricted by WhatsApp": (
        ACCOUNT,
        "",
        {
            "graph": graph_error(400, 131031, "Account locked"),
            "chat-api": Answer(200, {"sent": False, "message": "This account is banned by WhatsApp"}),
            "wawp": Answer(500, {"message": "server returned error 463"}),
            "waha": waha_500("server returned error 463"),
        },
    ),
    "not on WhatsApp": (
        RECIPIENT,
        "recipient",
        {
            "graph": graph_error(400, 131026, "Message undeliverable"),
            "chat-api": Answer(200, {"sent": False, "message": "Wrong chatId format. Please provide chatId @c.us"}),
            "wawp": Answer(400, {"error": {"message": "The number is not on WhatsApp", "code": "not_registered"}}),
            "waha": waha_500("No LID for user"),
        },
    ),
    "the request is at fault": (
        REQUEST,
        "request",
        {
            "graph": graph_error(400, 131008, "Required parameter is missing"),
            "chat-api": Answer(400, {"error": "Bad request"}),
            "wawp": Answer(400, {"code": "missing_param", "message": "Missing parameter: chatId"}),
            "waha": Answer(400, {"statusCode": 400, "message": ["chatId must be a string"], "error": "Bad Request"}),
        },
    ),
    "the media is at fault": (
        REQUEST,
        "media",
        {
            "graph": graph_error(400, 131053, "Media upload error"),
            "chat-api": Answer(200, {"sent": False, "message": "File format is not supported"}),
            "wawp": Answer(400, {"code": "bad_file", "message": "Failed to download file"}),
            "waha": waha_500("ffmpeg exited with code 1"),
        },
    ),
    # What a 5xx says of a session or a file proves nothing: puppeteer says it of a page that closed after the send.
    "a 5xx about the session": (
        UNKNOWN,
        "",
        {
            "graph": graph_error(500, 133004, "Server temporarily unavailable"),
            "chat-api": Answer(500, {"error": "Session closed. Most likely the page has been closed"}),
            "wawp": Answer(502, {"code": "invalid_session", "message": "Session closed"}),
            "waha": waha_500(
                "Protocol error (Runtime.callFunctionOn): Session closed. Most likely the page has been closed"
            ),
        },
    ),
    "a 5xx about a session that closed after the send": (
        UNKNOWN,
        "",
        {
            "graph": graph_error(500, 2, "Service temporarily unavailable"),
            "chat-api": Answer(500, {"message": "Message sent but session was closed before ack"}),
            "wawp": Answer(500, {"message": "Message sent but session was closed before ack"}),
            "waha": waha_500("Message sent but session was closed before ack"),
        },
    ),
    "a 5xx about base64": (
        UNKNOWN,
        "",
        {
            "graph": graph_error(500, 1, "An unknown error occurred"),
            "chat-api": Answer(500, {"error": "Cannot read base64 of undefined"}),
            "wawp": Answer(500, {"message": "invalid base64"}),
            "waha": waha_500("base64 conversion of the quoted message failed"),
        },
    ),
    "a 5xx about a file's size": (
        UNKNOWN,
        "",
        {
            "graph": graph_error(500, 999999, "file size"),
            "chat-api": Answer(500, {"error": "file size is wrong"}),
            "wawp": Answer(500, {"message": "could not store the file size"}),
            "waha": waha_500("file size mismatch in the store"),
        },
    ),
    "a 5xx with a framework's words for a throttle": (
        UNKNOWN,
        "",
        {
            "graph": graph_error(503, 131016, "Service unavailable"),
            "chat-api": Answer(503, {"error": "Too many requests"}, {"retry-after": "5"}),
            "wawp": Answer(503, {"message": "Too many requests"}, {"retry-after": "5"}),
            "waha": waha_500("rate-limit"),
        },
    ),
    "the code 202": (
        UNKNOWN,
        "",
        {
            "graph": Answer(202, {"code": 202}),
            "chat-api": Answer(202, {"code": 202, "message": "processing"}),
            "wawp": Answer(200, {"code": 202, "message": "processing"}),
            "waha": Answer(202, {"code": 202, "message": "processing"}),
        },
    ),
    "an id and an error": (
        UNKNOWN,
        "",
        {
            "graph": Answer(200, {"messages": [{"id": "wamid.HBgL"}], "error": {"code": 131026, "message": "no"}}),
            "chat-api": Answer(200, {"id": "true_1@c.us_3EB0", "error": "Wrong chatId format"}),
            "wawp": Answer(200, {"id": "true_1@c.us_3EB0", "error": "Wrong chatId format"}),
            "waha": Answer(400, {"id": "true_1@c.us_3EB0", "error": "Wrong chatId format"}),
        },
    ),
    "an error that nobody knows, told with 200": (
        UNKNOWN,
        "",
        {
            "graph": Answer(200, {"error": "oops"}),
            "chat-api": Answer(200, {"error": "oops"}),
            "wawp": Answer(200, {"code": "wawp_upstream_error", "message": "The upstream server failed"}),
            "waha": Answer(201, {"error": "oops"}),
        },
    ),
    "no, without a reason": (
        RECIPIENT,
        "",
        {
            "graph": graph_error(200, 139999),
            "chat-api": Answer(200, {"sent": False}),
            "wawp": Answer(200, {"result": False}),
            "waha": Answer(201, {"success": False}),
        },
    ),
}

# What httpx raises before the first byte left, and after.
RAISED: dict[str, tuple[type[httpx.HTTPError] | type[OSError], str]] = {
    "connect error": (httpx.ConnectError, NOT_SENT),
    "connect timeout": (httpx.ConnectTimeout, NOT_SENT),
    "pool timeout": (httpx.PoolTimeout, NOT_SENT),
    "proxy error": (httpx.ProxyError, NOT_SENT),
    "no such protocol": (httpx.UnsupportedProtocol, NOT_SENT),
    "write error": (httpx.WriteError, UNKNOWN),
    "write timeout": (httpx.WriteTimeout, UNKNOWN),
    "read error": (httpx.ReadError, UNKNOWN),
    "read timeout": (httpx.ReadTimeout, UNKNOWN),
    "no proper answer": (httpx.RemoteProtocolError, UNKNOWN),
    "operating system": (ConnectionResetError, UNKNOWN),
    "time-out of the loop": (TimeoutError, UNKNOWN),
}

# Over real sockets, where the two drivers' libraries differ most.
ON_THE_WIRE: dict[str, tuple[raw_server.Behaviour, str]] = {
    "accepts, reads and closes": (raw_server.hang_up, UNKNOWN),
    "resets after the body was written": (raw_server.reset, UNKNOWN),
    "never answers": (raw_server.stay_silent, UNKNOWN),
    "half a body, then closed": (raw_server.half_an_answer, UNKNOWN),
    "half a body, then silence": (raw_server.half_an_answer_then_silence, UNKNOWN),
    "half the headers, then closed": (raw_server.half_a_head, UNKNOWN),
    "speaks no HTTP": (raw_server.speak_no_http, UNKNOWN),
    "claims gzip": (raw_server.answer_broken_gzip, UNKNOWN),
    "empty 200": (raw_server.answering(200, b""), UNKNOWN),
    "502 HTML": (raw_server.answering(502, HTML), UNKNOWN),
    "429": (raw_server.answering(429, b"", "Retry-After: 7"), RETRY),
}


@pytest.mark.parametrize("kind", ["voice", "card"])
@pytest.mark.parametrize("situation", SAME_TO_ALL)
async def test_what_says_the_same_to_all_has_the_same_verdict(account: Account, situation: str, kind: str) -> None:
    answer, error, what = SAME_TO_ALL[situation]
    dialect = account.dialect()
    send = account.voice if kind == "voice" else account.card
    raised = await both(dialect, lambda: send(dialect), answer)
    assert refusal(raised) == (error, what)


@pytest.mark.parametrize("situation", IN_THEIR_WORDS)
async def test_each_service_s_own_words_have_the_same_verdict(account: Account, situation: str) -> None:
    error, what, answers = IN_THEIR_WORDS[situation]
    dialect = account.dialect()
    raised = await both(dialect, lambda: account.voice(dialect), answers[account.name])
    name, kind = refusal(raised)
    assert name == error
    assert what in ("", kind)
    assert raised.provider == account.name


async def test_retry_after_is_honoured_as_seconds_and_as_a_date(account: Account) -> None:
    dialect = account.dialect()
    date = {"date": "Thu, 01 Jan 2026 00:00:00 GMT", "retry-after": "Thu, 01 Jan 2026 00:00:07 GMT"}
    for headers in ({"retry-after": "7"}, date):
        raised = await both(dialect, lambda: account.voice(dialect), Answer(429, HTML, headers))
        assert isinstance(raised, RetryLaterError)
        assert raised.retry_after == 7


@pytest.mark.parametrize("situation", ["502 HTML", "200 empty", "200 truncated JSON", "500 HTML"])
async def test_nothing_is_unknown_about_a_check_that_can_be_asked_again(account: Account, situation: str) -> None:
    dialect = account.dialect()
    raised = await both(dialect, dialect.check, SAME_TO_ALL[situation][0])
    assert refusal(raised) == (RETRY, "transient")


@pytest.mark.parametrize("situation", ["bad token", "bad token, told with 200"])
async def test_a_check_with_a_bad_token_concerns_the_account(account: Account, situation: str) -> None:
    dialect = account.dialect()
    raised = await both(dialect, dialect.check, IN_THEIR_WORDS[situation][2][account.name])
    assert refusal(raised) == (ACCOUNT, "auth")


@pytest.mark.parametrize("situation", RAISED)
async def test_before_the_first_byte_means_not_sent_and_after_it_unknown(
    account: Account, driver: Driver, situation: str
) -> None:
    kind, error = RAISED[situation]

    def fail(request: httpx.Request) -> httpx.Response:
        raise kind("some words")

    dialect = account.dialect()
    with pytest.raises((NotSentError, OutcomeUnknownError)) as raised:
        await drive(driver, dialect, account.voice(dialect), transport=httpx.MockTransport(fail))
    assert refusal(raised.value) == (error, "")
    assert "service.test" in raised.value.message


@pytest.mark.parametrize("situation", ON_THE_WIRE)
async def test_on_real_sockets_both_drivers_agree(account: Account, driver: Driver, situation: str) -> None:
    behaviour, error = ON_THE_WIRE[situation]
    with RawServer(behaviour) as server:
        dialect = account.dialect(server.url)
        with pytest.raises((RetryLaterError, NotSentError, OutcomeUnknownError)) as raised:
            await drive(driver, dialect, account.voice(dialect), timeout=0.3)
    assert refusal(raised.value)[0] == error
    assert len(server.requests) == 1, "nobody may send a message twice"


@pytest.mark.parametrize("nowhere", [raw_server.refusing, raw_server.never_accepting])
async def test_a_connection_that_is_never_had_means_not_sent(
    account: Account,
    driver: Driver,
    nowhere: Callable[[], AbstractContextManager[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport_module, "CONNECT_TIMEOUT", 0.3)
    with nowhere() as url:
        dialect = account.dialect(url)
        with pytest.raises(NotSentError):
            await drive(driver, dialect, account.voice(dialect))


@pytest.mark.parametrize("behaviour", [raw_server.speak_no_http, raw_server.hang_up, raw_server.reset])
async def test_a_failed_tls_handshake_means_not_sent(
    account: Account, driver: Driver, behaviour: raw_server.Behaviour
) -> None:
    with RawServer(behaviour) as server:
        dialect = account.dialect(server.url.replace("http:", "https:"))
        with pytest.raises(NotSentError):
            await drive(driver, dialect, account.voice(dialect))
    assert not any(request.startswith(b"POST") for request in server.requests)


def test_every_provider_runs_the_whole_table() -> None:
    assert set(ACCOUNTS) == set(PROVIDERS)
    assert all(set(answers) == set(ACCOUNTS) for _, _, answers in IN_THEIR_WORDS.values())
