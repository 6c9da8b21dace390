"""Headers as they are sent: nothing that a value holds can become a header or a body of its own."""

Headers = tuple[tuple[bytes, bytes], ...]

# What no header has; a tab is allowed, though nobody writes one.
_CONTROLS = bytes([*range(9), *range(10, 32), 127])

_constant: dict[Headers, bytes] = {}


def constant_headers(*headers: tuple[bytes, bytes]) -> Headers:
    """Return headers that an endpoint gives to answer after answer, spelled once for all of them.

    Not for what takes the place of a header of every answer.
    """
    _constant[headers] = spell(headers)
    return headers


def spell_constant(headers: Headers) -> bytes | None:
    """Return what ``spell`` returned for headers that are constant; None of others."""
    return _constant.get(headers)


def spell(headers: Headers) -> bytes:
    """Return headers as they are sent.

    Raises:
        ValueError: One holds a character that none may have.
    """
    spelled = b"".join([b"%s: %s\r\n" % header for header in headers])
    if len(spelled) - len(spelled.translate(None, _CONTROLS)) != 2 * len(headers):
        raise ValueError("a header holds a control character")
    return spelled
