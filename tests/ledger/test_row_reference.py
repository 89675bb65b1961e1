"""`broadcast:NAME?state=skipped`."""

import pytest
from prefect_whatsapp.ledger.row_reference import read_reference, states_named
from prefect_whatsapp.models import ACCEPTED_STATES, SendState
from prefect_whatsapp.models.errors import InputError


def test_a_reference_names_a_broadcast_and_states() -> None:
    reference = read_reference("broadcast:spring greeting?state=skipped&state=failed")
    assert reference is not None
    assert reference == ("spring greeting", {SendState.SKIPPED, SendState.FAILED})


def test_without_a_state_all_rows_are_meant() -> None:
    assert read_reference("broadcast:weekly") == ("weekly", None)


def test_accepted_means_what_it_means_in_a_report() -> None:
    assert states_named(["accepted"]) == ACCEPTED_STATES


@pytest.mark.parametrize("wrong", ["broadcast:", "broadcast:weekly?state=lost", "broadcast:weekly?stat=skipped"])
def test_what_can_not_be_meant_is_refused(wrong: str) -> None:
    with pytest.raises(InputError):
        read_reference(wrong)


def test_a_file_is_no_reference() -> None:
    assert read_reference("lists/broadcast.csv") is None
