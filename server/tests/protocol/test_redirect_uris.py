"""Redirect URIs: public API 13, MCP checklist 11.1, UI-02, ruling R45."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.errors import InvalidRedirectUri
from authserver.protocol.redirect_uris import (
    add_query,
    check_redirect_uri,
    form_action_source,
    is_loopback,
    is_native,
    match_redirect_uri,
    redirect_host,
)


@pytest.mark.parametrize(
    "uri",
    [
        "https://claude.ai/api/mcp/auth_callback",
        "https://chatgpt.com/connector/oauth/abc_123",
        "https://client.example:8443/cb?tenant=1",
        "http://localhost/callback",
        "http://127.0.0.1/callback",
        "http://127.0.0.1:33418/",
        "http://127.0.0.1",
        "http://[::1]:5000/cb",
        "https://localhost:6274/cb",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "vscode://vscode.github-authentication/did-authenticate",
        "vscode-insiders://ms/cb",
        "com.example.app:/oauth2redirect",
        "com.example.app:///cb",
    ],
)
def test_what_shipping_clients_register_is_accepted(uri: str) -> None:
    check_redirect_uri(uri, is_public=True)
    assert match_redirect_uri(uri, [uri]) == uri


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("", "absolute"),
        ("/cb", "absolute"),
        ("client.example/cb", "absolute"),
        ("https://client.example/c b", "absolute"),
        ("https://client.example/cb\r\nSet-Cookie:a=b", "absolute"),
        ("https://client.example\\@evil.example/cb", "absolute"),
        ("https://client.example:99999/cb", "absolute"),
        ("https:client.example/cb", "host"),
        ("https:///cb", "host"),
        ("http:/cb", "host"),
        ("https://client.example/cb#x", "fragment"),
        ("https://client.example/cb#", "fragment"),
        ("https://good.example@evil.example/cb", "user information"),
        ("http://user@localhost/cb", "user information"),
        ("https://@client.example/cb", "user information"),
        ("https://*.client.example/cb", "absolute"),
        ("https://client.example/*", "wildcard"),
        ("http://client.example/cb", "http is for"),
        ("http://127.0.0.2/cb", "http is for"),
        ("http://127.1/cb", "http is for"),
        ("http://localhost.evil.example/cb", "http is for"),
        ("javascript:alert(1)", "scheme"),
        ("JavaScript:alert(1)", "scheme"),
        ("data:text/html,hi", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("vbscript:x", "scheme"),
        ("blob:https://client.example/x", "scheme"),
        ("about:blank", "scheme"),
        ("localhost:3000/cb", "scheme"),
        ("ftp://client.example/cb", "scheme"),
        ("https://client.example/" + "a" * 2048, "longer than 2048"),
    ],
)
def test_what_may_not_be_registered_is_refused_and_never_matches(uri: str, rule: str) -> None:
    with pytest.raises(InvalidRedirectUri, match=rule):
        check_redirect_uri(uri, is_public=True)
    assert match_redirect_uri(uri, [uri]) is None


def test_a_refusal_names_the_uri_in_characters_that_are_safe() -> None:
    with pytest.raises(InvalidRedirectUri) as refusal:
        check_redirect_uri('https://client.example/"\r\n', is_public=True)
    assert (
        refusal.value.description
        == "redirect_uri 'https://client.example/???' is not allowed: it is not an absolute URI"
    )


def test_a_private_use_scheme_is_for_public_clients() -> None:
    with pytest.raises(InvalidRedirectUri, match="public clients"):
        check_redirect_uri("cursor://anysphere.cursor-mcp/oauth/callback", is_public=False)
    check_redirect_uri("https://client.example/cb", is_public=False)


@pytest.mark.parametrize(
    ("requested", "registered", "matches"),
    [
        # 1: exact equality
        ("https://client.example/cb", "https://client.example/cb", True),
        ("https://client.example/cb/", "https://client.example/cb", False),
        ("https://client.example/cb?a=1", "https://client.example/cb", False),
        ("https://CLIENT.example/cb", "https://client.example/cb", False),
        ("https://client.example:443/cb", "https://client.example/cb", False),
        ("https://client.example:8443/cb", "https://client.example/cb", False),
        ("cursor://a/cb", "cursor://a/cb", True),
        ("cursor://a:1/cb", "cursor://a/cb", False),
        # 2: loopback, the port ignored in both directions
        ("http://localhost:51234/callback", "http://localhost/callback", True),
        ("http://127.0.0.1:51234/callback", "http://127.0.0.1/callback", True),
        ("http://127.0.0.1/callback", "http://127.0.0.1:33418/callback", True),
        ("http://[::1]:2/cb", "http://[::1]:1/cb", True),
        ("https://localhost:2/cb", "https://localhost:1/cb", True),
        ("http://localhost:1/cb?a=1", "http://localhost/cb?a=1", True),
        ("http://localhost:1/cb?a=2", "http://localhost/cb?a=1", False),
        ("http://localhost:1/cb?", "http://localhost/cb", False),
        ("http://localhost:1/other", "http://localhost/cb", False),
        ("http://localhost:1/", "http://localhost", False),
        ("https://localhost:1/cb", "http://localhost/cb", False),
        ("http://127.0.0.1:1/cb", "http://localhost/cb", False),
        ("http://localhost:1/cb", "http://127.0.0.1/cb", False),
        ("http://[::1]:1/cb", "http://localhost/cb", False),
        # 3: what may not be registered
        ("http://user@localhost:1/cb", "http://localhost/cb", False),
        ("http://localhost:1/cb#x", "http://localhost/cb", False),
        ("http://localhost:1/cb", "not a uri", False),
        ("http://localhost:1/cb", "http://user@localhost/cb", False),
    ],
)
def test_a_requested_uri_matches_as_the_contract_says(requested: str, registered: str, *, matches: bool) -> None:
    assert match_redirect_uri(requested, ["https://other.example/", registered]) == (registered if matches else None)


def test_nothing_matches_where_nothing_is_registered() -> None:
    assert match_redirect_uri("https://client.example/cb", ()) is None


def test_an_exact_match_wins_over_one_without_the_port() -> None:
    registered = ["http://localhost/cb", "http://localhost:7/cb"]
    assert match_redirect_uri("http://localhost:7/cb", registered) == "http://localhost:7/cb"
    assert match_redirect_uri("http://localhost:8/cb", registered) == "http://localhost/cb"


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_no_port_matters_on_loopback_and_every_port_elsewhere(requested: int, registered: int) -> None:
    assert match_redirect_uri(f"http://127.0.0.1:{requested}/cb", [f"http://127.0.0.1:{registered}/cb"])
    other = match_redirect_uri(f"https://a.example:{requested}/cb", [f"https://a.example:{registered}/cb"])
    assert (other is not None) == (requested == registered)


@given(st.text(st.sampled_from("htp:/localhost@evil.example#?\\\t[]1"), max_size=40))
def test_no_requested_uri_leads_anywhere_but_to_a_registered_host(requested: str) -> None:
    if match_redirect_uri(requested, ["http://localhost/cb"]) is not None:
        assert urlsplit(requested).hostname == "localhost"


@pytest.mark.parametrize(
    ("uri", "loopback", "native"),
    [
        ("http://localhost:1/cb", True, True),
        ("https://[::1]/cb", True, True),
        ("http://127.0.0.1/cb", True, True),
        ("cursor://localhost/cb", False, True),
        ("com.example.app:/cb", False, True),
        ("https://client.example/cb", False, False),
        ("https://localhost.example/cb", False, False),
        ("no uri", False, False),
    ],
)
def test_loopback_and_native_uris_are_told_from_others(uri: str, *, loopback: bool, native: bool) -> None:
    assert is_loopback(uri) is loopback
    assert is_native(uri) is native


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("https://good.example@evil.example/cb", "evil.example"),
        ("https://good.example:pw@evil.example:8443/cb", "evil.example"),
        ("https://evil.example/https://good.example", "evil.example"),
        ("https://Client.Example/cb", "client.example"),
        ("http://127.0.0.1:5/cb", "127.0.0.1"),
        ("http://[::1]:5/cb", "[::1]"),
        ("cursor://good.example/cb", "cursor:"),
        ("com.example.app:/cb", "com.example.app:"),
        ("no uri", ""),
    ],
)
def test_the_host_shown_is_the_one_that_receives_the_answer(uri: str, host: str) -> None:
    assert redirect_host(uri) == host


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://client.example/cb?a=;b", "https://client.example"),
        ("https://Client.Example:8443/cb", "https://client.example:8443"),
        ("http://localhost:51234/cb", "http://localhost:51234"),
        ("http://127.0.0.1:51234/cb", "http://127.0.0.1:51234"),
        ("http://[::1]:51234/cb", "http:"),
        ("https://192.0.2.1/cb", "https:"),
        ("cursor://anysphere.cursor-mcp/oauth/callback", "cursor:"),
        ("com.example.app:/cb", "com.example.app:"),
        ("no uri", ""),
    ],
)
def test_the_source_for_form_action_reaches_the_uri(uri: str, source: str) -> None:
    assert form_action_source(uri) == source


@given(st.text())
def test_no_source_can_leave_its_directive(rest: str) -> None:
    source = form_action_source("https://" + rest)
    assert source.isascii()
    assert not set(" ;,'\"*\r\n") & set(source)


def test_response_parameters_are_added_to_the_query_that_is_there() -> None:
    answer = {"code": "a b", "iss": "https://as.example/p", "state": "ä&="}
    encoded = "code=a+b&iss=https%3A%2F%2Fas.example%2Fp&state=%C3%A4%26%3D"
    assert add_query("https://c.example/cb", answer) == f"https://c.example/cb?{encoded}"
    assert add_query("https://c.example/cb?x=%20y", answer) == f"https://c.example/cb?x=%20y&{encoded}"
    assert add_query("com.example.app:/cb", {"code": "1"}) == "com.example.app:/cb?code=1"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_state_comes_back_byte_for_byte(state: str) -> None:
    location = add_query("https://c.example/cb?x=1", {"state": state})
    assert location.isascii()
    assert parse_qsl(urlsplit(location).query, keep_blank_values=True) == [("x", "1"), ("state", state)]
