"""A number with its noun, for a sentence that a person reads."""


def counted(number: int, one: str, several: str = "") -> str:
    """Write a number with what it counts, in the singular or the plural.

    Args:
        number: How many.
        one: What follows the number 1: a noun, or all the words that change with it.
        several: What follows every other number; empty for `one` with an s.

    Example:
        >>> counted(1, "row"), counted(1_200, "row"), counted(0, "reply", "replies")
        ('1 row', '1,200 rows', '0 replies')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"
