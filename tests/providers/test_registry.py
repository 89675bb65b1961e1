"""The one list of providers."""

import ast
import logging
from pathlib import Path

import pytest
from prefect_whatsapp.models.errors import InputError
from prefect_whatsapp.providers import registry
from prefect_whatsapp.providers.registry import Provider, find_provider, providers
from prefect_whatsapp.sandbox.sender import sandbox_sender
from senders import PROVIDERS

ROOT = Path(__file__).parents[2]
NOT_OURS = {"tests", "typings", "build", "docs"}


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_providers_block_dialect_and_simulator_bear_its_name(name: str) -> None:
    provider = find_provider(name)
    assert sandbox_sender(name, "http://127.0.0.1:1").dialect().name == provider.load_simulator().name == provider.name


def test_a_name_that_no_provider_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match="there is no provider 'pigeon'; choose one of: graph, chat-api, wawp, waha"):
        find_provider("pigeon")


def test_a_provider_without_a_simulator_says_so() -> None:
    with pytest.raises(InputError, match="pigeon has no simulator"):
        Provider("pigeon", "Pigeon", block="pigeon:Block").load_simulator()


class _Entry:
    """An installed package's entry point."""

    name = value = "pigeon"

    def __init__(self, provider: Provider | Exception) -> None:
        self._provider = provider

    def load(self) -> Provider:
        if isinstance(self._provider, Exception):
            raise self._provider
        return self._provider


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """The entry points that the test names."""
    monkeypatch.setattr(registry, "entry_points", lambda group: [_Entry(request.param)] if group else [])
    monkeypatch.setattr(registry, "providers", providers.__wrapped__)


@pytest.mark.parametrize("installed", [Provider("pigeon", "Pigeon", block="pigeon:Block")], indirect=True)
@pytest.mark.usefixtures("installed")
def test_an_installed_provider_comes_after_ours() -> None:
    assert [*registry.providers()] == [*PROVIDERS, "pigeon"]


@pytest.mark.parametrize("installed", [Provider("graph", "Mine", block="mine:Block")], indirect=True)
@pytest.mark.usefixtures("installed")
def test_an_installed_provider_does_not_take_the_place_of_ours() -> None:
    assert registry.providers()["graph"].title == "Meta Graph"


@pytest.mark.parametrize("installed", [ImportError("no pigeon")], indirect=True)
@pytest.mark.usefixtures("installed")
def test_one_that_cannot_be_imported_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert [*registry.providers()] == [*PROVIDERS]
    assert "The provider pigeon can't be used: pigeon can't be imported (ImportError)." in caplog.text


def test_no_other_file_lists_the_providers() -> None:
    """Else a fifth one is to be added there too."""
    for file in ROOT.rglob("*.py"):
        parts = file.relative_to(ROOT).parts
        if parts[0] in NOT_OURS or parts[0].startswith(".") or parts == ("providers", "registry.py"):
            continue
        nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        named = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert len(named & set(PROVIDERS)) < 3, "/".join(parts)
