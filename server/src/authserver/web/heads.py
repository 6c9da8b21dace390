"""Reads the head of a request: the parser, and what the head must be beyond what the parser sees to."""

import re
from collections.abc import Sequence
from functools import lru_cache

import httptools

MAX_HEAD_BYTES = 64 * 1024
MAX_HEADERS = 200

# Of a host and its port (RFC 3986 §3.2.2), and nothing that ends it.
_HOST = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]*")
# Clients name the same one with each request. One may be as long as a head.
_MOST_HOSTS = 16
_VERSIONS = frozenset({"1.0", "1.1"})

Pairs = Sequence[tuple[bytes, bytes]]


def new_parser(protocol: object) -> httptools.HttpRequestParser:
    """Return a parser that tells ``protocol`` what it reads."""
    parser = httptools.HttpRequestParser(protocol)
    # Else what is behind a request that asks for the end spoils the answer to it.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


@lru_cache(maxsize=_MOST_HOSTS)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def check_head(version: str, headers: Pairs) -> None:
    """Refuse what others on the way could read in another way than this server does.

    Args:
        version: Of HTTP, as the parser tells it.
        headers: With lower-case names.

    Raises:
        ValueError: It is of another version; it does not name the host it is for, once (RFC 9112 §3.2); or its body is
            coded in another way than in chunks (§6.1), of which HTTP/1.0 knows nothing.
    """
    if version not in _VERSIONS:
        raise ValueError("no HTTP/1")
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if not _is_host(value):
                raise ValueError("no host")
        elif name == b"transfer-encoding" and (value.lower() != b"chunked" or version == "1.0"):
            raise ValueError("a coding that is none of ours")
    if hosts != 1 and not (version == "1.0" and hosts == 0):
        raise ValueError("not one host")


def without_offer(parser: httptools.HttpRequestParser, target: bytes, headers: Pairs) -> bytes:
    """Return a head again, without its offer of another protocol.

    Args:
        parser: It has read the head.
        target: As it was sent.
        headers: With lower-case names.
    """
    lines = [
        b"%s %s HTTP/%s" % (parser.get_method(), target, parser.get_http_version().encode("ascii")),
        *(b"%s: %s" % header for header in headers if header[0] != b"upgrade"),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"
