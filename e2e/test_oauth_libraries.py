"""Strict OAuth client libraries, unmodified: they check content types, ``iss``, states, and the form of every answer."""

from collections.abc import Iterator

import jwt
import pytest

from e2e.harness.identity import Identity
from e2e.harness.installation import EVERYWHERE, Demo, Installation
from e2e.harness.person import Person
from e2e.harness.program import Program

pytestmark = pytest.mark.parametrize("installation", EVERYWHERE, indirect=True, scope="module")

CALLBACK = "http://127.0.0.1:38125/callback"
SCOPE = "notes:read notes:write"


@pytest.fixture(params=["openid-client", "oauth4webapi"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def program(
    library: str, installation: Installation, demo: Demo, *, client_id: str | None = None, auth_method: str = "none"
) -> Program:
    """Start a program that uses a library as a public or confidential client."""
    options = {
        "library": library,
        "issuer": installation.issuer,
        "resource": demo.url,
        "redirectUri": CALLBACK,
        "scope": SCOPE,
        "clientId": client_id,
        "authMethod": auth_method,
    }
    return Program("node/libraries.mjs", options)


@pytest.fixture
def public_client(library: str, installation: Installation, demo: Demo, identity: Identity) -> Iterator[Program]:
    client_id = identity.client_id or identity.metadata_url
    with program(library, installation, demo, client_id=client_id) as client:
        yield client


@pytest.fixture(params=["client_secret_basic", "client_secret_post"])
def confidential_client(
    request: pytest.FixtureRequest, library: str, installation: Installation, demo: Demo
) -> Iterator[Program]:
    """A client that registers itself and is given a secret."""
    with program(library, installation, demo, auth_method=request.param) as client:
        yield client


def sign_in(client: Program, person: Person) -> dict[str, str]:
    """Have the user allow the client; return its tokens."""
    asked = client.do("start")
    assert "authorize" in asked, asked
    answer = client.do("callback", url=person.allow(asked["authorize"]))
    assert "tokens" in answer, answer
    tokens: dict[str, str] = answer["tokens"]
    return tokens


def assert_is_for(token: str, demo: Demo) -> None:
    """Check what an access token is good for."""
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["aud"] == [demo.url]
    assert set(claims["scope"].split()) == set(SCOPE.split())


def test_a_public_client_gets_tokens_refreshes_and_revokes(public_client: Program, person: Person, demo: Demo) -> None:
    first = sign_in(public_client, person)
    assert_is_for(first["access_token"], demo)
    second = public_client.do("refresh")["tokens"]
    assert_is_for(second["access_token"], demo)
    assert second["refresh_token"] != first["refresh_token"]
    assert public_client.do("revoke") == {"revoked": True}
    refused = public_client.do("refresh")
    assert (refused["oauth"], refused["status"]) == ("invalid_grant", 400)


def test_a_confidential_client_sees_its_token_turn_inactive(
    confidential_client: Program, person: Person, installation: Installation, demo: Demo
) -> None:
    tokens = sign_in(confidential_client, person)
    seen = confidential_client.do("introspect")["introspection"]
    assert seen["active"] is True
    assert seen["iss"] == installation.issuer
    assert seen["exp"] == jwt.decode(tokens["access_token"], options={"verify_signature": False})["exp"]
    assert confidential_client.do("refresh")["tokens"]["access_token"] != tokens["access_token"]
    assert confidential_client.do("revoke") == {"revoked": True}
    assert confidential_client.do("introspect") == {"introspection": {"active": False}}


def test_a_library_understands_a_refused_user_and_a_spent_code(
    library: str, installation: Installation, demo: Demo, person: Person
) -> None:
    with program(library, installation, demo) as client:
        asked = client.do("start")["authorize"]
        denied = client.do("callback", url=person.deny(asked))
        assert denied["oauth"] == "access_denied"
        callback = person.allow(asked)
        assert "tokens" in client.do("callback", url=callback)
        spent = client.do("callback", url=callback)
        assert (spent["oauth"], spent["status"]) == ("invalid_grant", 400)


def test_a_library_refuses_an_answer_of_another_issuer(
    library: str, installation: Installation, demo: Demo, person: Person
) -> None:
    with program(library, installation, demo) as client:
        callback = person.allow(client.do("start")["authorize"])
        mixed_up = client.do("callback", url=callback.partition("&iss=")[0] + "&iss=http%3A%2F%2Flocalhost%3A1")
        assert mixed_up["error"] == "OAUTH_INVALID_RESPONSE"
        assert "tokens" in client.do("callback", url=callback)
