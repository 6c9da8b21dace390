"""The servers' clocks against this machine's."""

from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime

from authserver.doctor.findings import Finding, finding
from authserver.doctor.visiting import Answer, origin_of

TOLERANCE_SECONDS = 30


def skew_of(answer: Answer) -> int | None:
    """Return by how many seconds the server's clock is ahead; None when it does not say."""
    age = answer.header("age")  # a cache answered: the date is when it asked
    try:
        date = int(parsedate_to_datetime(answer.header("date")).timestamp())
        return date + (int(age) if age.isdecimal() else 0) - answer.received_at
    except (ValueError, OverflowError):
        return None


def skews(answers: Iterable[Answer]) -> dict[str, int]:
    """Return for each origin how far its clock is ahead, by its first answer that says."""
    found: dict[str, int] = {}
    for answer in answers:
        skew = skew_of(answer)
        if skew is not None:
            found.setdefault(origin_of(answer.url), skew)
    return found


def check_clocks(answers: Iterable[Answer]) -> Iterator[Finding]:
    """Find servers whose clock differs from this machine's."""
    for origin, skew in skews(answers).items():
        if abs(skew) > TOLERANCE_SECONDS:
            side = "ahead of" if skew > 0 else "behind"
            yield finding("clock-skew", url=origin, seen=f"{abs(skew)} s {side} this machine", expected="the same time")
