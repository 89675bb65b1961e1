"""One table of failures that every provider runs in both drivers: the same verdict for the same situation."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx
import prefect_whatsapp.providers.transport as transport_module
import pytest
import raw_server
from prefect_whatsapp.models.errors import NotSentError, OutcomeUnknownError, RetryLaterError
from provider_accounts import ACCOUNTS, CANARY, PHONE, Account, Answer, Driver, both, drive, refusal
from raw_server import RawServer
from recorded_answers import (
    ACCOUNT,
    HTML,
    IN_THEIR_WORDS,
    INVENTED,
    NOT_SENT,
    OF_ONE_SERVICE,
    RETRY,
    SAME_TO_ALL,
    UNKNOWN,
)
from senders import PROVIDERS

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
    "silence": (raw_server.stay_silent, UNKNOWN),
    "half a body, then closed": (raw_server.half_an_answer, UNKNOWN),
    "half a body, then silence": (raw_server.half_an_answer_then_silence, UNKNOWN),
    "half the headers, then closed": (raw_server.half_a_head, UNKNOWN),
    "speaks no HTTP": (raw_server.speak_no_http, UNKNOWN),
    "claims gzip": (raw_server.answer_broken_gzip, UNKNOWN),
    "a redirection to another port": (raw_server.redirect_to("localhost:3000/done"), UNKNOWN),
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


@pytest.mark.parametrize("situation", OF_ONE_SERVICE)
async def test_what_one_service_says_has_its_verdict_and_repeats_no_secret(situation: str) -> None:
    name, error, kind, answer = OF_ONE_SERVICE[situation]
    account = ACCOUNTS[name]
    dialect = account.dialect()
    raised = await both(dialect, lambda: account.voice(dialect), answer)
    assert refusal(raised) == (error, kind)
    assert CANARY not in str(raised)
    assert PHONE not in str(raised)


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
            await drive(driver, dialect, account.voice(dialect), timeout=0.3 if "silence" in situation else 30)
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


def test_every_answer_says_where_it_is_from() -> None:
    told = [each for _, _, answers in IN_THEIR_WORDS.values() for each in answers.values()]
    told += [answer for *_, answer in OF_ONE_SERVICE.values()]
    assert all(answer.source for answer in told)
    assert sum(answer.source == INVENTED for answer in told) < len(told) / 2
    assert not any(answer.source == INVENTED for *_, answer in OF_ONE_SERVICE.values())


def test_every_provider_runs_the_whole_table() -> None:
    assert set(ACCOUNTS) == set(PROVIDERS)
    assert all(set(answers) == set(ACCOUNTS) for _, _, answers in IN_THEIR_WORDS.values())
