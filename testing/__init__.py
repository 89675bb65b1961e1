"""A pytest plugin: the simulated services, a ledger and saved blocks for the tests of your own flows.

Put it into your `conftest.py`; it needs `prefect-whatsapp[sandbox]` and pytest:

    pytest_plugins = ["prefect_whatsapp.testing"]

and a test has what a broadcast needs:

    def test_everyone_gets_the_note(whatsapp_sandbox, whatsapp_sender):
        asyncio.run(my_broadcast(sender=whatsapp_sender("graph")))
        assert whatsapp_sandbox.truth()["accepted_total"] == 200

Each test has a ledger of its own (`PREFECT_WHATSAPP_LEDGER` points into its `tmp_path`), so that a broadcast's name can
be used in every test, and a test run never meets the ledger of this machine.
"""

from .plugin import (
    whatsapp_blocks,
    whatsapp_ledger,
    whatsapp_receiver,
    whatsapp_sandbox,
    whatsapp_sender,
    whatsapp_services,
)

__all__ = [
    "whatsapp_blocks",
    "whatsapp_ledger",
    "whatsapp_receiver",
    "whatsapp_sandbox",
    "whatsapp_sender",
    "whatsapp_services",
]
