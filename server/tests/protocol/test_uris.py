"""URIs taken apart."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.uris import parse_uri


def test_a_uri_is_taken_apart() -> None:
    uri = parse_uri("HTTPS://User:pw@Host.Example:8443/a/B?c=D#e")
    assert uri is not None
    assert (uri.scheme, uri.userinfo, uri.host, uri.port) == ("https", "User:pw", "host.example", "8443")
    assert (uri.path, uri.query, uri.fragment) == ("/a/B", "c=D", "e")


def test_absent_and_empty_parts_differ() -> None:
    bare = parse_uri("https://h")
    empty = parse_uri("https://@h?#")
    assert bare is not None
    assert empty is not None
    assert (bare.userinfo, bare.query, bare.fragment, bare.path) == (None, None, None, "")
    assert (empty.userinfo, empty.query, empty.fragment) == ("", "", "")


def test_an_ipv6_host_keeps_its_brackets() -> None:
    uri = parse_uri("http://[::1]:80/")
    assert uri is not None
    assert (uri.host, uri.port) == ("[::1]", "80")


@pytest.mark.parametrize(
    ("text", "is_web"), [("https://h", True), ("http://h", True), ("https:h", False), ("a.b:/h", False)]
)
def test_a_web_uri_has_a_web_scheme_and_a_host(text: str, *, is_web: bool) -> None:
    uri = parse_uri(text)
    assert uri is not None
    assert uri.is_web is is_web


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/path",
        "//host/path",
        "host.example/cb",
        "1a://h",
        "https://h/a b",
        "https://h/\t",
        "https://h/\n",
        " https://h",
        "https://h\\@evil.example/",
        "https://hö.example/",
        "https://h/ö",
        'https://h/"',
        "https://h/<script>",
        "https://h:65536/",
        "https://h:123456/",
        "https://h:/",
        "https://h:8a/",
        "https://h%2eexample/",
        "https://a:b:c/",
        "https://[::1/",
        "https://[::1]x/",
        "https://[::ffff:1.2.3]/",
        "https://[1:2:3]/",
        "https://::1/",
        "https://good.example@x@evil.example/",
        "https://[@evil.example/",
    ],
)
def test_what_has_more_than_one_reading_is_no_uri(text: str) -> None:
    assert parse_uri(text) is None


@given(st.text(st.sampled_from("htps:/?#[]@.1a-%5c\\ \t%"), max_size=30))
def test_where_we_and_the_standard_library_both_read_a_uri_we_read_the_same_host(rest: str) -> None:
    text = "https://" + rest
    uri = parse_uri(text)
    if uri is not None:
        assert urlsplit(text).hostname == (uri.host.strip("[]") or None)
