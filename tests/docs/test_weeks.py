"""A week is written in one way: the same week under two names is two broadcasts, and everybody gets both."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
# `weekly-2026-47` beside `weekly-2026-W47`; a date has a day behind the month.
_ANOTHER_WAY = re.compile(r"[a-z]-20\d\d-\d\d(?![\d-])")


def test_no_document_and_no_deployment_writes_a_week_without_its_w() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    texts = [
        name for name in listed.split("\0") if name.endswith((".md", ".yaml", ".py")) and not name.startswith("tests/")
    ]
    assert len(texts) > 100
    found = {name: _ANOTHER_WAY.findall((ROOT / name).read_text(encoding="utf-8")) for name in texts}
    assert not {name: weeks for name, weeks in found.items() if weeks}


def test_another_way_would_be_found() -> None:
    assert _ANOTHER_WAY.search("weekly-2026-47")
    assert not _ANOTHER_WAY.search("weekly-2026-W47, daily-2026-11-20")
