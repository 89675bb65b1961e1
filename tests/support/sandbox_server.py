"""A sandbox on a free port of this machine, for tests of any room."""

from prefect_whatsapp.sandbox.server import RunningSandbox, ThreadedSandbox
from prefect_whatsapp.sandbox.settings import SandboxSettings

TOKEN = SandboxSettings().token
PHONE_NUMBER_ID = SandboxSettings().phone_number_id
CHAT_API_INSTANCE = SandboxSettings().chat_api_instance
WAWP_INSTANCE = SandboxSettings().wawp_instance


def threaded(**settings: object) -> ThreadedSandbox:
    """A sandbox in a thread of this process; `app` gives its truth and faults directly."""
    return ThreadedSandbox(SandboxSettings.model_validate(settings))


def subprocess(**settings: object) -> RunningSandbox:
    """A sandbox in a process of its own, which survives what is done to the test's other processes."""
    return RunningSandbox(SandboxSettings.model_validate(settings))
