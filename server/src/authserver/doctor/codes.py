"""What a code of a finding is: where in the walk it belongs, what it means and what to change.

Codes are stable: scripts compare them. They stand in ``resource_codes.py`` and ``server_codes.py``.
"""

from dataclasses import dataclass
from enum import StrEnum


class Layer(StrEnum):
    """A step of the walk, in its order."""

    CONNECTION = "connection"
    CHALLENGE = "challenge"
    RESOURCE = "resource"
    SERVER = "server"
    KEYS = "keys"
    TOKEN = "token"  # noqa: S105  a layer, not a secret
    CLOCK = "clock"
    CORS = "cors"


class Severity(StrEnum):
    """Whether clients fail, or some clients, some day."""

    FAULT = "fault"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of finding.

    Attributes:
        meaning: What is wrong and whom it hurts.
        change: What to do about it.
    """

    name: str
    layer: Layer
    severity: Severity
    meaning: str
    change: str


Entries = dict[Layer, tuple[tuple[str, Severity, str, str], ...]]
"""For each layer its codes: name, severity, meaning, change."""
