"""Foreign text stays text: in markdown, in a terminal, in a spreadsheet."""

import csv
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from prefect_whatsapp.models.escaping import cell, escaped_controls, markdown, printable, spreadsheet, without_controls

HOSTILE = [
    "![x](https://evil.example/p.png)",
    "[click](https://evil.example)",
    '<img src="https://evil.example/p.png">',
    "<https://evil.example>",
    "https://evil.example/plain",
    "www.evil.example",
    "eve@evil.example",
    "![x][y]\n\n[y]: https://evil.example/p.png",
    "a | b | ![x](//evil.example/p.png)",
    "# heading\n- list\n1. one\n> quote\n---\n```\ncode",
    "`code` **bold** ~~gone~~ $x$",
    "&lt;img src=x&gt; &#60;b",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_of_strangers_is_one_line_without_meaning(text: str) -> None:
    written = markdown(text)
    assert "\n" not in written
    assert not re.search(r"(?<!\\)[\[\]<>|`*_&!#~$]", written)
    assert "://" not in written.replace("\u2060://", "")
    assert not re.search(r"\w@\w|www\.\w", written)


def test_a_plain_sentence_is_written_as_it_is() -> None:
    for text in ("Message undeliverable (131026).", "weekly-2026-W47", "s3: it isn't there, 5.0 MB", "Zoë 語 42 %"):
        assert markdown(text) == text


MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def as_markdown_shows(written: str) -> str:
    """What a reader of markdown shows, which must be a paragraph of text and nothing else."""
    if not written:
        return ""
    opened, inline, closed = MARKDOWN.parse(written)
    assert (opened.type, inline.type, closed.type) == ("paragraph_open", "inline", "paragraph_close"), written
    assert {each.type for each in inline.children or []} == {"text"}, written
    return "".join(each.content for each in inline.children or [])


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_shows_the_same_as_markdown_and_as_it_stands(text: str) -> None:
    written = cell(text)
    assert as_markdown_shows(written) == written
    assert "://" not in written.replace("\u2060://", "")
    assert not re.search(r"\w@\w|www\.\w", written)


@given(st.text(st.sampled_from("\\`*_[]()<>&;~|!#$-+=.:1a\u00e9 \n\t\"'"), max_size=20) | st.text(max_size=20))
def test_any_text_in_a_cell_shows_the_same_as_markdown_and_as_it_stands(text: str) -> None:
    written = cell(text)
    assert as_markdown_shows(written) == written
    seen = written.replace("\u2060", "").translate(str.maketrans("\u2217\u02cb\u223c", "*`~"))
    assert seen == " ".join(printable(text).replace("\u2060", "").split()).translate(
        str.maketrans("\u2217\u02cb\u223c", "*`~")
    )


def test_a_services_words_stand_in_a_cell_as_they_are() -> None:
    for text in ("(#131047) More than 24 hours have passed", "error_code 470: $5", "131026", "C:\\dir"):
        assert "\\#" not in cell(text)
        assert cell(text).replace("\u2060", "") == text
    assert cell("(#131047) Re-engagement message") == "(#131047) Re-engagement message"


def test_a_terminal_gets_no_control_character() -> None:
    assert printable("a\x1b[31mb\x07\x9b2Jc\u202ed\ne\u200bf") == "a[31mb2Jcd ef"
    assert printable("Zoë 語 🙂") == "Zoë 語 🙂"


@given(st.text(max_size=40))
def test_data_loses_its_controls_or_has_them_escaped_and_nothing_else(text: str) -> None:
    assert json.loads(escaped_controls(json.dumps(text, ensure_ascii=False))) == text
    kept = without_controls(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", kept)
    assert printable(kept) == printable(
        text.replace("\r\n", "\n").replace("\v", "").replace("\f", "").replace("\x85", "")
    )


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "text", ["=1+1", "x;=1+1", "x;  @SUM(A1)", 'x";=1+1', "x\t-1", "x\n=1+1", "x|=1", "'=1", "x,\uff1d1", "x;+1;=2"]
)
def test_no_cell_is_a_formula_wherever_the_file_is_split(separator: str, text: str) -> None:
    file = io.StringIO()
    csv.writer(file).writerow(["start", spreadsheet(text), "end"])
    for line in csv.reader(io.StringIO(file.getvalue(), newline=""), delimiter=separator):
        for each in line:
            assert not re.match(r"\s*[=+@\uff1d]|\s*-\d", each.strip(chr(34))), each


@given(st.text(max_size=40))
def test_any_text_can_be_written(text: str) -> None:
    assert "\n" not in markdown(text)
    assert "\x1b" not in printable(text)
    assert len(spreadsheet(text)) >= len(text)
