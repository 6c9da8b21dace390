import re

import pytest

from authserver.config.secret import Secret
from authserver.config.sections.listeners import SessionConfig
from authserver.login.nonces import LoginNonces
from authserver.login.site import Site
from server.tests.web.builders import a_request


@pytest.fixture
def nonces(session_config: SessionConfig, site: Site) -> LoginNonces:
    return LoginNonces(session_config, site=site)


def value_of(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    ((_, cookie),) = headers
    return cookie.partition(b";")[0].partition(b"=")[2]


def sent(value: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"cookie", b"authserver_login_nonce=" + value),)


def test_a_nonce_is_minted_once_and_kept(nonces: LoginNonces) -> None:
    token, headers = nonces.csrf_token(a_request())
    value = value_of(headers)
    assert re.fullmatch(rb"[0-9a-f]{32}\|[A-Za-z0-9_-]{43}", value)
    assert headers[0][1].endswith(b"; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Lax")
    assert nonces.csrf_token(a_request(headers=sent(value))) == (token, ())
    assert token.encode() not in value


def test_a_form_is_ours_with_the_token_of_its_own_browser(nonces: LoginNonces) -> None:
    token, headers = nonces.csrf_token(a_request())
    _, others = nonces.csrf_token(a_request())
    assert nonces.is_own_form(a_request(headers=sent(value_of(headers))), token)
    assert not nonces.is_own_form(a_request(headers=sent(value_of(others))), token)
    assert not nonces.is_own_form(a_request(headers=sent(value_of(headers))), None)
    assert not nonces.is_own_form(a_request(), token)


def test_what_the_server_did_not_mint_is_never_signed(
    nonces: LoginNonces, session_config: SessionConfig, site: Site
) -> None:
    _, headers = LoginNonces(SessionConfig(secret=Secret("another")), site=site).csrf_token(a_request())
    _, own = nonces.csrf_token(a_request())
    for value in (value_of(headers), b"a" * 32 + value_of(own)[32:], value_of(own) + b"|x", b"a" * 32, b"|"):
        token, minted = nonces.csrf_token(a_request(headers=sent(value)))
        assert value_of(minted) != value
        assert not nonces.is_own_form(a_request(headers=sent(value)), token)
