"""Ids of messages as one and the same message is called by an answer, a webhook and a look-up."""

import re

# `true_<chat>_<bare>`, in groups with `_<participant>` behind it. The chat is `…@c.us` in one event and `…@lid` in the
# next about the same message (devlikeapro/waha#1892); the bare part is the constant.
_SERIALIZED = re.compile(r"(?:true|false)_[^_\s]+_(?P<bare>[^_\s]+)(?:_\S*)?")
MAX_MESSAGE_ID = 512  # characters that are kept


def bare_message_id(message_id: str) -> str:
    """Give the part of a message's id that is the same wherever it is told.

    Args:
        message_id: As the service wrote it: `true_16505550123@c.us_3EB0AA`, `3EB0AA`, `wamid.HBgL…`.

    Returns:
        `3EB0AA`; a Graph `wamid` as it is.

    Example:
        >>> bare_message_id("true_777000111@lid_3EB0AA")
        '3EB0AA'
        >>> bare_message_id("true_120363000000001234@g.us_3EB0AA_16505550123@c.us")
        '3EB0AA'
        >>> bare_message_id("wamid.HBgL_x")
        'wamid.HBgL_x'
    """
    found = _SERIALIZED.fullmatch(message_id)
    return (found["bare"] if found else message_id)[:MAX_MESSAGE_ID]
