"""Which versions of the Graph API Meta runs, and until when: the one place that knows a date.

Meta runs a version for at least two years after the next one came out, and says so once the next one is out.

Source: https://developers.facebook.com/docs/graph-api/changelog/versions
"""

import datetime

# When a version came out, and when it ends; None where its successor isn't out yet.
VERSIONS: dict[str, tuple[datetime.date, datetime.date | None]] = {
    "v21.0": (datetime.date(2024, 10, 2), datetime.date(2027, 1, 21)),
    "v22.0": (datetime.date(2025, 1, 21), datetime.date(2027, 5, 20)),
    "v23.0": (datetime.date(2025, 5, 29), datetime.date(2027, 10, 8)),
    "v24.0": (datetime.date(2025, 10, 8), datetime.date(2028, 2, 18)),
    "v25.0": (datetime.date(2026, 2, 18), datetime.date(2028, 7, 29)),
    "v26.0": (datetime.date(2026, 7, 29), None),
}
DEFAULT_VERSION = "v26.0"

_AT_LEAST = datetime.timedelta(days=2 * 365)


def lives_until(version: str) -> datetime.date | None:
    """Say until when a version surely runs; None for one that this table doesn't know.

    Example:
        >>> lives_until("v25.0")
        datetime.date(2028, 7, 29)
        >>> lives_until("v26.0")
        datetime.date(2028, 7, 28)
    """
    if version not in VERSIONS:
        return None
    released, ends = VERSIONS[version]
    return ends or released + _AT_LEAST
