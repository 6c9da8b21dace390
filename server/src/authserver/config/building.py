"""From values by path to the typed sections."""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

from authserver.config.declaring import Declared, declared_keys

S = TypeVar("S")


def in_whole_seconds(seconds: float, declared: Declared) -> float:
    """Return a duration as its key counts it: whole seconds are rounded away from zero, so none turns into "off"."""
    if not declared.whole:
        return seconds
    return math.ceil(seconds) if seconds > 0 else math.floor(seconds)


def build_section(section: type[S], values: Mapping[str, Any]) -> S:
    """Make a section from the values given, by path within it; what is not given has its default."""
    settled = {
        declared.path: _settled(declared, values[declared.path])
        for declared in declared_keys(section)
        if declared.path in values
    }
    built: S = _build(section, settled)
    return built


def _settled(declared: Declared, value: Any) -> Any:
    """Apply what the key says about blanks and case."""
    key = declared.key
    if key.folded:
        value = value.lower()
    if key.blank_is_default and (not value or (isinstance(value, int | float) and value < 0)):
        return declared.default
    return value


def _build(section: Any, values: Mapping[str, Any]) -> Any:
    hints = get_type_hints(section)
    members = {}
    for field in fields(section):
        below = f"{field.name}."
        nested = {path.removeprefix(below): value for path, value in values.items() if path.startswith(below)}
        if field.name in values:
            members[field.name] = values[field.name]
        elif nested:
            members[field.name] = _build(hints[field.name], nested)
    return section(**members)
