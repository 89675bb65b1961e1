"""A saved notification is sent by the account that was chosen, whichever service's: Prefect's server loads it so."""

from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect_whatsapp.blocks import WhatsAppNotification
from senders import PROVIDERS, sender_of


@pytest.mark.server
@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("saved", [True, False], ids=["a saved account", "an account of its own"])
async def test_it_is_loaded_with_the_account_that_was_chosen(provider: str, saved: bool) -> None:
    account: Any = sender_of(provider, "http://127.0.0.1:9")
    if saved:
        await account.asave("notifying", overwrite=True)
    await WhatsAppNotification(sender=account, to="+16505550142").asave("told", overwrite=True)
    try:
        loaded = await WhatsAppNotification.aload("told")
        async with get_client() as client:  # as the server does for an automation
            document = await client.read_block_document_by_name("told", "whatsapp-notification", include_secrets=True)
        by_server = WhatsAppNotification.model_validate(document.data)
    finally:
        await WhatsAppNotification.adelete("told")
        if saved:
            await type(account).adelete("notifying")
    for each in (loaded, by_server):
        assert type(each.sender) is type(account)
        assert each.sender.dialect().account == account.dialect().account


@pytest.mark.parametrize("provider", PROVIDERS)
def test_an_account_that_an_older_version_saved_is_still_the_one_that_was_chosen(provider: str) -> None:
    fields = sender_of(provider, "http://127.0.0.1:9").model_dump(context={"include_secrets": True}, mode="json")
    for missing in (set(), {"base_url", "level_loudness", "webhook_secret", "webhook_hmac_key", "app_secret"}):
        saved = {name: value for name, value in fields.items() if name not in {*missing, "block_type_slug"}}
        loaded = WhatsAppNotification.model_validate({"sender": {**saved, "removed_since": 1}, "to": "+16505550142"})
        assert type(loaded.sender) is type(sender_of(provider, "http://127.0.0.1:9"))
