"""Whose word counts about where a request came from (``server.trusted_proxies``, ruling R34)."""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from authserver.web.http import HttpRequest

_MAX_HOPS = 32
_REMEMBERED = 4096
# Some proxies write the port of the connection behind the address, and then an IPv6 address in brackets.
_FORWARDED = re.compile(
    r"(?P<ipv4>[0-9.]+):[0-9]{1,5}|\[(?P<ipv6>[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)\](:[0-9]{1,5})?", re.ASCII
)


class TrustedProxies:
    """The listed proxies. Nothing but limits, lockout, audit and the access log depends on what they say."""

    def __init__(self, listed: Sequence[str]) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(
            ip_network(entry, strict=False) for entry in listed
        )

    def client_address(self, request: HttpRequest) -> str:
        """Return the peer; when it is a listed proxy, the rightmost forwarded address that is not one."""
        peer = request.client_address
        if peer.startswith("::ffff:"):
            peer = _as_itself(peer)
        if not self._networks or not self._is_listed(peer):
            return peer
        hops = ",".join(request.header_values(b"x-forwarded-for")).split(",")[-_MAX_HOPS:]
        for hop in reversed(hops):
            address = _parse(_without_port(hop.strip()))
            if address is None:
                return peer
            if not self._is_listed(str(address)):
                return str(address)
        return peer

    def _is_listed(self, text: str) -> bool:
        address = _parse(text)
        return address is not None and any(address in network for network in self._networks)


@lru_cache(maxsize=_REMEMBERED)
def _as_itself(peer: str) -> str:
    """Return an IPv4 peer that a socket for both families names so; to limits, lockout and audit they are who they are."""
    return str(_parse(peer) or peer)


def _without_port(hop: str) -> str:
    match = _FORWARDED.fullmatch(hop)
    return hop if match is None else match["ipv4"] or match["ipv6"]


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
