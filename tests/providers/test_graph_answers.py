"""This answer gives this result, in both drivers, and no answer brings the token or a whole number to light."""

import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from graph_answers import GRAPH, NOTE, NUMBER_ID, PHONE, TOKEN, VOICE, Run, clean, error_answer, running
from prefect_whatsapp.models import Contact, Receipt, Recipient
from prefect_whatsapp.models.errors import (
    AccountError,
    OutcomeUnknownError,
    ProviderError,
    RecipientRefusedError,
    RetryLaterError,
    Verdict,
    WhatsAppError,
)
from prefect_whatsapp.providers.dialect import Attachment
from prefect_whatsapp.providers.graph_errors import CLASS_OF_CODE, MEANINGS
from prefect_whatsapp.providers.http_types import Exchange
from prefect_whatsapp.providers.transport import Client

CARD = Contact(name="Ada Byron", phone="+442079460000")


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Run:
    """Run an exchange against one answer."""
    return running(request.param, caplog)


async def refusal(run: Run, answer: httpx.Response, exchange: Exchange[Any] | None = None) -> ProviderError:
    with pytest.raises(ProviderError) as refused:
        await run(exchange or GRAPH.send_audio(VOICE, PHONE), answer)
    return clean(refused.value)


def accepted(**message: Any) -> httpx.Response:
    return httpx.Response(
        200,
        json={
            "messaging_product": "whatsapp",
            "contacts": [{"input": "+16505550123", "wa_id": "16505550123"}],
            "messages": [{"id": "wamid.HBgLMTY1MDU1NTAxMjM"} | message],
        },
    )


# Every row of Meta's list, by what it means for a broadcast: verdict, kind, scope.
EXPECTED: dict[tuple[Verdict, str, str], list[int]] = {
    (Verdict.ACCOUNT, "auth", "sender"): [0, 3, 10, 104, 190, 200, 201, 250, 299, 131005],
    (Verdict.ACCOUNT, "policy", "sender"): [368, 131031],
    (Verdict.ACCOUNT, "restricted", "sender"): [131048, 131064],
    (Verdict.ACCOUNT, "account", "sender"): [
        *(33, 131037, 131042, 131044, 131045, 131063),
        *(133000, 133005, 133006, 133008, 133009, 133010, 133015, 134011),
    ],
    (Verdict.RETRY, "throttle", "sender"): [4, 17, 32, 341, 613, 80007, 80008, 130429, 133016],
    (Verdict.RETRY, "pair", "recipient"): [131056],
    (Verdict.RETRY, "transient", "sender"): [131057],
    (Verdict.REQUEST, "request", "sender"): [100, 131008, 131051, 135000, 2500, 2635],
    (Verdict.REQUEST, "media", "sender"): [131052, 131053],
    (Verdict.REQUEST, "template", "sender"): [
        *(132000, 132001, 132005, 132007, 132008, 132012, 132015, 132016, 132018, 132068, 132069),
        *(131055, 134100, 134101, 134102),
    ],
    (Verdict.RECIPIENT, "parameter", "sender"): [131009],
    (Verdict.RECIPIENT, "recipient", "sender"): [
        *(130403, 130472, 131021, 131026, 131030, 131043, 131049, 131050, 131062, 137000),
    ],
    (Verdict.RECIPIENT, "window", "sender"): [131047],
    (Verdict.RECIPIENT, "country", "sender"): [130497],
    (Verdict.RECIPIENT, "group", "sender"): [130501, 131020, 131041, 131059, 131200, 131214],
}
AMBIGUOUS = {1, 2, 131000, 131016, 133004}
EACH_CODE = [(code, *meaning) for meaning, codes in EXPECTED.items() for code in codes]


def test_the_table_below_names_every_row_of_metas_list() -> None:
    ranges = {*range(200, 300), *range(131200, 131300)}
    assert {code for code, *_ in EACH_CODE} - ranges == set(CLASS_OF_CODE) - ranges - AMBIGUOUS
    assert ranges < set(CLASS_OF_CODE)
    # Meta's 78 rows, of which 200 and 200-299 are in a range, and four that others recorded.
    assert len(set(CLASS_OF_CODE) - ranges) == 76 + len({2500, 2635, 131044, 132008})
    assert {m.verdict for m in MEANINGS.values()} == {*Verdict, None}


@pytest.mark.parametrize("status", [400, 429, 500])
@pytest.mark.parametrize(("code", "verdict", "kind", "scope"), EACH_CODE)
async def test_each_code_is_one_verdict_whatever_the_http_status(
    run: Run, code: int, verdict: Verdict, kind: str, scope: str, status: int
) -> None:
    error = await refusal(run, error_answer(code, status))
    assert (error.verdict, error.kind, error.scope) == (verdict, kind, scope)
    assert (error.provider, error.code, error.http_status) == ("graph", str(code), status)
    assert error.trace_id == "Az8or2yhqkZfEZ"
    assert str(error).startswith(f"graph: (#{code}) Title: Words of Graph")


@pytest.mark.parametrize(
    ("status", "more", "kind", "raised"),
    [
        (500, {"is_transient": False}, "trouble", OutcomeUnknownError),
        (400, {"is_transient": True}, "trouble", OutcomeUnknownError),
        (500, {}, "trouble", OutcomeUnknownError),
        (503, {}, "trouble", OutcomeUnknownError),
        (503, {"headers": {"Retry-After": "7"}}, "trouble", OutcomeUnknownError),
        (429, {}, "throttle", RetryLaterError),
        (400, {}, "recipient", RecipientRefusedError),
        (200, {}, "recipient", RecipientRefusedError),
    ],
)
async def test_a_code_that_nobody_knows(
    run: Run, status: int, more: dict[str, Any], kind: str, raised: type[WhatsAppError]
) -> None:
    with pytest.raises(WhatsAppError) as refused:
        await run(GRAPH.send_audio(VOICE, PHONE), error_answer(999999, status, **more))
    assert type(refused.value) is raised
    assert refused.value.kind == kind


@pytest.mark.parametrize("status", [400, 500, 503])
@pytest.mark.parametrize(
    ("code", "details"),
    [
        (1, "An unknown error occurred"),
        (2, "Service temporarily unavailable"),
        (131000, "Something went wrong"),
        (131016, "A service is temporarily unavailable."),
        (133004, "Server is temporarily unavailable."),
    ],
)
async def test_trouble_at_meta_that_does_not_say_what_became_of_the_message_is_unknown(
    run: Run, code: int, details: str, status: int
) -> None:
    with pytest.raises(OutcomeUnknownError) as unknown:
        await run(GRAPH.send_audio(VOICE, PHONE), error_answer(code, status, details=details))
    assert f"(#{code})" in unknown.value.message
    with pytest.raises(RetryLaterError):  # an upload done twice harms nobody
        await run(GRAPH.upload(NOTE, b"OggS"), error_answer(code, status, details=details))


@pytest.mark.parametrize("code", [131000, 131016])
async def test_meta_s_own_word_that_the_message_failed_to_send_is_a_refusal(run: Run, code: int) -> None:
    answer = error_answer(code, 500, details="Message failed to send due to an unknown error.")
    error = await refusal(run, answer)
    assert (type(error), error.kind) == (RetryLaterError, "transient")


@pytest.mark.parametrize("code", [131000, 131026, 100, 999999])
async def test_words_of_a_timeout_on_a_5xx_are_unknown_whatever_the_code(run: Run, code: int) -> None:
    answer = error_answer(code, 500, details="Message failed to send: the request timed out")
    with pytest.raises(OutcomeUnknownError):
        await run(GRAPH.send_audio(VOICE, PHONE), answer)


async def test_an_error_beside_a_message_id_is_no_refusal(run: Run) -> None:
    body = {"messages": [{"id": "wamid.HBgL"}], "error": {"code": 131026, "message": "(#131026) Undeliverable"}}
    with pytest.raises(OutcomeUnknownError):
        await run(GRAPH.send_audio(VOICE, PHONE), httpx.Response(200, json=body))


BUSINESS_USE = "X-Business-Use-Case-Usage"
USAGE = (
    '{"102290129340398":[{"type":"whatsapp","call_count":100,"estimated_time_to_regain_access":3},'
    '{"type":"messages","call_count":1,"estimated_time_to_regain_access":0}]}'
)


@pytest.mark.parametrize(
    ("code", "headers", "seconds"),
    [
        (130429, {}, None),
        (130429, {"Retry-After": "7"}, 7.0),
        (130429, {BUSINESS_USE: USAGE}, 180.0),
        (130429, {BUSINESS_USE: USAGE, "Retry-After": "7"}, 7.0),
        (130429, {BUSINESS_USE: '{"1":[{"estimated_time_to_regain_access":0}]}'}, None),
        (130429, {BUSINESS_USE: "not json"}, None),
        (130429, {BUSINESS_USE: "[1]"}, None),
        (131056, {BUSINESS_USE: USAGE}, None),
        (131056, {"Retry-After": "16"}, 16.0),
        (131057, {}, 60.0),
        (131057, {"Retry-After": "9"}, 9.0),
        (131057, {"Retry-After": "900"}, 60.0),
    ],
)
async def test_how_long_to_wait(run: Run, code: int, headers: dict[str, str], seconds: float | None) -> None:
    assert (await refusal(run, error_answer(code, 429, headers=headers))).retry_after == seconds


GONE = {"message": f"Unsupported post request. Object with ID '{VOICE.media_id}' does not exist", "error_subcode": 33}
NOT_OURS = {"message": f"Unsupported post request. Object with ID '{NUMBER_ID}' does not exist", "error_subcode": 33}


USER = Recipient(to="BR.13491208655302741918")
NO_SUCH_USER = {
    "message": f"Unsupported get request. Object with ID '{USER.to}' does not exist, cannot be loaded due to missing "
    "permissions, or does not support this operation.",
    "error_subcode": 33,
}
# Recorded verbatim by users of n8n and kapso, and in ten more public repositories.
DEAD_ID = "Param audio['id'] is not a valid whatsapp business account media attachment ID"


@pytest.mark.parametrize(
    ("build", "answer", "verdict", "kind"),
    [
        (lambda: GRAPH.send_audio(VOICE, PHONE), error_answer(100, details=DEAD_ID), Verdict.REQUEST, "media id"),
        (
            lambda: GRAPH.send_audio(VOICE, PHONE),
            error_answer(100, message="(#100) " + DEAD_ID.replace("['id']", ".id"), error_data=None),
            Verdict.REQUEST,
            "media id",
        ),
        # dgadelha/whaloc, SPEC 1.15: a business-scoped user id that nobody has.
        (lambda: GRAPH.send_audio(VOICE, USER), error_answer(100, **NO_SUCH_USER), Verdict.RECIPIENT, "recipient"),
        (lambda: GRAPH.send_contacts([CARD], USER), error_answer(100, **NO_SUCH_USER), Verdict.RECIPIENT, "recipient"),
        (
            lambda: GRAPH.upload(NOTE, b"OggS"),
            error_answer(100, details="Media file size too big. Max file size we currently support: 100MB."),
            Verdict.REQUEST,
            "media",
        ),
        (lambda: GRAPH.send_audio(VOICE, PHONE), error_answer(100, **GONE), Verdict.REQUEST, "media id"),
        (lambda: GRAPH.send_audio(VOICE, PHONE), error_answer(100, **NOT_OURS), Verdict.ACCOUNT, "account"),
        (lambda: GRAPH.send_contacts([CARD], PHONE), error_answer(100, **NOT_OURS), Verdict.ACCOUNT, "account"),
        (lambda: GRAPH.check(), error_answer(100, **NOT_OURS), Verdict.ACCOUNT, "account"),
        (lambda: GRAPH.media_info("55"), error_answer(100, error_subcode=33), Verdict.REQUEST, "media id"),
        (lambda: GRAPH.delete_media("55"), error_answer(100, error_subcode=33), Verdict.REQUEST, "media id"),
        (
            lambda: GRAPH.send_audio(VOICE, PHONE),
            error_answer(131009, details="Invalid media_id: 1013859600285441"),
            Verdict.REQUEST,
            "media id",
        ),
        (
            lambda: GRAPH.send_audio(VOICE, PHONE),
            error_answer(131053, details="Media upload error: the media object has expired"),
            Verdict.REQUEST,
            "media id",
        ),
        (
            lambda: GRAPH.send_audio(VOICE, PHONE),
            error_answer(131053, details="Unsupported Audio mime type application/octet-stream."),
            Verdict.REQUEST,
            "media",
        ),
        (
            lambda: GRAPH.send_audio(Attachment(link="https://example.org/a.ogg"), PHONE),
            error_answer(131053, details="the media was not found"),
            Verdict.REQUEST,
            "media",
        ),
        (
            lambda: GRAPH.send_audio(VOICE, PHONE),
            error_answer(100, details="Param to must be a phone number"),
            Verdict.RECIPIENT,
            "parameter",
        ),
        (
            lambda: GRAPH.send_audio(VOICE, PHONE),
            error_answer(100, details="Unexpected key 'caption' on param 'audio'."),
            Verdict.REQUEST,
            "request",
        ),
    ],
)
async def test_the_words_decide_where_a_code_has_several_meanings(
    run: Run, build: Callable[[], Exchange[Any]], answer: httpx.Response, verdict: Verdict, kind: str
) -> None:
    error = await refusal(run, answer, build())
    assert (error.verdict, error.kind) == (verdict, kind)


async def test_a_refused_upload_names_the_media(run: Run) -> None:
    answer = error_answer(
        100, details="Param file must be a file with one of the following types: audio/aac, audio/mp4"
    )
    error = await refusal(run, answer, GRAPH.upload(NOTE, b"OggS"))
    assert (error.verdict, error.kind) == (Verdict.REQUEST, "media")


async def test_an_expired_token_says_what_to_check(run: Run) -> None:
    error = await refusal(run, error_answer(190, 401, details="Session has expired", error_subcode=463))
    assert isinstance(error, AccountError)
    assert "subcode 463" in str(error)
    assert "access_token" in str(error)


@pytest.mark.parametrize("words", [f"Malformed access token {TOKEN}", f"Malformed access token {TOKEN[:20]}"])
async def test_a_token_that_graph_repeats_is_not_repeated(run: Run, words: str) -> None:
    error = await refusal(run, error_answer(190, 401, message=words, details=""))
    assert "canary" not in str(error)


async def test_numbers_in_graphs_words_are_masked(run: Run) -> None:
    error = await refusal(run, error_answer(131026, details="Message undeliverable to +1 650 555 0123"))
    assert "…0123" in str(error)
    assert "5550123" not in str(error).replace(" ", "")


@pytest.mark.parametrize("data", ["plain words", '{"details": "plain words"}'])
async def test_error_data_may_be_a_string(run: Run, data: str) -> None:
    error = await refusal(run, error_answer(131047, error_data=data))
    assert isinstance(error, RecipientRefusedError)
    assert "Title: plain words" in str(error)


@pytest.mark.parametrize("data", [None, [], 7, {}])
async def test_error_data_may_be_anything(run: Run, data: Any) -> None:
    assert "Title" in str(await refusal(run, error_answer(131047, error_data=data)))


@pytest.mark.parametrize(
    ("message_status", "status"),
    [
        (None, "accepted"),
        ("accepted", "accepted"),
        ("held_for_quality_assessment", "queued"),
        ("paused", "queued"),
        ("a_word_of_next_year", "accepted"),
    ],
)
async def test_a_receipt_says_accepted_or_queued(run: Run, message_status: str | None, status: str) -> None:
    answer = accepted(message_status=message_status) if message_status else accepted()
    receipt: Receipt = await run(GRAPH.send_contacts([CARD], PHONE), answer)
    assert (receipt.provider, receipt.account, receipt.recipient) == ("graph", NUMBER_ID, "+16505550123")
    assert (receipt.message_id, receipt.status) == ("wamid.HBgLMTY1MDU1NTAxMjM", status)
    assert receipt.status_text == (message_status or "")
    assert receipt.raw["messages"][0]["id"] == receipt.message_id


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"messaging_product": "whatsapp"}),
        httpx.Response(200, json={"messages": []}),
        httpx.Response(200, json={"messages": [{"id": ""}]}),
        httpx.Response(200, json={"messages": [{}]}),
        httpx.Response(200, json=[]),
        httpx.Response(200, content=b'{"messages":[{"id":"wamid'),
        httpx.Response(200, content=b""),
        httpx.Response(502, html="<html>Bad gateway</html>"),
        httpx.Response(500, content=b""),
        httpx.Response(500, json={"error": "oops"}),
    ],
)
async def test_an_answer_that_says_neither_yes_nor_no_is_unknown(run: Run, answer: httpx.Response) -> None:
    with pytest.raises(OutcomeUnknownError):
        await run(GRAPH.send_audio(VOICE, PHONE), answer)


async def test_a_timeout_after_the_request_left_is_unknown_and_names_nothing() -> None:
    def handle(sent: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("no answer", request=sent)

    with Client(GRAPH, transport=httpx.MockTransport(handle)) as client, pytest.raises(WhatsAppError) as lost:
        client.run(GRAPH.send_audio(VOICE, PHONE))
    assert type(lost.value) is OutcomeUnknownError
    assert TOKEN not in "".join(traceback.format_exception(lost.value))
