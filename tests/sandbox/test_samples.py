"""Sample numbers: enough for a large broadcast, each once, and of ranges that nobody has."""

import phonenumbers
import pytest
from prefect_whatsapp.sandbox.samples import MOST_NUMBERS, sample_numbers


def test_every_number_is_another_and_there_are_no_more_than_were_said() -> None:
    assert len(set(sample_numbers(MOST_NUMBERS))) == MOST_NUMBERS >= 100_000
    with pytest.raises(ValueError, match="numbers for fiction"):
        sample_numbers(MOST_NUMBERS + 1)


@pytest.mark.parametrize("every", [997])
def test_they_are_valid_as_a_list_s_numbers_must_be(every: int) -> None:
    numbers = [*sample_numbers(MOST_NUMBERS)][::every]
    assert all(phonenumbers.is_valid_number(phonenumbers.parse(number)) for number in numbers[78:])
    assert all("55501" in number for number in numbers[:77])
