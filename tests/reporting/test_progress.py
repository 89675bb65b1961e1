"""What the progress artifact says while a broadcast runs."""

import pytest
from prefect_whatsapp.reporting import pages


@pytest.mark.parametrize(
    ("done", "in_flight", "seconds_left", "said"),
    [
        (0, 0, None, "0 of 1,000 done"),
        (0, 1, None, "0 of 1,000 done, 1 in flight"),
        (412, 16, 75.4, "412 of 1,000 done, 16 in flight, about 1 min 15 s left"),
        (1_000, 0, None, "1,000 of 1,000 done"),
    ],
)
def test_it_says_how_many_are_done_and_how_many_are_in_flight(
    done: int, in_flight: int, seconds_left: float | None, said: str
) -> None:
    assert pages.progress(done, 1_000, in_flight=in_flight, seconds_left=seconds_left) == said
