"""Times in words: RFC 3339, with its offset."""

import re
from datetime import UTC, datetime

LAST_SECOND = 253_402_300_799
"""The end of the year 9999, UTC: what is later cannot be written as a time again."""

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)


def parse_time(text: str) -> int | None:
    """Return the second of a time; None when the text is none.

    Args:
        text: A fraction of the second may be there and is dropped.
    """
    if not _TIME.fullmatch(text):
        return None
    try:
        seconds = int(datetime.fromisoformat(re.sub(r"\.\d+", "", text.upper())).timestamp())
    except (ValueError, OverflowError):
        return None
    # An offset may lead out of the years that there are.
    return seconds if seconds <= LAST_SECOND else None


def spell_time(seconds: int) -> str:
    """Return a time as it is shown everywhere: UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
