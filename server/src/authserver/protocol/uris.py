"""URIs taken apart as RFC 3986 has it, strictly.

The standard library's parser repairs what it is given: it drops tabs and newlines and accepts characters that no URI
has, and browsers repair in yet other ways. What is compared or shown to a person must have one reading only, so
anything outside RFC 3986 is no URI here.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

_MAX_CHARACTERS = 8192
_KEPT_URIS = 512
_URI = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):"
    r"(?://(?P<authority>[^/?#]*))?"
    r"(?P<path>[^?#]*)"
    r"(?:\?(?P<query>[^#]*))?"
    r"(?:#(?P<fragment>.*))?"
)
_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_AUTHORITY = re.compile(
    r"(?:(?P<userinfo>[^\[\]@]*)@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_LAST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Uri:
    """An absolute URI in its parts.

    Attributes:
        scheme: In lower case.
        userinfo: What stands before ``@``; None without one.
        host: In lower case; an IPv6 address in its brackets. Empty when there is no authority.
        port: As spelled, or None.
        query: Without ``?``; None without one, which differs from an empty one.
        fragment: Without ``#``; None without one.
    """

    scheme: str
    userinfo: str | None
    host: str
    port: str | None
    path: str
    query: str | None
    fragment: str | None

    @property
    def is_web(self) -> bool:
        """Whether it is http or https and names a host."""
        return self.scheme in {"http", "https"} and self.host != ""


def parse_uri(text: str) -> Uri | None:
    """Return the parts of an absolute URI, or None when ``text`` is none."""
    return _parse(text) if len(text) <= _MAX_CHARACTERS else None


@lru_cache(maxsize=_KEPT_URIS)
def _parse(text: str) -> Uri | None:
    # Requests name the same few again and again, some several times each.
    # Characters first: on text with line ends the pattern below would try every way to cut it.
    if not _CHARACTERS.fullmatch(text):
        return None
    match = _URI.fullmatch(text)
    if match is None:
        return None
    authority = _AUTHORITY.fullmatch(match["authority"] or "")
    if authority is None or not _is_host(authority["host"]) or int(authority["port"] or 0) > _LAST_PORT:
        return None
    return Uri(
        scheme=match["scheme"].lower(),
        userinfo=authority["userinfo"],
        host=authority["host"].lower(),
        port=authority["port"],
        path=match["path"],
        query=match["query"],
        fragment=match["fragment"],
    )


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return True
    try:
        IPv6Address(host[1:-1])
    except AddressValueError:
        return False
    return True
