"""Text of strangers as data: what a service, a list, a file name or a broadcast's name says, wherever it is shown.

Markdown and HTML of Prefect's UI, a terminal and a spreadsheet each run what they are given: a picture is fetched, a link
stands under other words, an escape sequence moves the cursor, a cell calculates.
"""

import re
import unicodedata

# Invisible, and in the middle of what a reader of markdown would make a link of: both of Prefect's UIs link addresses
# that stand bare in a text, also where a backslash takes their punctuation's meaning away.
_JOINER = "\u2060"
_MARKDOWN = re.compile(r"[\\`*_\[\]<>&~|!#$]|^[-+=](?=\s|$|-|=)|^\d{1,9}(?=[.)])")
_LINK = re.compile(r"(?i)(?<=\w)(?=://)|(?<=\bwww)(?=\.)|(?=@)|(?<=\bxmpp)(?=:)|(?<=\bmailto)(?=:)")
# In a cell that one of Prefect's UIs reads as markdown and the other shows as it stands, a backslash would be seen: what
# begins something is parted from what makes something of it, or is another character of the same look.
_PARTED = re.compile(
    r"(?<=[<&\\])|(?<=!)(?=\[)|(?<=\])(?=[(\[:])|(?<![^\W_])(?=_)|(?<=_)(?![^\W_])|^(?=[-+=#>|]|\d{1,9}[.)])"
)
_ALIKE = str.maketrans({"*": "\u2217", "`": "\u02cb", "~": "\u223c"})
_SPACE = re.compile(r"\s+")
# Formulas also where the file is read with another separator, which ends a cell in the middle of one of ours.
# Source: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA = re.compile(r"\s*[=+\-@\uff0b\uff0d\uff1d\uff20]|[\t\r\n]")
_FORMULA_WITHIN = re.compile(r"(?<=[;,\t|\r\n\"'])(\s*)(?=[=+\-@\uff0b\uff0d\uff1d\uff20])")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")  # calculates to itself, and an apostrophe would hide it from other programs
# What moves a terminal's cursor or names its window, and what turns the direction of writing; not the joiners that many
# languages spell names with.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    """Take out what moves a cursor, turns the direction of writing or is not seen; line breaks and tabs become spaces.

    Example:
        >>> printable("a\\x1b[2Jb\\u202ec\\nd")
        'a[2Jbc d'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        " " if c in "\n\r\t\v\f\x85\u2028\u2029" else "" if unicodedata.category(c) in _INVISIBLE else c for c in text
    )


def without_controls(text: str) -> str:
    """Take out of data what a terminal would carry out, and nothing else: a carriage return becomes a line break.

    For files that may also be printed. Other than after `printable`, names keep each letter, and texts their lines.

    Example:
        >>> without_controls("a\\x1b[2Jb\\u202ec\\r\\nd")
        'a[2Jbc\\nd'
    """
    if text.isascii() and text.isprintable():
        return text
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def escaped_controls(line: str) -> str:
    """Escape in a line of JSON what `without_controls` takes out: its reader gets the same text.

    Example:
        >>> escaped_controls('"a\\x9b2J"')
        '"a\\\\u009b2J"'
    """
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def markdown(text: str) -> str:
    """Write a text so that markdown shows it as it is: no picture, link, HTML, table or heading comes of it.

    Args:
        text: Of anybody.

    Returns:
        One line, for a paragraph, a heading or a cell of a table.

    Example:
        >>> markdown("![x](b.png) <b>|")
        '\\\\!\\\\[x\\\\](b.png) \\\\<b\\\\>\\\\|'
    """
    line = _SPACE.sub(" ", printable(text)).strip()
    return _LINK.sub(_JOINER, _MARKDOWN.sub(_disarmed, line))


def cell(text: str) -> str:
    """Write a text so that a reader of markdown and one that shows it as it stands show the same, and make nothing of it.

    For the cells of table artifacts: Prefect's older UI reads them as markdown, its newer one shows them as they are.

    Args:
        text: Of anybody.

    Returns:
        One line.

    Example:
        >>> cell("(#131047) 24 hours").replace(_JOINER, "")
        '(#131047) 24 hours'
    """
    line = _SPACE.sub(" ", printable(text)).strip()
    return _LINK.sub(_JOINER, _PARTED.sub(_JOINER, line.translate(_ALIKE)))


def _disarmed(found: re.Match[str]) -> str:
    return found[0] + "\\" if found[0].isdigit() else "\\" + found[0]  # 1\. and not \1.


def spreadsheet(text: str) -> str:
    """Write a text so that no spreadsheet calculates it: a leading apostrophe says that it is text.

    Also where a program splits the file at another separator than its own: a formula after `;`, a tab or a quotation
    mark within the text gets an apostrophe too.

    Example:
        >>> spreadsheet("=1+1"), spreadsheet("+16505550123"), spreadsheet("Ada;=1+1")
        ("'=1+1", '+16505550123', "Ada;'=1+1")
    """
    if _E164.fullmatch(text):
        return text
    return ("'" if _FORMULA.match(text) else "") + _FORMULA_WITHIN.sub(r"\1'", text)
