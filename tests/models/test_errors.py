"""One tree of errors: each survives pickling whole, and none shows a whole phone number."""

import copy
import pickle
from typing import Any

import pytest
from prefect_whatsapp.models import Report, errors
from prefect_whatsapp.models.errors import (
    AccountError,
    AddressError,
    AudioError,
    BroadcastMismatchError,
    BroadcastStoppedError,
    ClaimLostError,
    ErrorKind,
    InputError,
    LedgerAwayError,
    LedgerError,
    NotSentError,
    OptedOutError,
    OutcomeUnknownError,
    ProviderError,
    RecipientListError,
    RecipientRefusedError,
    RequestRefusedError,
    RetryLaterError,
    SourceError,
    TransportError,
    UnsupportedError,
    Verdict,
    WhatsAppError,
)

SENTENCE = "waha: +16505550123 can't get it; check the number"
ANSWER: dict[str, Any] = {
    "provider": "graph",
    "code": "131056",
    "http_status": 400,
    "retry_after": 4.0,
    "scope": "recipient",
    "kind": ErrorKind.PAIR,
    "trace_id": "Az8or2y",
}
MADE = [
    WhatsAppError(SENTENCE),
    InputError(SENTENCE),
    AudioError(SENTENCE),
    SourceError(SENTENCE),
    AddressError(SENTENCE, "…0123"),
    RecipientListError(SENTENCE),
    UnsupportedError("wawp", "voice", "to +16505550123 it sends voice notes only"),
    ProviderError(SENTENCE, **ANSWER),
    RetryLaterError(SENTENCE, **ANSWER),
    RecipientRefusedError(SENTENCE, **ANSWER),
    RequestRefusedError(SENTENCE, **ANSWER),
    AccountError(SENTENCE, **ANSWER),
    TransportError(SENTENCE, provider="waha"),
    NotSentError(SENTENCE, provider="waha"),
    OutcomeUnknownError(SENTENCE, provider="waha"),
    LedgerError(SENTENCE),
    LedgerAwayError(SENTENCE),
    BroadcastMismatchError(SENTENCE),
    ClaimLostError(SENTENCE),
    OptedOutError(SENTENCE),
    BroadcastStoppedError(SENTENCE, report=Report(broadcast="weekly", planned=1, pending=1)),
]


def subclasses(kind: type[WhatsAppError]) -> set[type[WhatsAppError]]:
    return {kind}.union(*(subclasses(sub) for sub in kind.__subclasses__()))


def test_every_error_there_is_stands_in_this_test() -> None:
    ours = {kind for kind in subclasses(WhatsAppError) if kind.__module__ == errors.__name__}
    assert {type(error) for error in MADE} == ours


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_an_error_survives_pickling_whole(error: WhatsAppError, protocol: int) -> None:
    for again in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert vars(again) == vars(error)
        assert str(again) == str(error)
        assert again.args == error.args
        assert repr(again) == repr(error)


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_no_error_shows_a_whole_number(error: WhatsAppError) -> None:
    assert "…0123" in str(error)
    for shown in (str(error), repr(error), repr(vars(error)), repr(pickle.dumps(error))):
        assert "16505550123" not in shown


def test_an_error_raised_from_another_is_pickled_without_it() -> None:
    error = NotSentError("waha: not sent", provider="waha")
    error.__cause__ = ValueError("https://service.test/?token=secret")
    assert b"secret" not in pickle.dumps(error)
    assert pickle.loads(pickle.dumps(error)).__cause__ is None


def test_each_verdict_has_an_error_of_its_own() -> None:
    assert set(errors.VERDICT_ERRORS) == set(Verdict)
    assert all(kind.verdict is verdict for verdict, kind in errors.VERDICT_ERRORS.items())


def test_a_bad_input_is_a_value_error() -> None:
    assert isinstance(UnsupportedError("wawp", "voice", "…"), ValueError)


def test_what_is_unsupported_names_provider_parameter_and_reason() -> None:
    assert str(UnsupportedError("wawp", "voice", "voice notes only")) == "wawp refuses voice: voice notes only"


def test_the_tree_in_the_docstring_is_the_tree_there_is() -> None:
    drawn = errors.__doc__ or ""
    for kind in subclasses(WhatsAppError):
        if kind.__module__ == errors.__name__:
            assert kind.__name__ in drawn
