"""The plan's page."""

import datetime
from collections import Counter

import pytest
from prefect_whatsapp.blocks import GraphCredentials
from prefect_whatsapp.models import Contact, SendState
from prefect_whatsapp.providers.dialect import AccountStatus
from prefect_whatsapp.recipients.source import Planned
from prefect_whatsapp.reporting.pages import approved, plan
from prefect_whatsapp.tasks.content import ContactsContent


@pytest.mark.parametrize("limit", ["2,000 people in 24 hours", ""])
def test_the_plan_tells_the_messaging_limit_and_whom_it_does_not_concern(limit: str) -> None:
    message = ContactsContent([Contact(name="Ada Byron", phone="+442079460000")], GraphCredentials())
    account = AccountStatus(ready=True, state="GREEN", messaging_limit=limit)
    page = plan("weekly", Planned(usable=3, countries=Counter()), message, account, {SendState.QUEUED: 3}, 0.0)
    assert ("2,000 people in 24 hours" in page) == bool(limit)
    assert ("who wrote to you within the last 24 hours" in page) == bool(limit)


def test_one_message_is_no_messages() -> None:
    message = ContactsContent([Contact(name="Ada Byron", phone="+442079460000")], GraphCredentials())
    account = AccountStatus(ready=True, state="GREEN")
    page = plan("weekly", Planned(usable=1, countries=Counter()), message, account, {SendState.QUEUED: 1}, 0.0)
    assert "**1 message** to send" in page
    assert "1 message at most, one per recipient" in page


def test_an_approval_takes_the_place_of_the_wait_for_it_and_of_nothing_else() -> None:
    at = datetime.datetime(2026, 11, 21, 9, 0, tzinfo=datetime.UTC)
    page = "# Plan\n\n> Waiting for approval: look at it.\n\n> 2 recipients have opted out.\n"
    changed = page.replace("Waiting for approval: look at it.", "Approved on 21 Nov 2026 at 09:00:00 UTC.")
    assert approved(page, at) == changed
    assert approved(changed, at) == changed
