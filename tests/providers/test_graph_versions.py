"""The default version outlives the next year; whoever sees this fail moves `DEFAULT_VERSION` on."""

import datetime

from prefect_whatsapp.blocks import GraphCredentials
from prefect_whatsapp.providers.graph import Graph
from prefect_whatsapp.providers.graph_versions import DEFAULT_VERSION, VERSIONS, lives_until


def test_the_default_lives_for_another_year() -> None:
    until = lives_until(DEFAULT_VERSION)
    assert until is not None
    assert until > datetime.datetime.now(tz=datetime.UTC).date() + datetime.timedelta(days=365)


def test_the_default_is_said_once() -> None:
    assert Graph(phone_number_id="1", access_token="t0k3n").api_version == DEFAULT_VERSION
    assert GraphCredentials().api_version == DEFAULT_VERSION


def test_each_version_ends_after_the_next_one_came_out() -> None:
    released = [came for came, _ in VERSIONS.values()]
    assert released == sorted(released)
    for (_, ends), following in zip(VERSIONS.values(), released[1:], strict=False):
        assert ends is not None
        assert ends >= following + datetime.timedelta(days=365)


def test_a_version_that_nobody_knows_has_no_date() -> None:
    assert lives_until("v99.0") is None
