"""The members of a client's metadata, read with their JSON types checked."""

import re
from collections.abc import Mapping

import orjson

from authserver.protocol.errors import InvalidClientMetadata, InvalidRequest

_MAX_ENTRIES = 32
# C0 and C1 controls, line and paragraph separators, surrogates. Characters that set the direction of text stay, as
# names in some scripts need them; pages isolate every name with <bdi>.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class MetadataMembers:
    """A document's members and the problems found in them so far.

    A member of the wrong JSON type refuses the whole document at once (public API, 1.2); ``null`` counts as absent.
    """

    def __init__(self, document: object) -> None:
        if not isinstance(document, Mapping):
            raise InvalidRequest("invalid JSON body: it must be an object", reason="json_unreadable")
        self._document: Mapping[object, object] = document
        self._problems: list[str] = []

    def refuse(self, problem: str) -> None:
        """Note a problem; all of them are reported together."""
        self._problems.append(problem)

    def raise_problems(self, what: str) -> None:
        """Report the problems noted so far.

        Raises:
            InvalidClientMetadata: There are some.
        """
        if self._problems:
            raise InvalidClientMetadata(f"{what}: {'; '.join(self._problems)}")

    def has(self, name: str) -> bool:
        """Tell whether a member is there, whatever its type."""
        return self._document.get(name) is not None

    def text(self, name: str) -> str:
        """Return a string member; empty when absent."""
        value = self._document.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise InvalidRequest(f"invalid JSON body: {name} must be a string", reason="json_unreadable")
        return value

    def plain_text(self, name: str, *, max_bytes: int) -> str:
        """Return a string member that people will read; notes a problem with its length or a control character."""
        text = self.text(name)
        if _CONTROLS.search(text):
            self.refuse(f"{name} must not hold control characters")
        elif len(text.encode()) > max_bytes:
            self.refuse(f"{name} is longer than {max_bytes} bytes")
        return text

    def flag(self, name: str) -> bool:
        """Return a boolean member; False when absent."""
        value = self._document.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise InvalidRequest(f"invalid JSON body: {name} must be true or false", reason="json_unreadable")
        return value

    def names(self, name: str) -> tuple[str, ...]:
        """Return an array of strings, each once, in the order sent; empty when absent. Notes too many of them."""
        entries = tuple(dict.fromkeys(self.texts(name)))
        if len(entries) > _MAX_ENTRIES:
            self.refuse(f"{name} has more than {_MAX_ENTRIES} entries")
        return entries[:_MAX_ENTRIES]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an array of strings as sent; empty when absent."""
        value = self._document.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise InvalidRequest(f"invalid JSON body: {name} must be an array of strings", reason="json_unreadable")
        return tuple(value)

    def json_object(self, name: str) -> str | None:
        """Return an object member as JSON text; None when absent."""
        value = self._document.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise InvalidRequest(f"invalid JSON body: {name} must be an object", reason="json_unreadable")
        try:
            return orjson.dumps(value).decode()
        except orjson.JSONEncodeError as exc:
            raise InvalidRequest(f"invalid JSON body: {name} is nested too deeply", reason="json_unreadable") from exc
