"""``private_key_jwt`` at the token, introspection and revocation endpoints (public API §3.1, checklist no. 17)."""

from typing import Any

import pytest

from authserver.clients.administration import NewClient
from server.tests.fakes.signing_client import SigningClient
from server.tests.wire.harness import ISSUER, REDIRECT, Wire
from server.tests.wire.harness import Answer as Response

pytestmark = pytest.mark.anyio

ENDPOINTS = pytest.mark.parametrize("path", ["/oauth/token", "/oauth/introspect", "/oauth/revoke"])


async def post(wire: Wire, path: str, form: dict[str, Any], **options: Any) -> Response:
    """Ask an endpoint for something that only an authenticated client is refused or granted in its own way."""
    what = {"grant_type": "refresh_token", "refresh_token": "unknown"} if path == "/oauth/token" else {"token": "a.b.c"}
    return await wire.http.post(path, data=what | form, **options)


def is_authenticated(answer: Response) -> bool:
    """Tell whether the client got past its authentication."""
    if answer.status_code == 401:
        body = answer.json()
        assert body["error"] == "invalid_client"
        assert body["error_description"] == f"client authentication failed ({body['reference']})"
        assert answer.headers["www-authenticate"] == 'Basic realm="authserver"'
        assert answer.headers["cache-control"] == "no-store"
        return False
    if answer.status_code == 400:
        assert answer.json()["error"] == "invalid_grant", answer.text
        return True
    assert answer.status_code == 200, answer.text
    return True


async def admin_client(wire: Wire, client: SigningClient, **members: Any) -> SigningClient:
    new = NewClient(
        name="Signs", redirect_uris=(REDIRECT,), auth_method="private_key_jwt", **({"jwks": client.jwks} | members)
    )
    registered = await wire.core.clients.create(new, now=wire.clock.seconds)
    assert registered.client_secret is None
    client.client_id = registered.client.id
    return client


@pytest.fixture
async def client(wire: Wire) -> SigningClient:
    """A client of the operators that signs with ES256."""
    return await admin_client(wire, SigningClient(audience=ISSUER))


@ENDPOINTS
async def test_an_assertion_proves_the_client(wire: Wire, client: SigningClient, path: str) -> None:
    assert is_authenticated(await post(wire, path, client.proof(now=wire.clock.seconds)))
    named = {"client_id": client.client_id}
    assert is_authenticated(await post(wire, path, client.proof(now=wire.clock.seconds) | named))
