"""What a service can't carry of the cards is said, in the plan and in the log."""

from typing import cast

import pytest
from prefect_whatsapp.blocks import ChatApiCredentials
from prefect_whatsapp.ledger import LedgerStore
from prefect_whatsapp.models import Contact
from prefect_whatsapp.tasks.content import ContactsContent
from pydantic import SecretStr

SENDER = ChatApiCredentials(base_url="https://service.test", instance_id="1", token=SecretStr("t0k3n"))
ADA = Contact(name="Ada Byron", phone="+16505550199")
NUMBER = Contact(phone="+16505550197")
BOB = Contact(name="Bob", phone="+16505550198")


@pytest.mark.parametrize(
    ("cards", "lost"),
    [([ADA, BOB], "phone book"), ([ADA], "where the list names one: the message to quote"), ([NUMBER], "")],
)
async def test_the_plan_warns_of_what_is_left_out(cards: list[Contact], lost: str) -> None:
    content = ContactsContent(cards, SENDER)
    await content.load(cast(LedgerStore, None), SENDER.dialect())
    warned = " ".join(content.warnings)
    assert lost in warned
    assert bool(warned) == bool(lost)
