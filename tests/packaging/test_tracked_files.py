"""What no tracked file may hold: this machine's paths, an index's address, a token, somebody's phone number."""

import re
from collections.abc import Iterator
from pathlib import Path

import phonenumbers
import pytest

# Written so that this file does not find itself.
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|Users|home/\w+)/\w")
INDEX = re.compile(r"(?:--(?:extra-)?index-url|//[\w.-]*pypi[\w.-]*/|/simple/|find-links|trusted-host)", re.IGNORECASE)
TOKEN = re.compile(
    r"\b(?:EAA(?!canary)[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30,}|xox[abpr]-[\w-]{10,}"
    r"|sk-[A-Za-z0-9]{20,}|eyJ[\w-]{10,}\.eyJ[\w-]{10,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
)
# +1 NPA 555 01xx and +44 20 7946 0xxx are set aside for fiction by the numbering authorities.
FICTION = re.compile(r"1\d{3}55501\d\d|442079460\d{3}")
# Numbers that the services' and libraries' own documents print as examples.
DOCUMENTED = {
    "4915123456789",
    "5511912345678",
    "447400123456",
    "17633123456",
    "5511955550123",
    "77011234567",
    "79123456789",
    "79995253422",
    "84912345678",
}
NUMBERS = (
    re.compile(r"(?<!\w)\+\d(?:[\s().-]?\d){7,14}(?!\d)", re.ASCII),
    re.compile(r"(?<![\w.+/-])\d{10,15}(?![\w.-])", re.ASCII),
    re.compile(r"\d{8,15}(?=@(?:c\.us|s\.whatsapp))", re.ASCII),
)


@pytest.fixture(scope="module")
def texts(root: Path, tracked: list[Path]) -> dict[Path, str]:
    """The text of each tracked text file."""
    found = {}
    for path in tracked:
        if (root / path).is_file():
            content = (root / path).read_bytes()
            if b"\0" not in content:
                found[path] = content.decode("utf-8", errors="replace")
    return found


def _phone_numbers(text: str) -> Iterator[str]:
    for pattern in NUMBERS:
        for match in pattern.finditer(text):
            digits = re.sub(r"\D", "", match[0])
            try:
                number = phonenumbers.parse("+" + digits)
            except phonenumbers.NumberParseException:
                continue
            if phonenumbers.is_valid_number(number) and not FICTION.fullmatch(digits) and digits not in DOCUMENTED:
                yield match[0]


@pytest.mark.parametrize("pattern", [MACHINE_PATH, INDEX, TOKEN], ids=["machine path", "package index", "token"])
def test_no_tracked_file_holds(pattern: re.Pattern[str], texts: dict[Path, str]) -> None:
    own = Path(__file__).name
    found = {
        str(path): match[0] for path, text in texts.items() if path.name != own for match in pattern.finditer(text)
    }
    assert not found


def test_no_tracked_file_holds_a_phone_number_that_may_be_somebodys(texts: dict[Path, str]) -> None:
    own = Path(__file__).name
    found = {str(path): [*_phone_numbers(text)] for path, text in texts.items() if path.name != own}
    assert not {path: numbers for path, numbers in found.items() if numbers}


@pytest.mark.parametrize(
    ("pattern", "sample"),
    [
        (MACHINE_PATH, "see /ho" + "me/ada/broadcast.csv"),
        (INDEX, "https://py" + "pi.example.com/simple"),
        (TOKEN, "EA" + "A" + "Gb7x" * 6),
    ],
)
def test_the_guard_finds_what_it_looks_for(pattern: re.Pattern[str], sample: str) -> None:
    assert pattern.search(sample)


def test_the_guard_finds_phone_numbers_in_each_spelling() -> None:
    real = "1650" + "253" + "0000"  # digits apart, so that this line holds none
    for spelling in (f"+{real}", f"call +1 650 {real[4:7]} 0000 now", f'"{real}"', f"{real}@c.us"):
        assert [*_phone_numbers(spelling)], spelling
    assert not [*_phone_numbers("+16505550123, +44 20 7946 0000 and id 100000000000001")]
