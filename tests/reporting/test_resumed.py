"""The report says how often a broadcast was resumed, when, and what each run left unknown."""

import datetime
from collections import Counter

from prefect_whatsapp.ledger import RunPart
from prefect_whatsapp.models import Report
from prefect_whatsapp.reporting import pages

START = datetime.datetime(2026, 11, 21, 9, 0, tzinfo=datetime.UTC)


def _part(began: float, ended: float | None, unknown: int = 0) -> RunPart:
    at = [START + datetime.timedelta(seconds=moment) for moment in (began, ended or 0)]
    return RunPart(at[0], at[1] if ended is not None else None, unknown)


def _page(*runs: RunPart) -> str:
    return pages.report("weekly", Report(broadcast="weekly"), Counter(), runs=runs)


def test_a_broadcast_that_was_never_resumed_says_nothing_of_it() -> None:
    assert "Resumed" not in _page(_part(0, 60))
    assert "Resumed" not in _page()


def test_each_resume_is_named_with_when_and_what_was_left_unknown() -> None:
    page = _page(_part(0, 30, 3), _part(30, 90, 1), _part(120, None))
    assert "It was resumed 2 times." in page
    assert "| 21 Nov 2026 at 09:00:00 UTC | 3 |" in page
    assert "| 21 Nov 2026 at 09:00:30 UTC | 1 |" in page
    assert "| 21 Nov 2026 at 09:02:00 UTC |  |" in page


def test_shards_beside_each_other_are_no_resume() -> None:
    assert pages.resumed([_part(0, 60), _part(1, 50), _part(20, 60)]) == []
    assert pages.resumed([_part(0, 60), _part(1, 50), _part(70, 80)]) == [_part(70, 80)]
