"""Form bodies and query strings, read straight from the bytes (RFC 6749 appendix B)."""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from authserver.protocol.errors import InvalidRequest
from authserver.protocol.quoting import quoted
from authserver.web.http import BodyTooLarge, HttpRequest

MAX_FORM_BYTES = 64 * 1024
MAX_PARAMETERS = 64

_FORM = b"application/x-www-form-urlencoded"
_UNREADABLE = "invalid form body"
_CONTROL = re.compile(r"[\x00]")


class Form:
    """Parameters by name. An empty value counts as not sent (RFC 6749 §3.1)."""

    __slots__ = ("_given", "_values")

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        self._given: dict[str, int] = {}
        for name, value in pairs:
            self._given[name] = self._given.get(name, 0) + 1
            if value:
                self._values.setdefault(name, []).append(value)

    def get(self, name: str) -> str | None:
        """Return the first value of a parameter, or None."""
        values = self._values.get(name)
        return values[0] if values else None

    def required(self, name: str) -> str:
        """Return the first value of a parameter.

        Raises:
            InvalidRequest: It was not sent.
        """
        values = self._values.get(name)
        if not values:
            raise InvalidRequest(f"{name} is required")
        return values[0]

    def values(self, name: str) -> list[str]:
        """Return every value of a parameter, in the order sent."""
        return list(self._values.get(name, ()))

    def repeated(self) -> list[str]:
        """Return the names given more than once, empty values counted."""
        return [name for name, count in self._given.items() if count > 1]


def parse_form(body: bytes) -> Form:
    """Read a form body.

    Raises:
        InvalidRequest: It holds too many parameters, a broken escape, a NUL, or text that is not UTF-8; the description
            names the parameter.
    """
    return Form(_pairs(body)) if body else Form(())


def parse_query(query: bytes) -> Form:
    """Read a query string; as ``parse_form``."""
    return parse_form(query)


async def read_form(request: HttpRequest, *, max_bytes: int = MAX_FORM_BYTES) -> Form:
    """Read the body of a form post. A body of another type is not looked at, so its parameters are missing.

    Raises:
        InvalidRequest: The body is too long or unreadable.
    """
    content_type = request.header(b"content-type") or ""
    if content_type.partition(";")[0].strip().lower().encode("latin-1") != _FORM:
        return Form(())
    try:
        body = await request.body(max_bytes=max_bytes)
    except BodyTooLarge as exc:
        raise InvalidRequest(_UNREADABLE) from exc
    return parse_form(body)


def _pairs(body: bytes) -> Iterable[tuple[str, str]]:
    parts = body.split(b"&", MAX_PARAMETERS)
    if len(parts) > MAX_PARAMETERS:
        raise InvalidRequest(_UNREADABLE)
    for part in parts:
        if not part:
            continue
        raw_name, _, raw_value = part.partition(b"=")
        name = _decode(raw_name, "a parameter name")
        yield name, _decode(raw_value, name)


def _decode(raw: bytes, name: str) -> str:
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        raw = unquote_to_bytes(raw)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidRequest(f"{quoted(name)} is not UTF-8") from exc
    if _CONTROL.search(text):
        # PostgreSQL stores no NUL, and no parameter of ours has one.
        raise InvalidRequest(f"{quoted(name)} holds a character that no parameter may have")
    return text
