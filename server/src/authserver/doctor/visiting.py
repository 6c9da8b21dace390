"""Asks the examined servers, and finds what is wrong before an answer is even read: names, TLS, time, redirects."""

import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from urllib.parse import urljoin

import orjson

from authserver.doctor.findings import Finding, finding
from authserver.outbound.addresses import is_local_name
from authserver.outbound.client import OutboundClient, OutboundError, OutboundRefused, OutboundResponse
from authserver.protocol.uris import parse_uri

_MAX_BYTES = 512 * 1024
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SOON_SECONDS = 14 * 24 * 3600
_PRIVATE = frozenset({"host", "address"})
# X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED; X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_OUT_OF_TIME, _WRONG_NAME = frozenset({9, 10}), frozenset({62, 64})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a URL answered.

    Attributes:
        received_at: By this machine's clock.
    """

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    received_at: int

    def header(self, name: str) -> str:
        """Return a header, empty when there is none."""
        return self.headers.get(name, "")

    @property
    def media_type(self) -> str:
        """Its media type without parameters, in lower case."""
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def is_redirect(self) -> bool:
        """Whether it leads somewhere else."""
        return self.status in _REDIRECTS and "location" in self.headers

    def document(self) -> dict[str, object] | None:
        """Return the JSON object that it is, or None."""
        try:
            parsed = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return parsed if isinstance(parsed, dict) else None


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL, the default port left out; the URL itself when it is none."""
    parts = parse_uri(url)
    if parts is None:
        return url
    default = {"http": "80", "https": "443"}.get(parts.scheme)
    return f"{parts.scheme}://{parts.host}" + (f":{parts.port}" if parts.port not in {None, default} else "")


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return is_local_name(host)


def is_plain(url: str) -> bool:
    """Tell whether a URL is http to another machine."""
    parts = parse_uri(url)
    return parts is not None and parts.scheme == "http" and not is_loopback(parts.host)


class Visitor:
    """Asks one question after the other and remembers what was wrong on the way.

    Args:
        http: What it asks with.
        clock: The time of this machine, in seconds since the epoch.
        timeout: Seconds for each answer.
        page: The origin of the page in a browser that it pretends to be where documents are read.
    """

    def __init__(self, http: OutboundClient, *, clock: Callable[[], int], timeout: float, page: str) -> None:
        self.findings: list[Finding] = []
        self.visits: list[Answer] = []
        self.clock = clock
        self._http = http
        self._timeout = timeout
        self._page = page
        self._is_private: bool | None = None  # whether the server that the operator named is; unknown until it answered
        self._met: set[str] = set()
        self._silent: set[str] = set()

    async def get(self, url: str) -> Answer | None:
        """Return a document, redirects followed and found fault with; None when nothing came."""
        asked = url
        for _ in range(_MOST_REDIRECTS + 1):
            answer = await self._ask("GET", url, {"Accept": "application/json", "Origin": self._page})
            if answer is None or not answer.is_redirect:
                if answer is not None and url != asked:
                    self._note_redirect(asked, url)
                return answer
            try:
                url = urljoin(url, answer.header("location"))
            except ValueError:
                return answer  # a redirect to nothing is what it is: no document
        self.findings.append(
            finding("redirect-loop", url=asked, seen=f"{_MOST_REDIRECTS + 1} redirects, last to {url}")
        )
        return None

    async def call(self, url: str, *, token: str | None = None, from_page: bool = False) -> Answer | None:
        """Send the first message of an MCP session, with a token or without; redirects are not followed."""
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if from_page:
            headers["Origin"] = self._page
        return await self._ask("POST", url, headers, _INITIALIZE)

    async def preflight(self, url: str, *, headers: str) -> Answer | None:
        """Ask whether a page may send a POST with these headers."""
        asking = {
            "Origin": self._page,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": headers,
        }
        return await self._ask("OPTIONS", url, asking)

    def lets_page_in(self, answer: Answer) -> bool:
        """Tell whether the page may read an answer."""
        return answer.header("access-control-allow-origin") in {"*", self._page}

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], content: bytes = b"") -> Answer | None:
        origin = origin_of(url)
        if origin in self._silent:
            return None
        try:
            response = await self._send(method, url, headers, content)
        except OutboundError as exc:
            # Who does not answer once is not asked again: each question would take as long.
            self._silent.add(origin)
            self.findings.append(_explain_failure(url, exc, self._timeout))
            return None
        if origin not in self._met:
            self._met.add(origin)
            self.findings += _check_origin(url, response, now=self.clock())
        answer = Answer(
            method=method,
            url=url,
            status=response.status,
            headers=response.headers,
            body=response.body,
            received_at=self.clock(),
        )
        self.visits.append(answer)
        return answer

    async def _send(self, method: str, url: str, headers: Mapping[str, str], content: bytes) -> OutboundResponse:
        """Send a request. What a public server names is public, too: none shall have us look around in a private network."""
        send = partial(
            self._http.send, method, url, headers=headers, content=content, max_bytes=_MAX_BYTES, timeout=self._timeout
        )
        if self._is_private is not None:
            return await send(allow_private=self._is_private)
        try:
            response = await send(allow_private=False)
        except OutboundRefused as exc:
            if exc.cause not in _PRIVATE:
                raise
            self._is_private = True
            return await send(allow_private=True)
        self._is_private = False
        return response

    def _note_redirect(self, asked: str, reached: str) -> None:
        code = "redirected" if origin_of(asked) == origin_of(reached) else "redirect-elsewhere"
        self.findings.append(finding(code, url=asked, seen=f"redirected to {reached}"))


_INITIALIZE = orjson.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "authserver doctor", "version": "1"},
        },
    }
)


def _check_origin(url: str, response: OutboundResponse, *, now: int) -> Iterator[Finding]:
    if is_plain(url):
        yield finding("plain-http", url=url, seen="http to a host that is not this machine", expected="https")
    expires_at = response.certificate_expires_at
    if expires_at is not None and expires_at - now < _SOON_SECONDS:
        yield finding("tls-expires-soon", url=url, seen=f"it expires in {(expires_at - now) // 3600} hours")


def _explain_failure(url: str, exc: OutboundError, timeout: float) -> Finding:
    match exc.cause:
        case "timeout":
            return finding("timeout", url=url, seen=f"no answer within {timeout:g} s")
        case "connect":
            return _explain_connection(url, exc)
        case "dns":
            return finding("unreachable", url=url, seen="the host name has no address")
        case "url":
            return finding("unreachable", url=url, seen="this is no http or https URL without user information")
        case "host" | "address":
            return finding("private-address", url=url, seen="the name leads into a private network")
        case cause:
            return finding("broken-answer", url=url, seen=f"the answer could not be read: {cause}")


def _explain_connection(url: str, exc: BaseException) -> Finding:
    """Tell TLS from a closed port: the library's exceptions carry what the system said."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            code = "tls-expired" if cause.verify_code in _OUT_OF_TIME else "tls-untrusted"
            code = "tls-wrong-name" if cause.verify_code in _WRONG_NAME else code
            return finding(code, url=url, seen=cause.verify_message)
        if isinstance(cause, ssl.SSLError):
            return finding("tls-failed", url=url, seen=cause.reason or "the handshake failed")
        cause = cause.__cause__ or cause.__context__
    return finding("unreachable", url=url, seen="the connection is refused or goes nowhere")
