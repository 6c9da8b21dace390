"""The HTTP client for what others name: checked addresses, no redirects, bounded in time and size.

A host is resolved once, every address it resolves to is checked, and the connection goes to a checked address while TLS
still proves the host's name. A name server that answers differently the second time (DNS rebinding) is never asked twice.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from authserver.outbound.addresses import is_local_name, is_special_use
from authserver.protocol.uris import Uri, parse_uri
from authserver.telemetry.spans import trace_headers

if TYPE_CHECKING:
    import httpx2

_DEFAULT_PORTS = {"http": 80, "https": 443}
_USER_AGENT = "authserver"

# More than the fetches that may be under way leave behind in the time that a system asks for a name.
_MOST_LOOKUPS = 128
_lookups = threading.BoundedSemaphore(_MOST_LOOKUPS)

Admission = Callable[[str], AbstractAsyncContextManager[None]]
"""Entered with a checked address before it is connected to, and left behind the answer; may wait, and may raise."""

Resolver = Callable[[str, int], Awaitable[list[str]]]
"""Returns the addresses of a host name, in the order to try them; raises OSError when there are none."""


class OutboundError(Exception):
    """A fetch that brought nothing.

    Attributes:
        cause: What went wrong, in one word that is safe to log and to count; it repeats nothing of the other side's.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


class OutboundRefused(OutboundError):  # noqa: N818  an outcome that callers turn into one of their own
    """The fetch was not tried: its URL or an address of its host is not one to connect to.

    Causes: ``url``, ``scheme``, ``host`` (a name of this machine), ``address``.
    """


class OutboundFailed(OutboundError):  # noqa: N818  an outcome that callers turn into one of their own
    """The fetch was tried and failed.

    Causes: ``dns``, ``connect``, ``timeout``, ``protocol``, ``too_large``, ``encoding``, ``busy``.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundResponse:
    """What the other side answered, whatever the status.

    Attributes:
        headers: By lower-case name; repeated ones joined with commas.
        body: Empty when it is a stream of events, which has no end.
        certificate_expires_at: When the certificate of the other side does; None without TLS.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    certificate_expires_at: int | None = None


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver, in a thread that nobody else waits for.

    A lookup cannot be ended, and a name server may keep it for half a minute. Those of the loop share a few threads, two
    with uvloop: whoever names such a host would stop every other lookup of the process, those of the database included.

    Raises:
        OSError: The name has no addresses, or too many lookups are under way.
    """
    if not _lookups.acquire(blocking=False):
        raise OSError("too many lookups are under way")
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[str]] = loop.create_future()

    def settle(found: list[str] | Exception) -> None:
        if answer.done():
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def look_up() -> None:
        found: list[str] | Exception
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = list(dict.fromkeys(str(sockaddr[0]) for _, _, _, _, sockaddr in entries))
        except (OSError, ValueError) as exc:
            found = exc
        finally:
            _lookups.release()
        # The loop is gone when the process is ending.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, found)

    try:
        threading.Thread(target=look_up, name="lookup", daemon=True).start()
    except RuntimeError as exc:
        _lookups.release()
        raise OSError("no thread to look a name up") from exc
    return await answer


class OutboundClient:
    """Fetches what a URL names, and nothing it could be tricked into naming.

    Args:
        resolver: Where names are looked up.
        tls: Which certificates are trusted; None trusts what the system does, ``SSL_CERT_FILE`` included.
        is_forbidden: Which addresses are not of the public internet. No configuration reaches it: it is for a laboratory
            whose servers stand on loopback.
    """

    def __init__(
        self,
        *,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
        is_forbidden: Callable[[str], bool] = is_special_use,
    ) -> None:
        self._resolver = resolver
        self._is_forbidden = is_forbidden
        self._given_tls = tls

    async def get(
        self,
        url: str,
        *,
        accept: str,
        max_bytes: int,
        timeout: float,  # noqa: ASYNC109  one deadline over resolving, connecting and reading
        allow_private: bool = False,
        require_https: bool = True,
        admission: Admission | None = None,
    ) -> OutboundResponse:
        """Fetch a URL with GET; any status is an answer, a redirect too.

        Args:
            url: Absolute, ``https`` or ``http``, without user information.
            accept: The ``Accept`` header.
            max_bytes: The largest body taken.
            timeout: Seconds for everything together.
            allow_private: Whether addresses that are not of the public internet may be connected to.
            require_https: Whether ``http`` is refused.
            admission: What each address has to wait for; the time it takes does not count.

        Raises:
            OutboundRefused: The URL or an address may not be connected to.
            OutboundFailed: There was no answer, or none within the bounds.
        """
        asked = _Asked(headers={"Accept": accept})
        target = _check_url(url, allow_private=allow_private, require_https=require_https)
        try:
            async with asyncio.timeout(timeout) as limit:
                addresses = await self._resolve(target, allow_private=allow_private)

                def admit(address: str) -> AbstractAsyncContextManager[None]:
                    return _admitted(address, admission, limit) if admission else contextlib.nullcontext()

                return await self._fetch(target, addresses, admit, asked, max_bytes=max_bytes)
        except TimeoutError as exc:
            raise OutboundFailed("timeout") from exc

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes = b"",
        max_bytes: int,
        timeout: float,  # noqa: ASYNC109  as above
        allow_private: bool,
        require_https: bool = False,
    ) -> OutboundResponse:
        """Send what an operator asked for: any method, ``http`` too unless refused, still no redirects.

        Args:
            method: Such as ``POST``.
            url: Absolute, ``https`` or ``http``, without user information.
            headers: Beside those that every request of ours has.
            content: The body.
            max_bytes: The largest body taken.
            timeout: Seconds for everything together.
            allow_private: Whether addresses that are not of the public internet may be connected to.
            require_https: Whether ``http`` is refused.

        Raises:
            OutboundRefused: It is no such URL, or an address may not be connected to.
            OutboundFailed: There was no answer, or none within the bounds.
        """
        asked = _Asked(method=method, headers=headers, content=content)
        target = _check_url(url, allow_private=allow_private, require_https=require_https)
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolve(target, allow_private=allow_private)
                return await self._fetch(
                    target, addresses, lambda _: contextlib.nullcontext(), asked, max_bytes=max_bytes
                )
        except TimeoutError as exc:
            raise OutboundFailed("timeout") from exc

    async def _resolve(self, target: "_Target", *, allow_private: bool) -> list[str]:
        """Return the addresses of the host, all of them checked: one bad one among good ones is an attack."""
        try:
            addresses = await self._resolver(target.host, target.port)
        except (OSError, UnicodeError) as exc:
            raise OutboundFailed("dns") from exc
        if not addresses:
            raise OutboundFailed("dns")
        if not allow_private and any(map(self._is_forbidden, addresses)):
            raise OutboundRefused("address")
        return addresses

    async def _fetch(
        self, target: "_Target", addresses: list[str], admit: Admission, asked: "_Asked", *, max_bytes: int
    ) -> OutboundResponse:
        """Ask the first address that takes the connection."""
        import httpx2  # noqa: PLC0415  70 ms that a server which fetches nothing saves

        # Our own context also with a plain URL: httpx2 would build one. It trusts nobody, which takes no reading of certificates.
        tls = self._tls if target.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # No connection is kept: the pool would take one of the same address for another host, whose name TLS did not prove.
        limits = httpx2.Limits(max_keepalive_connections=0)
        async with httpx2.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits) as transport:
            for address in addresses:
                request = _build_request(target, address, asked)
                try:
                    async with admit(address):
                        response = await transport.handle_async_request(request)
                        return await _read(response, max_bytes=max_bytes)
                except httpx2.ConnectError as exc:
                    if address == addresses[-1]:
                        raise OutboundFailed("connect") from exc
                except httpx2.TransportError as exc:
                    raise OutboundFailed("protocol") from exc
        raise AssertionError("the last address raises or returns")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or ssl.create_default_context()


@contextlib.asynccontextmanager
async def _admitted(address: str, admission: Admission, limit: asyncio.Timeout) -> AsyncIterator[None]:
    """Wait to be admitted, while the time for the fetch stands still."""
    clock, end = asyncio.get_running_loop().time, limit.when()
    left = 0.0 if end is None else end - clock()
    limit.reschedule(None)
    async with admission(address):
        limit.reschedule(clock() + left)
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    headers: Mapping[str, str]
    method: str = "GET"
    content: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    scheme: str
    host: str
    port: int
    authority: str
    path: str


def _check_url(url: str, *, allow_private: bool, require_https: bool) -> _Target:
    parts = parse_uri(url)
    if parts is None or not parts.is_web or parts.userinfo is not None:
        raise OutboundRefused("url")
    if parts.scheme != "https" and require_https:
        raise OutboundRefused("scheme")
    if not allow_private and is_local_name(parts.host):
        raise OutboundRefused("host")
    return _target(parts)


def _target(parts: Uri) -> _Target:
    query = "" if parts.query is None else f"?{parts.query}"
    return _Target(
        scheme=parts.scheme,
        host=parts.host.strip("[]"),
        port=int(parts.port or _DEFAULT_PORTS[parts.scheme]),
        authority=f"{parts.host}:{parts.port}" if parts.port else parts.host,
        path=(parts.path or "/") + query,
    )


def _build_request(target: _Target, address: str, asked: _Asked) -> "httpx2.Request":
    """Address the request to the checked address, and everything that is said about it to the host."""
    import httpx2  # noqa: PLC0415  as above

    return httpx2.Request(
        asked.method,
        httpx2.URL(scheme=target.scheme, host=address, port=target.port, raw_path=target.path.encode("ascii")),
        headers={
            "Host": target.authority,
            **trace_headers(),
            **asked.headers,
            # Compressed answers could unfold to any size.
            "Accept-Encoding": "identity",
            "User-Agent": _USER_AGENT,
        },
        content=asked.content,
        extensions={"sni_hostname": target.host},
    )


async def _read(response: "httpx2.Response", *, max_bytes: int) -> OutboundResponse:
    body = bytearray()
    try:
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise OutboundFailed("encoding")
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > max_bytes:
                    raise OutboundFailed("too_large")
        expires_at = _certificate_expiry(response)
    finally:
        await response.aclose()
    return OutboundResponse(
        status=response.status_code,
        headers=dict(response.headers),
        body=bytes(body),
        certificate_expires_at=expires_at,
    )


def _certificate_expiry(response: "httpx2.Response") -> int | None:
    stream = response.extensions.get("network_stream")
    tls = None if stream is None else stream.get_extra_info("ssl_object")
    certificate = None if tls is None else tls.getpeercert()
    return int(ssl.cert_time_to_seconds(certificate["notAfter"])) if certificate else None
