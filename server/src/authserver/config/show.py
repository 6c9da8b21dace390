"""What ``config show`` prints: every key with its effective value and where that came from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from authserver.config.declaring import Kind, declared_keys, value_at
from authserver.config.durations import spell_duration
from authserver.config.loader import LoadedConfig
from authserver.config.model import Config
from authserver.config.secret import Secret

MASK = "***"
_SECRET_NAME = re.compile(r"(?:secret|password|key|token)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ShownValue:
    """One line.

    Attributes:
        path: The key, ``dcr.mode``.
        value: Ready for JSON; durations as they are written, a secret as ``***``, an empty one as the empty text.
        source: ``default``, ``file``, an environment variable, or ``not in this build``.
    """

    path: str
    value: object
    source: str


def shown_values(loaded: LoadedConfig) -> list[ShownValue]:
    """Return every key in the order of the declaration."""
    return [
        ShownValue(key.path, plain_value(key.kind, value_at(loaded.config, key.path)), loaded.sources[key.path])
        for key in declared_keys(Config)
    ]


def plain_value(kind: Kind, value: Any) -> object:
    """Return a value as it may be printed."""
    if kind in {Kind.DURATION, Kind.STRICT_DURATION}:
        return spell_duration(value)
    return _plain(value)


def _plain(value: Any) -> object:
    if isinstance(value, Secret):
        return MASK if value else ""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        # A free map may hold a secret in the open; the names ending in _ref and _url do not.
        return {name: MASK if _SECRET_NAME.search(str(name)) and item else _plain(item) for name, item in value.items()}
    return value
