"""How a value that somebody sent is repeated in a description."""

import re

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_LONGEST = 200


def quoted(value: str) -> str:
    """Return ``value`` between single quotes: printable ASCII, at most 200 characters of it.

    Quotation marks and backslashes, which a description may not hold (RFC 6749 §5.2), become ``?`` too.
    """
    shown = value if len(value) <= _LONGEST else value[: _LONGEST - 3] + "..."
    return "'" + _UNPRINTABLE.sub("?", shown).replace('"', "?").replace("\\", "?") + "'"
