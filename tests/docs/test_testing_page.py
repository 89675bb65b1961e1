"""The page on testing names every fault and every account of the sandbox."""

from pathlib import Path

from prefect_whatsapp.sandbox.faults import FaultKind
from prefect_whatsapp.sandbox.settings import SandboxSettings

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "testing.md").read_text(encoding="utf-8")


def test_every_kind_of_fault_is_on_the_page() -> None:
    assert not [kind for kind in FaultKind if f"| `{kind}` |" not in PAGE]


def test_every_account_of_the_sandbox_is_on_the_page() -> None:
    known = SandboxSettings()
    for field, value in {
        "phone_number_id": known.phone_number_id,
        "instance_id": known.chat_api_instance,
        "session": known.waha_session,
    }.items():
        assert f'{field}="{value}"' in PAGE
    assert f'instance_id="{known.wawp_instance}"' in PAGE
    assert f"`{known.token}`" in PAGE
