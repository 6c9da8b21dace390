"""Machines with the client libraries that people use, unmodified: client credentials by secret and by signature."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jwt.algorithms import ECAlgorithm

from e2e.harness.installation import EVERYWHERE, Demo, Installation, Machine
from e2e.harness.program import MCP_1, Program
from e2e.harness.signing_key import SigningKey, make_signing_key

pytestmark = pytest.mark.parametrize("installation", EVERYWHERE, indirect=True, scope="module")

SCOPE = "notes:read notes:write"
METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass(frozen=True, slots=True)
class Known:
    """A machine that the server knows, and its key if it signs."""

    machine: Machine
    key: SigningKey | None


def make_known(installation: Installation, method: str) -> Known:
    key = make_signing_key("ES256") if method == "private_key_jwt" else None
    return Known(installation.create_machine(SCOPE, auth_method=method, jwks=key.jwks if key else None), key)


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


@dataclass(frozen=True, slots=True)
class Generation:
    """A generation of the Python SDK.

    Attributes:
        scope_argument: What its providers call the scope.
        http: The HTTP library that it works with.
    """

    name: str
    packages: Path | None
    scope_argument: str
    http: str


FIRST, SECOND = Generation("Python 1", MCP_1, "scopes", "httpx"), Generation("Python 2", None, "scope", "httpx2")
# With a posted secret the first generation forgets to say who the client is.
EXTENSIONS = [(FIRST, METHODS[0]), (FIRST, METHODS[2]), *((SECOND, method) for method in METHODS)]


@contextmanager
def mcp_client(generation: Generation, known: Known, installation: Installation, demo: Demo) -> Iterator[Program]:
    key = None
    if known.key is not None:
        private = ECAlgorithm.from_jwk(known.key.private)
        key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()  # type: ignore[union-attr]  # from_jwk returns the private key of a private JWK
    options = {
        "mcpUrl": demo.url,
        "issuer": installation.issuer,
        "clientId": known.machine.client_id,
        "clientSecret": known.machine.secret,
        "authMethod": known.machine.auth_method,
        "key": key,
        "scope": SCOPE,
        "scopeArgument": generation.scope_argument,
        "http": generation.http,
    }
    with Program("python/mcp_machine_client.py", options, packages=generation.packages) as client:
        yield client


@pytest.mark.parametrize(
    ("generation", "method"), EXTENSIONS, ids=[f"{generation.name} {method}" for generation, method in EXTENSIONS]
)
def test_the_mcp_extension_gets_in_without_a_user(
    generation: Generation, method: str, installation: Installation, demo: Demo
) -> None:
    known = make_known(installation, method)
    with mcp_client(generation, known, installation, demo) as client:
        answer = client.do("call", tool="add_note", **{"with": {"text": "written by a machine"}})
        assert "result" in answer, answer
        assert not answer["result"].get("isError"), answer
        tokens = answer["tokens"]
        assert tokens["refresh_token"] is None
        claims = claims_of(tokens["access_token"])
        assert claims["sub"] == claims["client_id"] == known.machine.client_id
        assert claims["aud"] == [demo.url]
        assert set(claims["scope"].split()) == set(SCOPE.split())


@pytest.mark.parametrize("library", ["openid-client", "oauth4webapi"])
def test_a_strict_library_gets_asks_about_and_revokes_a_machine_token(
    library: str, method: str, installation: Installation, demo: Demo
) -> None:
    known = make_known(installation, method)
    options = {
        "library": library,
        "issuer": installation.issuer,
        "resource": demo.url,
        "redirectUri": "http://127.0.0.1/unused",
        "scope": "notes:read",
        "clientId": known.machine.client_id,
        "clientSecret": known.machine.secret,
        "authMethod": method,
        "key": known.key.private if known.key else None,
    }
    with Program("node/libraries.mjs", options) as client:
        assert "authorize" in client.do("start")
        tokens = client.do("machine")["tokens"]
        assert set(tokens) == {"access_token", "token_type", "expires_in", "scope"}
        assert (tokens["expires_in"], tokens["scope"]) == (3600, "notes:read")
        claims = claims_of(tokens["access_token"])
        assert (claims["sub"], claims["aud"]) == (known.machine.client_id, [demo.url])
        seen = client.do("introspect")["introspection"]
        assert (seen["active"], seen["sub"], seen["exp"]) == (True, known.machine.client_id, claims["exp"])
        assert client.do("revoke", what="access_token") == {"revoked": True}
        assert client.do("introspect") == {"introspection": {"active": False}}
        refused = client.do("machine", scope="notes:admin")
        assert (refused["oauth"], refused["status"]) == ("invalid_scope", 400)


def test_a_client_that_registered_itself_is_no_machine(installation: Installation, demo: Demo) -> None:
    document = {
        "client_name": "Self-made",
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_basic",
        "scope": SCOPE,
    }
    client = httpx2.post(f"{installation.issuer}/oauth/register", json=document).json()
    for form in ({}, {"scope": "notes:read"}):
        answer = httpx2.post(
            f"{installation.issuer}/oauth/token",
            data={"grant_type": "client_credentials", "resource": demo.url, **form},
            auth=(client["client_id"], client["client_secret"]),
        )
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
