"""Which addresses lead to something that is not the public internet (RFC 6890, CIMD draft, threat T19).

Stated here rather than taken from the ``ipaddress`` module, whose idea of a global address differs between releases of
Python.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_SPECIAL_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # shared by carriers (CGNAT)
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, metadata services among them
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarking
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_SPECIAL_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_BITS = 0xFFFF_FFFF


def is_special_use(address: str) -> bool:
    """Tell whether an address is loopback, private, link-local or otherwise not an address of the public internet.

    An address that carries an IPv4 address inside (mapped, NAT64) is what that one is: in a network without IPv4 every
    public server is reached through NAT64.

    Raises:
        ValueError: ``address`` is no IP address.
    """
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        embedded = _find_embedded(parsed)
        if embedded is None:
            return parsed not in _GLOBAL_UNICAST or any(parsed in network for network in _SPECIAL_IPV6)
        parsed = embedded
    return any(parsed in network for network in _SPECIAL_IPV4)


def is_local_name(host: str) -> bool:
    """Tell whether a host name means this machine before anybody is asked: ``localhost`` and below (RFC 6761 §6.3)."""
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def _find_embedded(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & _IPV4_BITS)
    return None
