"""The plan's page."""

from collections import Counter

import pytest
from prefect_whatsapp.blocks import GraphCredentials
from prefect_whatsapp.models import Contact, SendState
from prefect_whatsapp.providers.dialect import AccountStatus
from prefect_whatsapp.recipients.source import Planned
from prefect_whatsapp.reporting.pages import plan
from prefect_whatsapp.tasks.content import ContactsContent


@pytest.mark.parametrize("limit", ["2,000 people in 24 hours", ""])
def test_the_plan_tells_the_messaging_limit_and_whom_it_does_not_concern(limit: str) -> None:
    message = ContactsContent([Contact(name="Ada Byron", phone="+442079460000")], GraphCredentials())
    account = AccountStatus(ready=True, state="GREEN", messaging_limit=limit)
    page = plan("weekly", Planned(usable=3, countries=Counter()), message, account, {SendState.QUEUED: 3}, 0.0)
    assert ("2,000 people in 24 hours" in page) == bool(limit)
    assert ("who wrote to you within the last 24 hours" in page) == bool(limit)
