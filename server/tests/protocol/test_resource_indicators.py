"""Resource indicators: public API 9.1, ruling R5."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.errors import InvalidTarget
from authserver.protocol.resource_indicators import fold_resource, is_slug, one_resource


@pytest.mark.parametrize(
    ("values", "resource"),
    [
        ([], None),
        ([""], None),
        (["", ""], None),
        (["files"], "files"),
        (["https://mcp.example/"], "https://mcp.example/"),
        (["files", "files"], "files"),
        (["", "files", "files"], "files"),
    ],
)
def test_equal_values_count_once_and_empty_ones_not(values: list[str], resource: str | None) -> None:
    assert one_resource(values) == resource


def test_different_values_are_refused() -> None:
    with pytest.raises(InvalidTarget) as refusal:
        one_resource(["https://a.example", "https://b.example"])
    assert refusal.value.description == "only one resource per request"
    assert refusal.value.reason == "multiple_resources"


@pytest.mark.parametrize("value", ["https://mcp.example#", "https://mcp.example/mcp#tools", "files#"])
def test_a_fragment_is_refused(value: str) -> None:
    with pytest.raises(InvalidTarget, match="fragment"):
        one_resource([value])


@pytest.mark.parametrize(
    ("value", "folded"),
    [
        # what folds
        ("HTTPS://MCP.Example/Path", "https://mcp.example/Path"),
        ("https://mcp.example/", "https://mcp.example"),
        ("https://mcp.example:443", "https://mcp.example"),
        ("https://mcp.example:443/", "https://mcp.example"),
        ("http://mcp.example:80/mcp", "http://mcp.example/mcp"),
        ("https://mcp.example/?a=B", "https://mcp.example?a=B"),
        ("https://[2001:DB8::1]:443/mcp", "https://[2001:db8::1]/mcp"),
        ("https://User@MCP.example/", "https://User@mcp.example"),
        # what does not
        ("https://mcp.example", "https://mcp.example"),
        ("https://mcp.example:80/", "https://mcp.example:80"),
        ("http://mcp.example:443", "http://mcp.example:443"),
        ("https://mcp.example:0443", "https://mcp.example:0443"),
        ("https://mcp.example//", "https://mcp.example//"),
        ("https://mcp.example/mcp/", "https://mcp.example/mcp/"),
        ("https://mcp.example/%7Euser", "https://mcp.example/%7Euser"),
        ("https://mcp.example/a/../b", "https://mcp.example/a/../b"),
        ("https://mcp.example/mcp?X=Y", "https://mcp.example/mcp?X=Y"),
        # what is no http(s) URI
        ("files", "files"),
        ("FILES", "FILES"),
        ("", ""),
        ("URN:Example:Files", "URN:Example:Files"),
        ("https://", "https://"),
        ("https:///path", "https:///path"),
        ("HTTPS://mcp\u212a.example/", "HTTPS://mcp\u212a.example/"),
        ("http\u017f://mcp.example/", "http\u017f://mcp.example/"),
        ("HTTPS://mcp example/", "HTTPS://mcp example/"),
    ],
)
def test_only_what_the_contract_names_is_folded(value: str, folded: str) -> None:
    assert fold_resource(value) == folded


@given(st.text(st.sampled_from("htpsHTPS:/?#[]@.14380aA")).map("https://".__add__) | st.text())
def test_folding_twice_is_folding_once(value: str) -> None:
    assert fold_resource(fold_resource(value)) == fold_resource(value)


@pytest.mark.parametrize("slug", ["a", "0", "files", "mcp-example-com", "a-", "a" * 64])
def test_a_slug_is_accepted(slug: str) -> None:
    assert is_slug(slug)
    assert fold_resource(slug) == slug


@pytest.mark.parametrize("slug", ["", "-a", "A", "a_b", "a.b", "a/b", "ä", "a\n", "a" * 65, "https://a"])
def test_what_is_no_slug_is_refused(slug: str) -> None:
    assert not is_slug(slug)
