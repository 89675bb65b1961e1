"""The pages of the services say what the blocks and errors say."""

import re
from pathlib import Path
from typing import Any

import pytest
from prefect_whatsapp.blocks import ChatApiCredentials, GraphCredentials, WahaCredentials, WawpCredentials
from prefect_whatsapp.providers import refusals, waha
from prefect_whatsapp.providers.graph_errors import CLASS_OF_CODE

SERVICES = Path(__file__).parents[2] / "docs" / "services"
BLOCKS: dict[str, type[Any]] = {
    "Graph": GraphCredentials,
    "WAHA": WahaCredentials,
    "Wawp": WawpCredentials,
    "Chat-API": ChatApiCredentials,
    "gateways": WahaCredentials,
}
# What a default is called where the field's own value says little.
CALLED = {"False": "off", "0": "the broadcast's length and a day, at most seven days", "80.0": "80"}


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its own headings."""
    section = (SERVICES / page).read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[1:]]


@pytest.mark.parametrize(
    "row", rows("README.md", "What only a live account can tell"), ids=lambda row: " ".join(row[:2])
)
def test_what_only_a_live_account_can_tell_is_a_setting_with_this_default(row: list[str]) -> None:
    service, _, shows, setting, default = row
    assert shows
    if setting.startswith("–"):  # nothing to set: the service is asked
        assert "ask" in setting
        return
    fields = {field.title: field.default for field in BLOCKS[service].model_fields.values()}
    if service == "gateways":
        least, most = (str(int(fields[f"{word} seconds between sends"])) for word in ("Minimum", "Maximum"))
        assert (setting, default) == ("Minimum and Maximum seconds between sends", f"{least} and {most}")
        return
    (value,) = [str(kept) for title, kept in fields.items() if title and title.partition(" (")[0] == setting]
    assert default.replace("`", "").partition(":")[0] == CALLED.get(value, value)


def test_every_setting_whose_description_names_a_doubt_is_in_the_table() -> None:
    told = {row[3] for row in rows("README.md", "What only a live account can tell")}
    doubted = {"credential_in", "convert_as", "file_as", "link_seconds"}
    titles = {
        str(field.title).partition(" (")[0] for name, field in WawpCredentials.model_fields.items() if name in doubted
    }
    assert titles <= told


@pytest.mark.parametrize("page", ["graph.md", "waha.md", "wawp.md", "chat-api.md"])
def test_a_page_tells_what_to_click_which_key_goes_where_and_the_first_errors(page: str) -> None:
    for heading, columns in (("2. Which key goes where", 2), ("3. The first errors", 3)):
        table = rows(page, heading)
        assert len(table) >= 3
        assert all(len(row) >= columns and row[0] for row in table)
    assert "## 1. What to click" in (SERVICES / page).read_text(encoding="utf-8")


def test_each_code_that_graph_s_page_names_is_one_that_is_read() -> None:
    named = {int(code) for row in rows("graph.md", "3. The first errors") for code in re.findall(r"\(#(\d+)", row[0])}
    assert named <= set(CLASS_OF_CODE)
    assert len(named) > 15


@pytest.mark.parametrize("page", ["waha.md", "wawp.md", "chat-api.md"])
def test_each_sentence_that_a_gateway_s_page_quotes_is_one_that_is_said(page: str) -> None:
    meanings = [*refusals.MEANINGS, waha.UNREACHABLE_LINK, refusals.TROUBLE, refusals.REQUEST]
    sentences = {meaning.sentence for meaning in meanings}
    shown = [row[0] for row in rows(page, "3. The first errors")]
    quoted = {found[1] for cell in shown if (found := re.match(r"`([^`(]+) \(\"", cell))}
    assert quoted <= sentences
    assert quoted
