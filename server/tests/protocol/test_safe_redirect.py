"""Where a login may lead: public API 5.2."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.safe_redirect import safe_redirect


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/connections",
        "/oauth/authorize?client_id=c&redirect_uri=http://127.0.0.1:1234/cb&state=a%2Fb",
        "/oauth/authorize?redirect_uri=http%3A%2F%2Flocalhost%2Fcb",
        "/consent?session_id=abc#top",
        "/a//b",
    ],
)
def test_a_path_of_this_origin_is_kept(target: str) -> None:
    assert safe_redirect(target) == target


@pytest.mark.parametrize(
    "target",
    [
        None,
        "",
        "connections",
        "https://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "/\\evil.example/",
        "\\/evil.example/",
        "/a\\b",
        "/\tevil",
        "/\t/evil.example",
        "/a\r\nSet-Cookie:a=b",
        " /a",
        "/a b",
        "/a\n",
        "/\x00",
        "/ä",
        "javascript:alert(1)",
    ],
)
def test_anything_else_is_not(target: str | None) -> None:
    assert safe_redirect(target) is None


@given(st.text(st.sampled_from("/\\?#@:.ae \t\n"), max_size=20) | st.text())
def test_whatever_is_kept_stays_on_this_origin(target: str) -> None:
    kept = safe_redirect("/" + target)
    if kept is not None:
        assert kept == "/" + target
        assert urlsplit(urljoin("https://as.example/login", kept)).netloc == "as.example"
