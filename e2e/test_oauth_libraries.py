"""Strict OAuth client libraries, unmodified: they check content types, ``iss``, states, and the form of every answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jwt
import pytest

from e2e.harness.identity import WAYS, Identity
from e2e.harness.installation import EVERYWHERE, Demo, Installation
from e2e.harness.metadata_document import Authority, metadata_document
from e2e.harness.person import Person
from e2e.harness.program import Program
from e2e.harness.signing_key import SigningKey, make_signing_key

pytestmark = pytest.mark.parametrize("installation", EVERYWHERE, indirect=True, scope="module")

CALLBACK = "http://127.0.0.1:38125/callback"
SCOPE = "notes:read notes:write"


@pytest.fixture(params=["openid-client", "oauth4webapi"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def program(library: str, installation: Installation, demo: Demo, **more: Any) -> Program:
    """Start a program that uses a library as a client; a public one that registers itself, unless ``more`` says so."""
    options = {
        "library": library,
        "issuer": installation.issuer,
        "resource": demo.url,
        "redirectUri": CALLBACK,
        "scope": SCOPE,
    }
    return Program("node/libraries.mjs", options | more)


@pytest.fixture
def public_client(library: str, installation: Installation, demo: Demo, identity: Identity) -> Iterator[Program]:
    with program(library, installation, demo, clientId=identity.client_id or identity.metadata_url) as client:
        yield client


@pytest.fixture(params=["client_secret_basic", "client_secret_post"])
def secret_client(
    request: pytest.FixtureRequest, library: str, installation: Installation, demo: Demo
) -> Iterator[Program]:
    """A client that registers itself and is given a secret."""
    with program(library, installation, demo, authMethod=request.param) as client:
        yield client


@contextmanager
def known_by(way: str, key: SigningKey, *, installation: Installation, authority: Authority) -> Iterator[str | None]:
    """Make a client known that signs its assertions; yield its identifier, or None if it registers itself."""
    if way == "names its document":
        members = {"token_endpoint_auth_method": "private_key_jwt", "jwks": key.jwks}
        with metadata_document(authority, redirect_uris=[CALLBACK], name="Signing client", members=members) as url:
            yield url
    elif way == "was registered before":
        yield installation.create_signing_client(CALLBACK, jwks=key.jwks)
    else:
        yield None


SIGNERS = [*((WAYS[0], algorithm) for algorithm in ("RS256", "PS256", "Ed25519")), *((way, "ES256") for way in WAYS)]


@pytest.fixture(params=SIGNERS, ids=[f"{way} with {algorithm}" for way, algorithm in SIGNERS])
def signing_client(
    request: pytest.FixtureRequest, library: str, installation: Installation, demo: Demo, authority: Authority
) -> Iterator[Program]:
    """A client that proves itself with a signature: every algorithm, and every way of becoming known."""
    way, algorithm = request.param
    key = make_signing_key(algorithm)
    with (
        known_by(way, key, installation=installation, authority=authority) as client_id,
        program(
            library,
            installation,
            demo,
            clientId=client_id,
            authMethod="private_key_jwt",
            key=key.private,
            jwks=key.jwks,
        ) as client,
    ):
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


def assert_is_served(client: Program, person: Person, installation: Installation) -> None:
    """Take a confidential client through all three endpoints, to the end of its token."""
    tokens = sign_in(client, person)
    answer = client.do("introspect")
    assert "introspection" in answer, answer
    seen = answer["introspection"]
    assert seen["active"] is True
    assert seen["iss"] == installation.issuer
    assert seen["exp"] == jwt.decode(tokens["access_token"], options={"verify_signature": False})["exp"]
    assert client.do("refresh")["tokens"]["access_token"] != tokens["access_token"]
    assert client.do("revoke") == {"revoked": True}
    assert client.do("introspect") == {"introspection": {"active": False}}


def test_a_client_with_a_secret_sees_its_token_turn_inactive(
    secret_client: Program, person: Person, installation: Installation
) -> None:
    assert_is_served(secret_client, person, installation)


def test_a_client_that_signs_its_assertions_is_served_at_all_three_endpoints(
    signing_client: Program, person: Person, installation: Installation
) -> None:
    assert_is_served(signing_client, person, installation)


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


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256"])
def test_a_library_binds_its_tokens_to_a_key(
    algorithm: str, library: str, installation: Installation, demo: Demo, person: Person
) -> None:
    with program(library, installation, demo, dpop=algorithm) as client:
        tokens = sign_in(client, person)
        assert tokens["token_type"].lower() == "dpop"
        bound = jwt.decode(tokens["access_token"], options={"verify_signature": False})["cnf"]
        assert len(bound["jkt"]) == 43
        answer = client.do("refresh")
        assert "tokens" in answer, answer
        assert jwt.decode(answer["tokens"]["access_token"], options={"verify_signature": False})["cnf"] == bound
