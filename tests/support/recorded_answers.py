"""What services answer in trouble, each with where it was seen, and what it means: one table that every provider runs."""

import gzip
from typing import Any

from provider_accounts import PHONE, TOKEN, Answer

RETRY, ACCOUNT = "RetryLaterError", "AccountError"
REQUEST, RECIPIENT = "RequestRefusedError", "RecipientRefusedError"
UNKNOWN, NOT_SENT = "OutcomeUnknownError", "NotSentError"

HTML = b"<html><body><h1>nginx</h1></body></html>"
AS_HTML = {"content-type": "text/html"}


def html(status: int, **headers: str) -> Answer:
    return Answer(status, HTML, AS_HTML | {name.replace("_", "-"): value for name, value in headers.items()})


# What stands between us and every service, or the service itself in trouble, says: the same to all.
SAME_TO_ALL: dict[str, tuple[Answer, str, str]] = {
    "429 with Retry-After": (html(429, retry_after="7"), RETRY, "bare throttle"),
    "429 without Retry-After": (html(429), RETRY, "bare throttle"),
    "429 empty": (Answer(429), RETRY, "bare throttle"),
    # Varnish's default error page sends the header for every failure of its backend, timeouts included
    # (varnishcache/varnish-cache, bin/varnishd/builtin.vcl, vcl_backend_error).
    "503 with Retry-After": (html(503, retry_after="7"), UNKNOWN, ""),
    "502 with Retry-After": (html(502, retry_after="7"), UNKNOWN, ""),
    "503 JSON with Retry-After": (Answer(503, {"message": "Backend fetch failed"}, {"retry-after": "5"}), UNKNOWN, ""),
    "503 without Retry-After": (html(503), UNKNOWN, ""),
    "429 JSON that says nothing": (Answer(429, {"status": 429}), RETRY, "bare throttle"),
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
    "301 to https": (html(301, location="https://service.test/"), REQUEST, "address"),
    "307 to https": (html(307, location="https://service.test/"), REQUEST, "address"),
    "308 to https": (html(308, location="https://service.test/"), REQUEST, "address"),
    "400 HTML": (html(400), REQUEST, "address"),
    "404 HTML": (html(404), REQUEST, "address"),
    "404 with a framework's JSON": (Answer(404, {"detail": "Not Found"}), REQUEST, "address"),
    "404 JSON that names the path": (
        Answer(404, {"statusCode": 404, "message": "Cannot POST /api/send", "error": "Not Found"}),
        REQUEST,
        "address",
    ),
    "405 empty": (Answer(405), REQUEST, "address"),
    "413 HTML": (html(413), REQUEST, "address"),
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
    "429 compressed": (Answer(429, gzip.compress(HTML), {"content-encoding": "gzip"}), RETRY, "bare throttle"),
}


# Where each service's words are from. What nobody recorded is made up, and says so: it must be read as safely.
META = "https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes"
CHAT_API = "costafacchini/ecomanda-delivery, Chatapi.spec.js: answers of eu199.chat-api.com"
CHAT_API_SDK = "Zodt/ChatApi, the C# SDK of chat-api.com"
ONE_MSG = "https://github.com/1msg/1msg-sdk"
OPEN_CONNECTOR = "oomol-lab/open-connector, provider chat_api_for_whatsapp"
WAWP = "https://www.api.wawp.net/api/docs/export?format=openapi"
WAWP_SAMPLE = "https://api.wawp.net/en/docs/v2/session/create, the sample's errors"
WAWP_CLIENTS = "public clients of api.wawp.net, which test for these answers"
WAHA = "a WAHA server of 2026.2.1, its phone a stand-in"
WAHA_ISSUES = "https://github.com/devlikeapro/waha/issues/"
WHATSMEOW = "tulir/whatsmeow, send.go"
PUPPETEER = WAHA_ISSUES + "62, puppeteer's words"
NOT_PAID = "as users report it; the SDK names the state not_paid"
INVENTED = "invented: nobody recorded one"


def said(source: str, status: int, body: Any = b"", headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, body, headers or {}, source)


def graph_error(status: int, code: int, message: str = "Said by Graph", source: str = META, **more: Any) -> Answer:
    error = {"message": f"(#{code}) {message}", "type": "OAuthException", "code": code}
    return said(source, status, {"error": error | more})


def waha_500(source: str, message: str, name: str = "Error") -> Answer:
    exception = {"message": message, "name": name, "stack": f"{name}: {message}\n    at send"}
    request = {"path": "/api/sendVoice", "body": {"chatId": f"{PHONE}@c.us", "token": TOKEN}}
    return said(source, 500, {"statusCode": 500, "timestamp": "2026-01-01", "exception": exception, "request": request})


# What each service says itself, in its own words, of one and the same thing.
IN_THEIR_WORDS: dict[str, tuple[str, str, dict[str, Answer]]] = {
    "throttled": (
        RETRY,
        "throttle",
        {
            "graph": graph_error(400, 130429, "Rate limit hit"),
            "chat-api": said(OPEN_CONNECTOR, 429, {"error": "Too many requests"}),
            "wawp": said(INVENTED, 429, {"code": "rate_limited", "message": "Slow down"}),
            "waha": said(INVENTED, 429, {"statusCode": 429, "message": "ThrottlerException: Too Many Requests"}),
        },
    ),
    "throttled with another status": (
        RETRY,
        "throttle",
        {
            "graph": graph_error(429, 80007),
            "chat-api": said(INVENTED, 200, {"sent": False, "message": "Rate limit exceeded, try again later"}),
            "wawp": said(INVENTED, 400, {"error": {"message": "Too many requests", "code": "too_many"}}),
            "waha": said(INVENTED, 400, {"statusCode": 400, "message": "rate-overlimit"}),
        },
    ),
    "bad token": (
        ACCOUNT,
        "auth",
        {
            "graph": graph_error(401, 190, "Invalid OAuth access token"),
            "chat-api": said(CHAT_API, 401, {"error": "Wrong token. Please provide token as a GET parameter."}),
            "wawp": said(WAWP_SAMPLE, 401, {"code": "invalid_token", "message": "Invalid or Missing Access Token"}),
            "waha": said(WAHA, 401, {"message": "Unauthorized", "statusCode": 401}),
        },
    ),
    "bad token, told with 200": (
        ACCOUNT,
        "auth",
        {
            "graph": graph_error(200, 190),
            "chat-api": said(CHAT_API_SDK, 200, {"error": "Wrong token. Please provide token as a GET parameter."}),
            "wawp": said(INVENTED, 200, {"error": {"code": "invalid_token", "message": "Invalid access token"}}),
            "waha": said(INVENTED, 200, {"message": "Unauthorized", "statusCode": 401}),
        },
    ),
    "unpaid": (
        ACCOUNT,
        "",
        {
            "graph": graph_error(400, 131042, "Business eligibility payment issue"),
            "chat-api": said(f"{OPEN_CONNECTOR}; {NOT_PAID}", 402, {"error": "Instance is not paid"}),
            "wawp": said(WAWP, 403, {"code": "quota_reached", "message": "You have reached the limit of your plan"}),
            "waha": said(INVENTED, 402, {"statusCode": 402, "message": "Payment Required"}),
        },
    ),
    "unpaid, told with another status": (
        ACCOUNT,
        "",
        {
            "graph": graph_error(400, 131044, "Payment eligibility"),
            "chat-api": said(NOT_PAID, 200, {"error": "Instance is not paid"}),
            "wawp": said(WAWP_SAMPLE, 403, {"message": "Forbidden - Quota or Limit Reached"}),
            "waha": said(INVENTED, 403, {"statusCode": 403, "message": "Subscription quota reached"}),
        },
    ),
    "session down": (
        ACCOUNT,
        "",
        {
            "graph": graph_error(400, 133010, "Account not registered"),
            "chat-api": said(INVENTED, 200, {"sent": False, "message": "Instance is not authenticated"}),
            "wawp": said(WAWP_CLIENTS, 200, {"code": "invalid_session", "message": "Session closed"}),
            "waha": said(
                WAHA,
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
            "chat-api": said(INVENTED, 404, {"error": "Instance 12345 not found"}),
            "wawp": said(
                WAWP_CLIENTS,
                404,
                {"code": "invalid_session", "message": "Session not found. Please verify your instance_id and token"},
            ),
            "waha": said(WAHA, 404, {"error": 'Session "default" does not exist', "session": "default"}),
        },
    ),
    "restricted by WhatsApp": (
        ACCOUNT,
        "",
        {
            "graph": graph_error(400, 131031, "Account locked"),
            "chat-api": said(INVENTED, 200, {"sent": False, "message": "This account is banned by WhatsApp"}),
            "wawp": said(INVENTED, 500, {"message": "server returned error 463"}),
            "waha": waha_500(WAHA_ISSUES + "2170", "2 UNKNOWN: server returned error 463"),
        },
    ),
    "not on WhatsApp": (
        RECIPIENT,
        "recipient",
        {
            "graph": graph_error(400, 131026, "Message undeliverable"),
            "chat-api": said(
                CHAT_API,
                200,
                {
                    "sent": False,
                    "message": "Wrong chatId format. Please use phone parameter or chatId from message history. chatId has "
                    "format 16505550123@c.us or 16505550123-16505550123@g.us",
                },
            ),
            "wawp": said(
                INVENTED, 400, {"error": {"message": "The number is not on WhatsApp", "code": "not_registered"}}
            ),
            "waha": waha_500("https://github.com/wwebjs/whatsapp-web.js/issues/69244", "No LID for user"),
        },
    ),
    "the request is at fault": (
        REQUEST,
        "request",
        {
            "graph": graph_error(400, 131008, "Required parameter is missing"),
            "chat-api": said(INVENTED, 400, {"error": "Bad request"}),
            "wawp": said(WAWP_CLIENTS, 400, {"code": "missing_param", "message": "Missing parameter: chatId"}),
            "waha": said(WAHA, 400, {"statusCode": 400, "message": "Session name is required", "error": "Bad Request"}),
        },
    ),
    "the media is at fault": (
        REQUEST,
        "media",
        {
            "graph": graph_error(400, 131053, "Media upload error"),
            "chat-api": said(INVENTED, 200, {"sent": False, "message": "File format is not supported"}),
            "wawp": said(INVENTED, 400, {"code": "bad_file", "message": "Failed to download file"}),
            "waha": waha_500(WAHA_ISSUES + "1453, of convert", "ffmpeg exited with code 1"),
        },
    ),
    # What a 5xx says of a session or a file proves nothing: puppeteer says it of a page that closed after the send.
    "a 5xx about the session": (
        UNKNOWN,
        "",
        {
            "graph": graph_error(500, 133004, "Server temporarily unavailable"),
            "chat-api": said(INVENTED, 500, {"error": "Session closed. Most likely the page has been closed"}),
            "wawp": said(INVENTED, 502, {"code": "invalid_session", "message": "Session closed"}),
            "waha": waha_500(
                PUPPETEER,
                "Protocol error (Runtime.callFunctionOn): Session closed. Most likely the page has been closed",
            ),
        },
    ),
    "a 5xx about a session that closed after the send": (
        UNKNOWN,
        "",
        {
            "graph": graph_error(500, 2, "Service temporarily unavailable"),
            "chat-api": said(INVENTED, 500, {"message": "Message sent but session was closed before ack"}),
            "wawp": said(INVENTED, 500, {"message": "Message sent but session was closed before ack"}),
            "waha": waha_500(INVENTED, "Message sent but session was closed before ack"),
        },
    ),
    "a 5xx about base64": (
        UNKNOWN,
        "",
        {
            "graph": graph_error(500, 1, "An unknown error occurred"),
            "chat-api": said(INVENTED, 500, {"error": "Cannot read base64 of undefined"}),
            "wawp": said(INVENTED, 500, {"message": "invalid base64"}),
            "waha": waha_500(INVENTED, "base64 conversion of the quoted message failed"),
        },
    ),
    "a 5xx about a file's size": (
        UNKNOWN,
        "",
        {
            "graph": graph_error(500, 999999, "file size", INVENTED),
            "chat-api": said(INVENTED, 500, {"error": "file size is wrong"}),
            "wawp": said(INVENTED, 500, {"message": "could not store the file size"}),
            "waha": waha_500(INVENTED, "file size mismatch in the store"),
        },
    ),
    "a 5xx with a framework's words for a throttle": (
        UNKNOWN,
        "",
        {
            "graph": graph_error(503, 131016, "Service unavailable"),
            "chat-api": said(INVENTED, 503, {"error": "Too many requests"}, {"retry-after": "5"}),
            "wawp": said(INVENTED, 503, {"message": "Too many requests"}, {"retry-after": "5"}),
            "waha": waha_500("https://github.com/WhiskeySockets/Baileys/issues/797, of a query", "rate-overlimit"),
        },
    ),
    "the code 202": (
        UNKNOWN,
        "",
        {
            "graph": said(INVENTED, 202, {"code": 202}),
            "chat-api": said(INVENTED, 202, {"code": 202, "message": "processing"}),
            "wawp": said(INVENTED, 200, {"code": 202, "message": "processing"}),
            "waha": said(INVENTED, 202, {"code": 202, "message": "processing"}),
        },
    ),
    "an id and an error": (
        UNKNOWN,
        "",
        {
            "graph": said(
                INVENTED, 200, {"messages": [{"id": "wamid.HBgL"}], "error": {"code": 131026, "message": "no"}}
            ),
            "chat-api": said(INVENTED, 200, {"id": "true_1@c.us_3EB0", "error": "Wrong chatId format"}),
            "wawp": said(INVENTED, 200, {"id": "true_1@c.us_3EB0", "error": "Wrong chatId format"}),
            "waha": said(INVENTED, 400, {"id": "true_1@c.us_3EB0", "error": "Wrong chatId format"}),
        },
    ),
    "an error that nobody knows, told with 200": (
        UNKNOWN,
        "",
        {
            "graph": said(INVENTED, 200, {"error": "oops"}),
            "chat-api": said(INVENTED, 200, {"error": "oops"}),
            "wawp": said(WAWP_CLIENTS, 200, {"code": "wawp_upstream_error", "message": "The upstream server failed"}),
            "waha": said(INVENTED, 201, {"error": "oops"}),
        },
    ),
    "no, without a reason": (
        RECIPIENT,
        "",
        {
            "graph": graph_error(200, 139999, source=INVENTED),
            "chat-api": said(CHAT_API_SDK, 200, {"sent": False}),
            "wawp": said(WAWP_CLIENTS, 200, {"result": False}),
            "waha": said(INVENTED, 201, {"success": False}),
        },
    ),
}

# What one service says that no other has words for: its name, what follows from it, and what it said to a voice note.
OF_ONE_SERVICE: dict[str, tuple[str, str, str, Answer]] = {
    "a media id that is dead or another number's": (
        "graph",
        REQUEST,
        "media id",
        graph_error(
            400,
            100,
            "Param audio['id'] is not a valid whatsapp business account media attachment ID",
            "n8n-io/n8n, the node WhatsApp; gokapso's emulator, verbatim",
        ),
    ),
    "the same, spelled otherwise": (
        "graph",
        REQUEST,
        "media id",
        graph_error(
            400,
            100,
            "Param audio.id is not a valid whatsapp business account media attachment ID",
            "gokapso's emulator, verbatim",
        ),
    ),
    "a version that Meta has switched off": (
        "graph",
        REQUEST,
        "request",
        graph_error(400, 2635, "You are calling a deprecated version of the Graph API", "recorded by users of Graph"),
    ),
    "a path that is none": (
        "graph",
        REQUEST,
        "request",
        graph_error(400, 2500, "Unknown path components: /messages", "recorded by users of Graph"),
    ),
    "a template's parameters": ("graph", REQUEST, "template", graph_error(400, 132008, "Parameter format mismatch")),
    "no eligibility to pay": ("graph", ACCOUNT, "account", graph_error(400, 131044, "Payment eligibility")),
    "the account is another's": (
        "graph",
        ACCOUNT,
        "account",
        graph_error(
            400,
            100,
            "Unsupported post request. Object with ID '100000000000001' does not exist",
            "dgadelha/whaloc, SPEC 1.15",
            error_subcode=33,
        ),
    ),
    "a token of 1msg that is repeated": (
        "chat-api",
        ACCOUNT,
        "auth",
        said(
            ONE_MSG,
            401,
            {"error": f'Wrong token "{TOKEN}" for channel "123". Please provide token as a GET parameter.'},
        ),
    ),
    "an instance that was stopped for want of payment": (
        "chat-api",
        ACCOUNT,
        "payment",
        said(
            "recorded from a service with Chat-API's words (Ultramsg)",
            200,
            {
                "error": "Your instance has been Stopped due to non-payment. you can activate this instance by extending your "
                "subscription."
            },
        ),
    ),
    "a missing parameter, as text": (
        "wawp",
        REQUEST,
        "request",
        said(WAWP, 400, b"Missing Required Parameter(s): chatId"),
    ),
    "a missing parameter, as XML": (
        "wawp",
        REQUEST,
        "request",
        said(WAWP, 400, b"<?xml version='1.0'?><error><message>Missing Required Parameter(s)</message></error>"),
    ),
    "a missing token in Wawp's schema of an error": (
        "wawp",
        ACCOUNT,
        "auth",
        said(WAWP, 200, {"status": 401, "message": "Missing access_token"}),
    ),
    "trouble upstream": (
        "wawp",
        UNKNOWN,
        "",
        said(WAWP_CLIENTS, 502, {"code": "wawp_upstream_error", "message": "Upstream request failed"}),
    ),
    "a link that fails on NOWEB": (
        "waha",
        REQUEST,
        "media",
        waha_500(WAHA, "Failed to fetch stream from https://b.test/v"),
    ),
    "the same, otherwise": ("waha", REQUEST, "media", waha_500(WAHA, "fetch failed", "TypeError")),
    "a link that wants a login, on GOWS": (
        "waha",
        REQUEST,
        "media",
        waha_500(WAHA, "Request failed with status code 401", "AxiosError"),
    ),
    "a link to nowhere, on GOWS": (
        "waha",
        REQUEST,
        "media",
        waha_500(WAHA, "connect ECONNREFUSED 127.0.0.1:9", "AxiosError"),
    ),
    "a link that fails on WEBJS": (
        "waha",
        REQUEST,
        "media",
        waha_500(WAHA, "request to https://b.test/v failed", "FetchError"),
    ),
    "a number without an account, on GOWS": (
        "waha",
        RECIPIENT,
        "recipient",
        waha_500(WAHA_ISSUES + "2094", f"2 UNKNOWN: no LID found for {PHONE}@s.whatsapp.net from server"),
    ),
    "WhatsApp's own no, on GOWS": (
        "waha",
        RECIPIENT,
        "unexplained",
        waha_500(WAHA_ISSUES + "2093; " + WHATSMEOW, "2 UNKNOWN: server returned error 403"),
    ),
    "a fault of WhatsApp's server, on GOWS": (
        "waha",
        UNKNOWN,
        "",
        waha_500(WHATSMEOW, "2 UNKNOWN: server returned error 503"),
    ),
    "a connection to WhatsApp that closed, on NOWEB": (
        "waha",
        UNKNOWN,
        "",
        waha_500(WAHA_ISSUES + "532", "Connection Closed"),
    ),
    "a table of WhatsApp Web that changed": (
        "waha",
        UNKNOWN,
        "",
        waha_500(WAHA_ISSUES + "1905", "Lid is missing in chat table"),
    ),
    "a page that closed": (
        "waha",
        UNKNOWN,
        "",
        waha_500(WAHA_ISSUES + "1257", "Protocol error (Runtime.callFunctionOn): Target closed", "TargetCloseError"),
    ),
    "no file in the request": (
        "waha",
        UNKNOWN,
        "",
        waha_500(WAHA_ISSUES + "1653", "Cannot use 'in' operator to search for 'url' in undefined", "TypeError"),
    ),
    "another session than default, before 2026.6.1": (
        "waha",
        ACCOUNT,
        "account",
        said(
            "devlikeapro/waha, src/core/manager.core.ts",
            422,
            {
                "message": "WAHA Core support only 'default' session. You tried to access 'office' session (base64: b2ZmaWNl).",
                "error": "Unprocessable Entity",
                "statusCode": 422,
            },
        ),
    ),
    "voice before 2026.6.1": (
        "waha",
        ACCOUNT,
        "account",
        said(
            "devlikeapro/waha, src/core/exceptions.ts",
            422,
            {
                "message": "The feature is available only in Plus version. Check this out: https://waha.devlike.pro/",
                "error": "Unprocessable Entity",
                "statusCode": 422,
            },
        ),
    ),
}
