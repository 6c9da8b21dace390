"""What was found, as a record."""

from dataclasses import dataclass

from authserver.doctor.catalogue import CODES
from authserver.doctor.codes import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        url: Where it was seen; empty for what concerns the token alone.
        seen: What was there, in words or as it was spelled.
        expected: What should have been there, when that is a value.
    """

    code: Code
    url: str
    seen: str
    expected: str | None = None


def finding(name: str, *, url: str, seen: str, expected: str | None = None) -> Finding:
    """Return a finding of the code with this name."""
    return Finding(code=CODES[name], url=url, seen=seen, expected=expected)
