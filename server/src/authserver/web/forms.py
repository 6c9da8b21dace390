"""Form bodies and query strings, read straight from the bytes (RFC 6749 appendix B)."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import unquote_to_bytes, urlencode

from authserver.protocol.errors import InvalidRequest
from authserver.protocol.quoting import quoted
from authserver.web.http import BodyTooLarge, HttpRequest

MAX_FORM_BYTES = 64 * 1024
MAX_PARAMETERS = 4096

_FORM = "application/x-www-form-urlencoded"
UNREADABLE_FORM = "invalid form body"
_UNREADABLE_QUERY = "invalid query string"
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


LONGEST: Mapping[str, int] = MappingProxyType(
    {
        "acr_values": 1024,
        "actor_token": 16 * 1024,
        "actor_token_type": 256,
        "assertion": 16 * 1024,
        "audience": 2048,
        "client_assertion": 16 * 1024,
        "client_assertion_type": 256,
        "client_id": 2048,
        "client_secret": 1024,
        "code": 512,
        "code_challenge": 128,
        "code_challenge_method": 64,
        "code_verifier": 512,
        "device_code": 512,
        "dpop_jkt": 256,
        "grant_type": 256,
        "login_hint": 512,
        "max_age": 32,
        "nonce": 1024,
        "prompt": 256,
        "redirect_uri": 2048,
        "refresh_token": 512,
        "resource": 2048,
        "response_mode": 64,
        "response_type": 256,
        "scope": 8192,
        "state": 4096,
        "subject_token": 16 * 1024,
        "subject_token_type": 256,
        "ticket": 16 * 1024,
        "token_type_hint": 256,
        "ui_locales": 512,
    }
)
"""The most characters of each parameter. ``token`` is bounded by the form alone: what is no token of ours is inactive."""


class Form:
    """Parameters by name. An empty value counts as not sent (RFC 6749 §3.1)."""

    __slots__ = ("_unreadable", "_values")

    def __init__(self, values: dict[str, list[str]], unreadable: InvalidRequest | None = None) -> None:
        """Take every value of each name in the order sent, empty ones too, and what is wrong with what was left out."""
        self._values = values
        self._unreadable = unreadable

    def get(self, name: str) -> str | None:
        """Return the first value of a parameter, or None."""
        for value in self._values.get(name, ()):
            if value:
                return value
        return None

    def required(self, name: str) -> str:
        """Return the first value of a parameter.

        Raises:
            InvalidRequest: It was not sent.
        """
        value = self.get(name)
        if value is None:
            raise InvalidRequest(f"{name} is required", reason="parameter_missing")
        return value

    def values(self, name: str) -> list[str]:
        """Return every value of a parameter, in the order sent."""
        return [value for value in self._values.get(name, ()) if value]

    def spell(self, *, without: str) -> str:
        """Return all parameters but one as a text that tells them apart from any others, however they were escaped."""
        return urlencode([pair for pair in self._values.items() if pair[0] != without], doseq=True)

    def check_readable(self) -> None:
        """Check that every parameter could be read.

        Raises:
            InvalidRequest: One could not and was left out.
        """
        if self._unreadable is not None:
            raise _again(self._unreadable)

    def check_lengths(self) -> None:
        """Check that no parameter is longer than anybody needs.

        Raises:
            InvalidRequest: One is; the description names it and its limit.
        """
        for name, values in self._values.items():
            longest = LONGEST.get(name)
            if longest is None:
                continue
            for value in values:
                if len(value) > longest:
                    raise InvalidRequest(f"{name} is longer than {longest} characters", reason="parameter_too_long")

    def repeated(self) -> list[str]:
        """Return the names given more than once, empty values counted."""
        return [name for name, values in self._values.items() if len(values) > 1]


def parse_form(body: bytes) -> Form:
    """Read a form body.

    Raises:
        InvalidRequest: It has more than 4096 parameters or a broken escape; or a parameter, which the description names,
            is not UTF-8 or holds a NUL.
    """
    return _parse(body, UNREADABLE_FORM)


def parse_query(query: bytes, *, skip_unreadable: bool = False) -> Form:
    """Read a query string; as ``parse_form``.

    Args:
        query: Without ``?``.
        skip_unreadable: Leave out a parameter that cannot be read, for ``check_readable`` to tell of: the others may say
            where a refusal belongs.
    """
    return _parse(query, _UNREADABLE_QUERY, skip_unreadable=skip_unreadable)


async def read_form(request: HttpRequest, *, max_bytes: int = MAX_FORM_BYTES) -> Form:
    """Read the body of a form post. A body of another type is not looked at, so its parameters are missing.

    Raises:
        InvalidRequest: The body is too long or unreadable.
    """
    content_type = request.header(b"content-type") or ""
    if content_type != _FORM and content_type.partition(";")[0].strip().lower() != _FORM:
        return Form({})
    try:
        body = await request.body(max_bytes=max_bytes)
    except BodyTooLarge as exc:
        raise InvalidRequest(UNREADABLE_FORM, reason="body_too_large") from exc
    return parse_form(body)


def _parse(encoded: bytes, unreadable: str, *, skip_unreadable: bool = False) -> Form:
    usual = _read_usual(encoded)
    return _read_any(encoded, unreadable, skip_unreadable=skip_unreadable) if usual is None else Form(usual)


def _read_usual(encoded: bytes) -> dict[str, list[str]] | None:
    """Return the parameters where all is ASCII and the escapes are those that a URL needs; None where it is not."""
    values: dict[str, list[str]] = {}
    if not encoded:
        return values
    if not encoded.isascii():
        return None
    # These stand for nothing that separates parameters; and what is broken, however it overlaps, leaves a percent sign.
    text = encoded.decode("ascii").replace("+", " ").replace("%3A", ":").replace("%2F", "/")
    if "%" in text or "\0" in text:
        return None
    parts = text.split("&", MAX_PARAMETERS)
    if len(parts) > MAX_PARAMETERS:
        return None
    for part in parts:
        if part:
            name, _, value = part.partition("=")
            values.setdefault(name, []).append(value)
    return values


def _read_any(encoded: bytes, unreadable: str, *, skip_unreadable: bool) -> Form:
    values: dict[str, list[str]] = {}
    parts = encoded.split(b"&", MAX_PARAMETERS)
    if len(parts) > MAX_PARAMETERS:
        raise InvalidRequest(unreadable, reason="form_unreadable")
    refusal = None
    for part in parts:
        if not part:
            continue
        try:
            name, value = _read_pair(part, unreadable)
        except InvalidRequest as exc:
            if not skip_unreadable:
                raise
            refusal = refusal or _again(exc)
            continue
        values.setdefault(name, []).append(value)
    return Form(values, refusal)


def _again(exc: InvalidRequest) -> InvalidRequest:
    """Return the same refusal anew: what was raised holds the frames that it went through, and with them what holds it."""
    return InvalidRequest(exc.description, reason=exc.reason)


def _read_pair(part: bytes, unreadable: str) -> tuple[str, str]:
    raw_name, _, raw_value = part.partition(b"=")
    # To look for bytes with `in` costs an exception, raised and dropped.
    if part.find(b"%") >= 0 or part.find(b"+") >= 0:
        if _BROKEN_ESCAPE.search(part):
            raise InvalidRequest(unreadable, reason="form_unreadable")
        raw_name = unquote_to_bytes(raw_name.replace(b"+", b" "))
        raw_value = unquote_to_bytes(raw_value.replace(b"+", b" "))
    try:
        name, value = raw_name.decode(), raw_value.decode()
    except UnicodeDecodeError as exc:
        raise InvalidRequest(
            f"{quoted(raw_name.decode(errors='replace'))} is not UTF-8", reason="parameter_unreadable"
        ) from exc
    if "\0" in value or "\0" in name:
        # PostgreSQL stores no NUL, and no parameter of ours has one.
        raise InvalidRequest(
            f"{quoted(name)} holds a character that no parameter may have", reason="parameter_unreadable"
        )
    return name, value
