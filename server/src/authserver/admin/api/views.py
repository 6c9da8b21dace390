"""What several nouns answer with."""

from datetime import UTC, datetime

from typing_extensions import TypedDict


class Status(TypedDict):
    """What became of the thing."""

    status: str


def build_time(seconds: int) -> str:
    """Return a time as the API writes it: UTC, RFC 3339, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
