"""What ``config schema`` prints: the JSON Schema (2020-12) of the configuration file, for editors."""

from typing import Any

from authserver.config.declaring import Declared, Kind, declared_keys
from authserver.config.durations import DURATION_PATTERN
from authserver.config.model import Config
from authserver.config.show import plain_value

_TYPES = {
    Kind.STRING: "string",
    Kind.SECRET: "string",
    Kind.BOOL: "boolean",
    Kind.INT: "integer",
    Kind.FLOAT: "number",
    Kind.DURATION: "string",
    Kind.STRICT_DURATION: "string",
    Kind.LIST: "array",
    Kind.MAP: "object",
    Kind.ENTRIES: "array",
}


def json_schema() -> dict[str, Any]:
    """Return the schema; unknown keys pass, as they do in the loader, and null stands for "not given"."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "AuthPlane authorization server",
        **_section(Config),
    }


def _section(section: type[Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": ["object", "null"], "properties": {}}
    for declared in declared_keys(section):
        *parents, name = declared.path.split(".")
        place = schema
        for parent in parents:
            place = place["properties"].setdefault(parent, {"type": ["object", "null"], "properties": {}})
        place["properties"][name] = _key(declared)
    return schema


def _key(declared: Declared) -> dict[str, Any]:
    key, kind = declared.key, declared.kind
    schema: dict[str, Any] = {"type": [_TYPES[kind], "null"], "description": key.doc}
    if kind is not Kind.MAP:
        schema["default"] = plain_value(kind, declared.default)
    if kind is Kind.LIST:
        schema["items"] = {"type": "string"}
    if declared.entry is not None:
        schema["items"] = _section(declared.entry)
    if kind in {Kind.DURATION, Kind.STRICT_DURATION}:
        schema["pattern"] = f"^{DURATION_PATTERN}$"
    elif not key.when:
        schema |= _bounds(declared)
    if key.choices:
        folded = [choice.upper() for choice in key.choices] if key.folded else []
        blank = [""] if key.blank_is_default else []
        schema["enum"] = [*key.choices, *folded, *blank, None]
    return schema


def _bounds(declared: Declared) -> dict[str, Any]:
    key = declared.key
    named = {"minimum": key.least, "maximum": key.most, "exclusiveMinimum": key.above}
    return {name: bound for name, bound in named.items() if bound is not None}
