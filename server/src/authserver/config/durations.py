"""Durations as operators write them: ``1h30m``, ``168h``, ``1.5s``; there is no unit for days."""

import re
from fractions import Fraction
from typing import Final

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE

_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "\u00b5s": 10**3,  # micro sign
    "\u03bcs": 10**3,  # Greek mu
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_PART = r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)"
DURATION_PATTERN: Final = rf"[-+]?(?:{_PART})+"
_DURATION = re.compile(DURATION_PATTERN)
_PARTS = re.compile(_PART)
_LONGEST = 2**63 - 1  # nanoseconds, 292 years: what existing deployments could express
_LONGEST_TEXT = 100


def parse_duration(text: str) -> float:
    """Return the seconds of ``text``: an ``int`` where they are whole, a ``float`` otherwise.

    Raises:
        ValueError: Not one or more ``<decimal><unit>`` with an optional sign, or beyond 292 years.
    """
    if len(text) > _LONGEST_TEXT or not _DURATION.fullmatch(text):
        raise ValueError("not a duration")
    nanoseconds = int(sum(Fraction(number) * _NANOSECONDS[unit] for number, unit in _PARTS.findall(text)))
    if nanoseconds > _LONGEST:
        raise ValueError("longer than 292 years")
    if text[0] == "-":
        nanoseconds = -nanoseconds
    seconds, rest = divmod(nanoseconds, 10**9)
    return nanoseconds / 10**9 if rest else seconds


def spell_duration(seconds: float) -> str:
    """Return ``seconds`` in hours, minutes and seconds, without parts that are zero: ``168h``, ``1m30s``, ``0s``."""
    sign = "-" if seconds < 0 else ""
    minutes, rest = divmod(abs(seconds), MINUTE)
    hours, minutes = divmod(int(minutes), MINUTE)
    parts = (f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{_plain(rest)}s" if rest else "")
    return sign + "".join(parts) if any(parts) else "0s"


def _plain(seconds: float) -> str:
    """Write a number of seconds without exponent or superfluous zeros."""
    text = f"{seconds:.9f}"
    return text.rstrip("0").rstrip(".")
