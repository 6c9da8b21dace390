"""Requests to one server that the operator configured, such as a vault: any address, connections kept, bounded all the same.

What strangers name is fetched by ``client.py``. Here the address is the operator's word, so it is not judged; the rest is
as strict: no proxy from the environment, one deadline, a largest answer, a bounded number of requests under way.
"""

import asyncio
import ssl
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from authserver.outbound.client import OutboundFailed, OutboundRefused, OutboundResponse
from authserver.protocol.uris import parse_uri
from authserver.telemetry.spans import trace_headers

if TYPE_CHECKING:
    import httpx2

_MOST_AT_ONCE = 32
_MOST_WAITING = 512
_KEPT_SECONDS = 30.0
_REDIRECTS = frozenset({307, 308})
_USER_AGENT = "authserver"


class OriginClient:
    """Talks to one origin. To be used on one event loop, and closed.

    Of the requests 32 are under way at once and 512 wait for their turn; more are refused at once, so that a server that
    hangs fills no memory. The wait counts towards the deadline.
    """

    def __init__(self, base_url: str, *, timeout: float, max_bytes: int, tls: ssl.SSLContext | None = None) -> None:
        """Take the bounds; nothing is connected yet.

        Args:
            base_url: What every path is appended to: ``https`` or ``http``, perhaps with a path.
            timeout: Seconds for everything of one request.
            max_bytes: The largest body taken.
            tls: Which certificates are trusted; None trusts what the system does.

        Raises:
            OutboundRefused: The URL is none of these.
        """
        parts = parse_uri(base_url)
        if parts is None or not parts.is_web or parts.userinfo is not None or parts.query is not None:
            raise OutboundRefused("url")
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._given_tls = tls
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)
        self._waiting = 0

    async def request(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes = b"", is_repeatable: bool = True
    ) -> OutboundResponse:
        """Send a request; any status is an answer. One redirect is followed, never from https to http.

        Args:
            method: In capitals.
            path: Begins with a slash, percent-encoded.
            headers: Beside those that every request has.
            body: JSON, or nothing.
            is_repeatable: Whether it may be sent again over a fresh connection when a kept one turns out dead.

        Raises:
            OutboundRefused: A redirect may not be followed.
            OutboundFailed: There was no answer, or none within the bounds.
        """
        if self._waiting >= _MOST_WAITING:
            raise OutboundFailed("busy")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout), self._turns:
                url = self._base_url + path
                response = await self._send(method, url, headers, body, is_repeatable=is_repeatable)
                if response.status in _REDIRECTS:
                    response = await self._send(
                        method, _redirected(url, response), headers, body, is_repeatable=is_repeatable
                    )
                return response
        except TimeoutError as exc:
            raise OutboundFailed("timeout") from exc
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Close the connections."""
        if "_transport" in self.__dict__:
            await self._transport.aclose()

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, is_repeatable: bool
    ) -> OutboundResponse:
        import httpx2  # noqa: PLC0415  70 ms that a server without a vault saves

        try:
            return await self._exchange(method, url, headers, body)
        except httpx2.ConnectError as exc:
            raise OutboundFailed("connect") from exc
        except httpx2.TransportError as exc:
            if not is_repeatable:
                raise OutboundFailed("protocol") from exc
        # A kept connection that the other side closed in this moment; a fresh one tells whether it is more than that.
        try:
            return await self._exchange(method, url, headers, body)
        except httpx2.ConnectError as exc:
            raise OutboundFailed("connect") from exc
        except httpx2.TransportError as exc:
            raise OutboundFailed("protocol") from exc

    async def _exchange(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> OutboundResponse:
        import httpx2  # noqa: PLC0415  as above

        own = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": _USER_AGENT}
        kind = {"Content-Type": "application/json"} if body else {}
        request = httpx2.Request(method, url, headers={**own, **kind, **trace_headers(), **headers}, content=body)
        response = await self._transport.handle_async_request(request)
        content = bytearray()
        try:
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > self._max_bytes:
                    raise OutboundFailed("too_large")
        finally:
            await response.aclose()
        return OutboundResponse(status=response.status_code, headers=dict(response.headers), body=bytes(content))

    @cached_property
    def _transport(self) -> "httpx2.AsyncHTTPTransport":
        import httpx2  # noqa: PLC0415  as above

        limits = httpx2.Limits(
            max_connections=_MOST_AT_ONCE, max_keepalive_connections=_MOST_AT_ONCE, keepalive_expiry=_KEPT_SECONDS
        )
        tls = self._given_tls or ssl.create_default_context()
        return httpx2.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits)


def _redirected(url: str, response: OutboundResponse) -> str:
    """Return where a redirect leads: the active node of a cluster has an address of its own."""
    location = response.headers.get("location", "")
    parts = parse_uri(location)
    if parts is None or not parts.is_web or parts.userinfo is not None:
        raise OutboundRefused("url")
    if url.startswith("https://") and parts.scheme != "https":
        raise OutboundRefused("scheme")
    return location
