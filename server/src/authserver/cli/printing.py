"""How commands spell what they print."""

import re

import orjson

# Of what JSON leaves as it is: what a terminal obeys, and what turns the direction of text.
_UNSAFE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def as_text(value: str) -> str:
    """Return a text between quotation marks, those within it escaped."""
    return orjson.dumps(value).decode()


def as_json(value: object) -> str:
    """Return a value as the commands print JSON: indented by two, and nothing in it that a terminal obeys."""
    return _UNSAFE.sub(_escape, orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def as_json_line(value: object) -> str:
    """Return a value as JSON on one line, as safe."""
    return _UNSAFE.sub(_escape, orjson.dumps(value).decode())


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
