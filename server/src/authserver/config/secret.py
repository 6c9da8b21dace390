"""Values that must never be printed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A configured secret; prints as ``***``, false while it is empty."""

    _value: str = ""

    def reveal(self) -> str:
        """Return the value itself, for the one call that needs it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


NO_SECRET = Secret()
