"""What the doctor found, by what it is about."""

from prefect_whatsapp.cli.findings import Finding


def line(findings: list[Finding], what: str) -> Finding:
    """The one finding about something."""
    (found,) = [finding for finding in findings if finding.what == what]
    return found
