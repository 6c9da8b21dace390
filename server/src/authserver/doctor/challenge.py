"""What an MCP server says to who comes without a token (RFC 6750 §3, RFC 9728 §5.1)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from authserver.doctor.findings import Finding, finding
from authserver.doctor.visiting import Answer, origin_of
from authserver.protocol.uris import parse_uri

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  of the grammar of HTTP, not a secret
_PIECE = re.compile(rf"(?:({_TOKEN})(?:\s+|$))?(?:({_TOKEN})\s*=\s*(.*))?", re.DOTALL)
_PIECES = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_UNAUTHORIZED = 401
_SERVER_ERRORS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What the challenge says that is of use.

    Attributes:
        metadata_url: Where the protected-resource metadata is, when it may be followed.
        scopes: What the server wants for this request.
    """

    metadata_url: str | None
    scopes: frozenset[str]


def parse_challenges(header: str) -> list[tuple[str, dict[str, str]]]:
    """Return the schemes of a ``WWW-Authenticate`` header, in lower case, each with its parameters."""
    challenges: list[tuple[str, dict[str, str]]] = []
    for piece in _PIECES.findall(header):
        match = _PIECE.fullmatch(piece.strip())
        if match is None:
            continue
        scheme, name, value = match.groups()
        if scheme:
            challenges.append((scheme.lower(), {}))
        if name and challenges:
            challenges[-1][1].setdefault(name.lower(), _unquote(value.strip()))
    return challenges


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value


def is_mcp_answer(answer: Answer) -> bool:
    """Tell whether a call was answered as only an MCP server does: by asking for a token, or by serving."""
    return answer.status == _UNAUTHORIZED or is_served(answer)


def is_served(answer: Answer) -> bool:
    """Tell whether a call got through."""
    document = answer.document()
    return answer.status // 100 == 2 and (  # noqa: PLR2004  success
        answer.media_type == "text/event-stream" or (document is not None and "jsonrpc" in document)
    )


def check_refusal(answer: Answer) -> Iterator[Finding]:
    """Find that a call without a token was not answered with 401."""
    if answer.is_redirect:
        seen = f"{answer.status} to {answer.header('location')}"
        yield finding("mcp-redirect", url=answer.url, seen=seen)
    elif answer.status >= _SERVER_ERRORS:
        yield finding("mcp-5xx", url=answer.url, seen=f"status {answer.status} without a token", expected="401")
    elif answer.status // 100 == 2:  # noqa: PLR2004  success
        yield finding("no-token-needed", url=answer.url, seen=f"status {answer.status} without a token", expected="401")
    elif answer.status != _UNAUTHORIZED:
        yield finding(
            "challenge-not-401", url=answer.url, seen=f"status {answer.status} without a token", expected="401"
        )


def check_challenge(answer: Answer) -> Iterator[Finding]:
    """Find what is wrong with the challenge of a 401."""
    header = answer.header("www-authenticate")
    if not header:
        yield finding("challenge-missing", url=answer.url, seen="401 without WWW-Authenticate")
        return
    parameters = _parameters(answer)
    if parameters is None:
        yield finding("challenge-not-bearer", url=answer.url, seen=header)
        return
    yield from _check_metadata_url(answer.url, parameters.get("resource_metadata"), header)


def _check_metadata_url(url: str, named: str | None, header: str) -> Iterator[Finding]:
    if not named:
        yield finding("challenge-no-metadata", url=url, seen=header)
        return
    parts = parse_uri(named)
    if parts is None or not parts.is_web:
        yield finding("challenge-metadata-relative", url=url, seen=named)
    elif origin_of(named) != origin_of(url):
        yield finding("challenge-metadata-foreign", url=url, seen=named, expected=f"a URL of {origin_of(url)}")


def read_challenge(answer: Answer) -> Challenge:
    """Return what of the challenge can be used."""
    parameters = _parameters(answer) or {}
    named = parameters.get("resource_metadata", "")
    return Challenge(
        metadata_url=named if named and origin_of(named) == origin_of(answer.url) else None,
        scopes=frozenset(parameters.get("scope", "").split()),
    )


def _parameters(answer: Answer) -> Mapping[str, str] | None:
    challenges = dict(reversed(parse_challenges(answer.header("www-authenticate"))))
    return challenges.get("bearer", challenges.get("dpop"))


def check_forgery(answer: Answer, what: str) -> Iterator[Finding]:
    """Find that a token that nobody issued was not answered with 401."""
    if answer.status == _UNAUTHORIZED:
        return
    seen = f"status {answer.status} with {what}"
    if answer.status >= _SERVER_ERRORS:
        yield finding("bad-token-5xx", url=answer.url, seen=seen, expected="401")
    elif answer.status // 100 == 2:  # noqa: PLR2004  success
        yield finding("any-token-accepted", url=answer.url, seen=seen, expected="401")
    else:
        yield finding("bad-token-not-401", url=answer.url, seen=seen, expected="401")
