"""JSON that commands take from files."""

import sys
from pathlib import Path
from typing import Any

import click
import orjson

MAX_FILE_BYTES = 1024 * 1024
STDIN = "-"


def read_json(path: str) -> Any:
    """Return what a file holds; ``-`` is standard input.

    Raises:
        ClickException: It cannot be read, is larger than a mebibyte, or is not JSON. Nothing of it is repeated.
    """
    try:
        content = sys.stdin.read(MAX_FILE_BYTES + 1).encode() if path == STDIN else _read(Path(path))
    except (OSError, UnicodeError) as exc:
        raise click.ClickException(f"{path} cannot be read") from exc
    if len(content) > MAX_FILE_BYTES:
        raise click.ClickException(f"{path} is larger than 1 MiB")
    return parse_json(content, path)


def parse_json(content: bytes | str, named: str) -> Any:
    """Return what a text means in JSON.

    Args:
        content: The text.
        named: What a refusal calls it.

    Raises:
        ClickException: It is not JSON.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as exc:
        raise click.ClickException(f"{named} is not JSON: {exc}") from exc


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)
