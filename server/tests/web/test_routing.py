import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.web.http import Route
from authserver.web.routing import RouteTable, decode_path, split_target
from server.tests.web.direct import echo


def a_route(path: str, *, is_prefix: bool = False, template: str = "") -> Route:
    return Route(path=path, endpoints={"GET": echo}, is_prefix=is_prefix, template=template)


def found(table: RouteTable, path: str) -> tuple[str, str, str]:
    target, below, tail = table.find(path)
    return target.template, below, tail


def test_the_exact_path_comes_before_a_prefix() -> None:
    table = RouteTable([a_route("/a/", is_prefix=True, template="/a/{x}"), a_route("/a/b")], base_path="")

    assert found(table, "/a/b") == ("/a/b", "/a/b", "")
    assert found(table, "/a/c/d") == ("/a/{x}", "/a/c/d", "c/d")


def test_the_longer_prefix_comes_first() -> None:
    prefixes = ["/a/", "/a/b/"]
    for order in (prefixes, prefixes[::-1]):
        table = RouteTable([a_route(path, is_prefix=True) for path in order], base_path="")

        assert found(table, "/a/b/c") == ("/a/b/", "/a/b/c", "c")


def test_a_prefix_alone_is_no_route() -> None:
    table = RouteTable([a_route("/a/", is_prefix=True)], base_path="")

    assert found(table, "/a/")[0] == "unmatched"
    assert found(table, "/a")[0] == "unmatched"


def test_the_path_of_the_issuer_may_stand_in_front_once() -> None:
    table = RouteTable([a_route("/token"), a_route("/p/", is_prefix=True)], base_path="/auth")

    assert found(table, "/token") == ("/token", "/token", "")
    assert found(table, "/auth/token") == ("/token", "/token", "")
    assert found(table, "/auth/p/x") == ("/p/", "/p/x", "x")
    assert found(table, "/auth/auth/token")[0] == "unmatched"
    assert found(table, "/authtoken")[0] == "unmatched"


def test_a_route_that_names_the_path_of_the_issuer_itself_is_found_by_it() -> None:
    table = RouteTable([a_route("/.well-known/doc/auth"), a_route("/.well-known/doc")], base_path="/auth")

    assert found(table, "/.well-known/doc/auth")[0] == "/.well-known/doc/auth"
    assert found(table, "/auth/.well-known/doc")[0] == "/.well-known/doc"


@pytest.mark.parametrize("is_prefix", [False, True])
def test_two_routes_of_one_path_are_a_mistake(is_prefix: bool) -> None:  # noqa: FBT001  a parameter of the test
    with pytest.raises(ValueError, match="two routes answer at /a"):
        RouteTable([a_route("/a", is_prefix=is_prefix)] * 2, base_path="")


@pytest.mark.parametrize("raw", [b"/%", b"/%a", b"/%zz", b"/%ff", b"/\xff", b"/a%00b", b"/%ed%a0%80", b"/%c0%af"])
def test_a_path_that_is_no_text_is_none(raw: bytes) -> None:
    assert decode_path(raw) == ""


def test_a_path_is_decoded_once() -> None:
    assert decode_path(b"/%2541") == "/%41"
    assert decode_path("/é".encode()) == decode_path(b"/%C3%A9") == "/é"


@given(st.binary(max_size=60))
def test_any_bytes_are_a_path_or_none(raw: bytes) -> None:
    assert "\0" not in decode_path(raw)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a", b"/a", b""),
        (b"/a?b=c?d", b"/a", b"b=c?d"),
        (b"/a?", b"/a", b""),
        (b"//a", b"//a", b""),
        (b"/a?b#c", b"/a", b"b"),
        (b"http://auth.example.com/a?b", b"/a", b"b"),
        (b"http://auth.example.com", b"/", b""),
        (b"*", b"*", b""),
    ],
)
def test_a_target_is_a_path_and_a_query_in_any_form(target: bytes, path: bytes, query: bytes) -> None:
    assert split_target(target) == (path, query)


@pytest.mark.parametrize("target", [b"", b"a", b"/\xff", b"http://"])
def test_a_target_that_is_none_is_refused(target: bytes) -> None:
    with pytest.raises((ValueError, httptools.HttpParserInvalidURLError)):
        split_target(target)
