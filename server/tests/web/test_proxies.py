import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.web.http import HttpRequest
from authserver.web.proxies import TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"])


def address(peer: str, *forwarded: str, proxies: TrustedProxies = PROXIES) -> str:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    request = HttpRequest(method="GET", headers=headers, client_address=peer)
    return proxies.client_address(request)


def test_without_a_list_nobody_is_believed() -> None:
    assert address("10.0.0.1", "198.51.100.1", proxies=TrustedProxies([])) == "10.0.0.1"


def test_a_stranger_is_not_believed() -> None:
    assert address("198.51.100.9", "203.0.113.1") == "198.51.100.9"


@pytest.mark.parametrize("peer", ["10.9.9.9", "192.0.2.1", "2001:db8::5", "::ffff:10.0.0.1"])
def test_a_listed_proxy_is_believed(peer: str) -> None:
    assert address(peer, "203.0.113.1") == "203.0.113.1"


def test_the_rightmost_address_that_is_no_proxy_counts() -> None:
    assert address("10.0.0.1", "6.6.6.6, 203.0.113.1, 10.0.0.2 ,192.0.2.1") == "203.0.113.1"
    assert address("10.0.0.1", "6.6.6.6", "203.0.113.1,10.0.0.2") == "203.0.113.1"


def test_an_ipv4_client_in_ipv6_spelling_is_itself() -> None:
    assert address("10.0.0.1", "::ffff:203.0.113.1") == "203.0.113.1"
    assert address("::ffff:203.0.113.1") == "203.0.113.1"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.1:5555", "203.0.113.1"),
        ("[2001:db9::1]", "2001:db9::1"),
        ("[2001:db9::1]:44", "2001:db9::1"),
        ("[::ffff:203.0.113.1]:44", "203.0.113.1"),
        ("203.0.113.1:5555, 10.0.0.2:443", "203.0.113.1"),
    ],
)
def test_the_port_of_the_client_is_no_part_of_its_address(forwarded: str, client: str) -> None:
    assert address("10.0.0.1", forwarded) == client


@pytest.mark.parametrize(
    "forwarded",
    [
        "",
        "unknown",
        "203.0.113.1, _hidden",
        "10.0.0.3",
        "1.2.3.4.5",
        "203.0.113.1:",
        "203.0.113.1:x",
        "[203.0.113.1]",
        "[203.0.113.1]:80",
        "[2001:db9::1",
        "2001:db9::1]",
        "[2001:db9::1]:",
        "[2001:db9::1]80",
        "[2001:db9::1]:654321",
        "[]",
    ],
)
def test_without_a_usable_address_it_is_the_proxy(forwarded: str) -> None:
    assert address("10.0.0.1", forwarded) == "10.0.0.1"


def test_a_proxy_that_names_nobody_is_itself() -> None:
    assert address("10.0.0.1") == "10.0.0.1"


def test_endless_hops_are_cut() -> None:
    assert address("10.0.0.1", "203.0.113.1," + "10.0.0.2," * 5000 + "10.0.0.3") == "10.0.0.1"


@given(st.text(st.characters(max_codepoint=255), max_size=40), st.lists(st.text(st.characters(max_codepoint=255))))
def test_no_header_makes_it_fail(peer: str, forwarded: list[str]) -> None:
    assert isinstance(address(peer, *forwarded), str)
