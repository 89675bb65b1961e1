"""Repeats of a long list, in memory that does not grow with it."""

import itertools
import random

from memory import traced_peak
from prefect_whatsapp.recipients.reader import recipients_of
from prefect_whatsapp.recipients.repeats import IN_MEMORY, Repeats


def test_each_repeat_is_found_however_far_apart() -> None:
    count = IN_MEMORY * 3
    keys = [f"+1650{number:07}" if number % 3 else f"{number:013}@g.us" for number in range(count)]
    random.Random(3).shuffle(keys)
    with Repeats() as repeats:
        assert not any(repeats.seen(key) for key in keys)
        assert all(repeats.seen(key) for key in keys)


def test_memory_does_not_grow_with_the_list() -> None:
    def read(count: int) -> None:
        with Repeats() as repeats:
            for number in range(count):
                repeats.seen(f"+{10**10 + number}")

    small, large = traced_peak(lambda: read(IN_MEMORY * 2)), traced_peak(lambda: read(IN_MEMORY * 12))
    assert large < small * 1.1


def test_exactly_a_chunk_of_unusable_rows_is_a_list_without_a_usable_row_and_not_an_empty_one() -> None:
    for count in (1_999, 2_000, 2_001, 4_000):
        chunks = list(recipients_of(itertools.repeat("no number", count)))
        assert sum(len(chunk.removed) for chunk in chunks) == count


def test_the_second_spelling_of_an_account_is_a_repeat() -> None:
    one, other = "+55" + "11" + "9" + "90000001", "55" + "11" + "90000001" + "@c.us"
    (chunk,) = recipients_of([one, other])
    assert [recipient.to for recipient in chunk.usable] == [one]
    assert [row.reason for row in chunk.removed] == ["repeats an earlier row"]
