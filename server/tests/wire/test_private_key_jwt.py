"""``private_key_jwt`` at the token, introspection and revocation endpoints (public API §3.1, checklist no. 17)."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from authserver.clients.administration import ClientChanges, NewClient
from authserver.storage.database import StorageUnavailable
from server.tests.fakes.certificates import tls_contexts
from server.tests.fakes.document_server import Answer, DocumentServer, document_server
from server.tests.fakes.proving_client import ProvingClient
from server.tests.fakes.signing_client import (
    ASSERTION_TYPE,
    ED_KEY,
    KEYS,
    RSA_KEY,
    SigningClient,
    base64url,
    public_jwk,
    segment,
    sign,
)
from server.tests.wire.harness import ISSUER, REDIRECT, RESOURCE, Wire
from server.tests.wire.harness import Answer as Response

pytestmark = pytest.mark.anyio

ENDPOINTS = pytest.mark.parametrize("path", ["/oauth/token", "/oauth/introspect", "/oauth/revoke"])
JSON = {"Content-Type": "application/json"}


async def post(wire: Wire, path: str, form: dict[str, str], **options: Any) -> Response:
    """Ask an endpoint for something that an authenticated client is told is not to be had."""
    what = {"grant_type": "refresh_token", "refresh_token": "unknown"} if path == "/oauth/token" else {"token": "a.b.c"}
    return await wire.http.post(path, data=what | form, **options)


def is_authenticated(answer: Response) -> bool:
    """Tell whether the client got past its authentication."""
    if answer.status_code != 401:
        assert answer.status_code == (400 if b"invalid_grant" in answer.content else 200), answer.text
        return True
    body = answer.json()
    assert body["error"] == "invalid_client"
    assert body["error_description"] == f"client authentication failed ({body['reference']})"
    assert answer.headers["www-authenticate"] == 'Basic realm="authserver"'
    assert answer.headers["cache-control"] == "no-store"
    return False


async def spent(wire: Wire) -> int:
    return len(await wire.core.db.fetch_all("SELECT jti FROM assertion_jtis"))


async def operators_client(wire: Wire, client: SigningClient, **keys: Any) -> SigningClient:
    new = NewClient(
        name="Signs", redirect_uris=(REDIRECT,), auth_method="private_key_jwt", **(keys or {"jwks": client.jwks})
    )
    registered = await wire.core.clients.create(new, now=wire.clock.seconds)
    assert registered.client_secret is None
    client.client_id = registered.client.id
    return client


async def registered_client(wire: Wire, client: SigningClient) -> SigningClient:
    answer = await wire.register(token_endpoint_auth_method="private_key_jwt", jwks=client.jwks)
    assert "client_secret" not in answer
    assert (answer["token_endpoint_auth_method"], answer["jwks"]) == ("private_key_jwt", client.jwks)
    client.client_id = answer["client_id"]
    return client


async def documented_client(
    wire: Wire, documents: DocumentServer, client: SigningClient, **members: object
) -> SigningClient:
    """A client whose document the server has read."""
    keys = {"token_endpoint_auth_method": "private_key_jwt", "jwks": client.jwks}
    client.client_id = documents.document("/client", redirect_uris=[REDIRECT], **(keys | members))
    answer = await wire.authorize(client.client_id)
    assert answer.status_code == 303, answer.text
    return client


@pytest.fixture
async def documents() -> AsyncIterator[DocumentServer]:
    async with document_server() as server:
        yield server


@pytest.fixture(params=["admin", "dcr", "cimd"])
async def client(request: pytest.FixtureRequest, wire: Wire, documents: DocumentServer) -> SigningClient:
    """A client that signs with ES256; a test that asks for it runs with one of each source."""
    client = SigningClient(audience=ISSUER)
    match request.param:
        case "admin":
            return await operators_client(wire, client)
        case "dcr":
            return await registered_client(wire, client)
        case _:
            return await documented_client(wire, documents, client)


@ENDPOINTS
async def test_an_assertion_proves_the_client_once(wire: Wire, client: SigningClient, path: str) -> None:
    now = wire.clock.seconds
    proof = client.proof(now=now)
    assert is_authenticated(await post(wire, path, proof))
    assert not is_authenticated(await post(wire, path, proof))
    assert is_authenticated(await post(wire, path, client.proof(now=now) | {"client_id": client.client_id}))
    for audience in (f"{ISSUER}/oauth/token", [ISSUER], [f"{ISSUER}/oauth/token"], f"{ISSUER}/", [f"{ISSUER}/"]):
        assert is_authenticated(await post(wire, path, client.proof(now=now, aud=audience)))
    assert await spent(wire) == 7


@ENDPOINTS
async def test_an_assertion_for_the_issuer_with_a_slash_is_spent_like_any_other(
    wire: Wire, client: SigningClient, path: str
) -> None:
    now = wire.clock.seconds
    assert is_authenticated(await post(wire, path, client.proof(now=now, aud=f"{ISSUER}/", jti="once")))
    assert not is_authenticated(await post(wire, path, client.proof(now=now, aud=f"{ISSUER}/", jti="once")))
    assert not is_authenticated(await post(wire, path, client.proof(now=now, aud=ISSUER, jti="once")))


async def test_an_assertion_used_at_one_endpoint_is_spent_at_all(wire: Wire, client: SigningClient) -> None:
    proof = client.proof(now=wire.clock.seconds)
    assert is_authenticated(await post(wire, "/oauth/revoke", proof))
    for path in ("/oauth/token", "/oauth/introspect", "/oauth/revoke"):
        assert not is_authenticated(await post(wire, path, proof))


@ENDPOINTS
async def test_what_does_not_hold_is_refused_and_spends_nothing(wire: Wire, client: SigningClient, path: str) -> None:
    now = wire.clock.seconds
    rows = len(await wire.audit())
    stranger = SigningClient(client_id=client.client_id, audience=ISSUER, key=ec.generate_private_key(ec.SECP256R1()))
    own_key = {"jwk": stranger.jwk, "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x5c"}
    claims = client.claims(now=now)
    twice = base64url(json.dumps(claims)[:-1].encode() + b',"exp":' + str(now + 60).encode() + b"}")
    signing_input = f"{segment({'alg': 'ES256', 'kid': client.kid})}.{twice}"
    wrong = {
        "signature": stranger.assertion(now=now),
        "key in the header": stranger.sign(claims, **own_key),
        "none": f"{segment({'alg': 'none'})}.{segment(claims)}.AA",
        "HS256": client.sign(claims, alg="HS256"),
        "algorithm of another key": client.sign(claims, alg="RS256"),
        "kid": client.sign(claims, kid="another"),
        "crit": client.sign(claims, crit=["exp"]),
        "typ": client.sign(claims, typ="at+jwt"),
        "iss": client.assertion(now=now, iss="another"),
        "no sub": client.assertion(now=now, sub=None),
        "unknown client": client.assertion(now=now, iss="unknown", sub="unknown"),
        "aud": client.assertion(now=now, aud=ISSUER + "//"),
        "aud of the token endpoint and a slash": client.assertion(now=now, aud=ISSUER + "/oauth/token/"),
        "aud of this endpoint alone": client.assertion(now=now, aud=ISSUER + "/oauth/introspect"),
        "two auds": client.assertion(now=now, aud=[ISSUER, ISSUER + "/oauth/token"]),
        "no aud": client.assertion(now=now, aud=None),
        "no exp": client.assertion(now=now, exp=None),
        "past": client.assertion(now=now, exp=now - 30),
        "too long": client.assertion(now=now, exp=now + 331),
        "iat": client.assertion(now=now, iat=now + 31),
        "nbf": client.assertion(now=now, nbf=now + 31),
        "no jti": client.assertion(now=now, jti=None),
        "long jti": client.assertion(now=now, jti="x" * 257),
        "claim given twice": f"{signing_input}.{base64url(sign(client.key, 'ES256', signing_input.encode()))}",
        "no assertion": "nonsense",
    }
    for what, assertion in wrong.items():
        answer = await post(wire, path, {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion})
        assert not is_authenticated(answer), what
    assert await spent(wire) == 0
    assert len(await wire.audit()) == rows


@ENDPOINTS
async def test_an_assertion_stands_alone(wire: Wire, client: SigningClient, path: str) -> None:
    now = wire.clock.seconds
    basic = {"Authorization": "Basic " + base64.b64encode(b"x:y").decode()}
    assert not is_authenticated(await post(wire, path, client.proof(now=now), headers=basic))
    assert not is_authenticated(await post(wire, path, client.proof(now=now) | {"client_secret": "s"}))
    assert not is_authenticated(await post(wire, path, client.proof(now=now) | {"client_id": "another"}))
    for name in ("client_assertion", "client_assertion_type"):
        form = client.proof(now=now) | {"client_id": client.client_id}
        del form[name]
        assert not is_authenticated(await post(wire, path, form))
    saml = {"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}
    assert not is_authenticated(await post(wire, path, client.proof(now=now) | saml))
    assert await spent(wire) == 0


@ENDPOINTS
async def test_without_an_assertion_such_a_client_is_refused(wire: Wire, client: SigningClient, path: str) -> None:
    assert not is_authenticated(await post(wire, path, {"client_id": client.client_id}))
    assert not is_authenticated(await post(wire, path, {"client_id": client.client_id, "client_secret": "s"}))
    basic = {"Authorization": "Basic " + base64.b64encode(b"x:y").decode()}
    assert not is_authenticated(await post(wire, path, {"client_id": client.client_id}, headers=basic))


@ENDPOINTS
async def test_two_assertions_are_a_malformed_request(wire: Wire, client: SigningClient, path: str) -> None:
    now = wire.clock.seconds
    proof: dict[str, Any] = client.proof(now=now)
    proof["client_assertion"] = [proof["client_assertion"], client.assertion(now=now)]
    answer = await post(wire, path, proof)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


@ENDPOINTS
@pytest.mark.parametrize("alg", ["ES256", "RS256", "PS256", "EdDSA"])
async def test_four_algorithms_are_taken_with_a_key_that_fits(wire: Wire, path: str, alg: str) -> None:
    client = await operators_client(wire, SigningClient(audience=ISSUER, alg=alg, key=KEYS[alg], kid=None))
    assert is_authenticated(await post(wire, path, client.proof(now=wire.clock.seconds)))
    for other in {"ES256", "RS256", "PS256", "EdDSA"} - {alg}:
        client.alg = other
        assertion = client.assertion(now=wire.clock.seconds)
        if {alg, other} == {"RS256", "PS256"}:
            # The key fits both; what it signed as the one is not what it would sign as the other.
            client.alg = alg
            assertion = client.sign(client.claims(now=wire.clock.seconds), alg=other)
        form = {"client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
        assert not is_authenticated(await post(wire, path, form))


@pytest.mark.parametrize("stated", [None, "EdDSA", "Ed25519"])
async def test_the_new_name_of_the_edwards_curve_is_taken_for_the_old(wire: Wire, stated: str | None) -> None:
    client = SigningClient(audience=ISSUER, alg="Ed25519", key=ED_KEY)
    await operators_client(wire, client, jwks={"keys": [{**client.jwk, **({"alg": stated} if stated else {})}]})
    assert is_authenticated(await post(wire, "/oauth/revoke", client.proof(now=wire.clock.seconds)))


async def test_without_a_name_every_fitting_key_is_tried(wire: Wire) -> None:
    others = [public_jwk(ec.generate_private_key(ec.SECP256R1())) for _ in range(5)]
    client = SigningClient(audience=ISSUER, kid=None)
    private = {"kty": "oct", "k": "c2VjcmV0"}
    await operators_client(wire, client, jwks={"keys": [private, public_jwk(RSA_KEY), *others, client.jwk]})
    assert is_authenticated(await post(wire, "/oauth/revoke", client.proof(now=wire.clock.seconds)))


async def test_a_client_whose_only_key_is_too_short_or_private_is_not_registered(wire: Wire) -> None:
    short = public_jwk(rsa.generate_private_key(65537, 1024))
    for jwk in (short, public_jwk(ED_KEY, d="AA"), {"kty": "oct", "k": "c2VjcmV0"}):
        document = {
            "client_name": "x",
            "redirect_uris": [REDIRECT],
            "token_endpoint_auth_method": "private_key_jwt",
            "jwks": {"keys": [jwk]},
        }
        answer = await wire.http.post("/oauth/register", json=document)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")
        assert "no public key in it can be used" in answer.json()["error_description"]


async def test_a_registration_echoes_where_its_keys_are(wire: Wire) -> None:
    answer = await wire.register(token_endpoint_auth_method="private_key_jwt", jwks_uri="https://c.example/jwks")
    assert answer["jwks_uri"] == "https://c.example/jwks"
    assert not {"jwks", "client_secret", "client_secret_expires_at"} & answer.keys()


@ENDPOINTS
async def test_a_suspended_client_learns_so_after_its_proof_which_is_not_spent(
    wire: Wire, client: SigningClient, path: str
) -> None:
    await wire.core.clients.suspend(client.client_id, now=wire.clock.seconds)
    proof = client.proof(now=wire.clock.seconds)
    answer = await post(wire, path, proof)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert answer.json()["error_description"].startswith("client is suspended or revoked (")
    await wire.core.clients.reactivate(client.client_id, now=wire.clock.seconds)
    assert is_authenticated(await post(wire, path, proof))


@ENDPOINTS
async def test_of_fifty_uses_at_once_one_is_authenticated(wire: Wire, client: SigningClient, path: str) -> None:
    proof = client.proof(now=wire.clock.seconds)
    answers = await asyncio.gather(*(post(wire, path, proof) for _ in range(50)))
    assert sum(is_authenticated(answer) for answer in answers) == 1


async def test_a_replay_leaves_a_row_of_the_client_that_signed(wire: Wire, client: SigningClient) -> None:
    proof = client.proof(now=wire.clock.seconds)
    await post(wire, "/oauth/introspect", proof)
    await post(wire, "/oauth/introspect", proof)
    await post(wire, "/oauth/token", proof)
    await wire.core.trail.flush()
    rows = await wire.core.db.fetch_all(
        "SELECT action, detail FROM audit_events WHERE client_id = $1 AND action LIKE 'token.%'", client.client_id
    )
    assert sorted((row["action"], row["detail"]) for row in rows) == [
        ("token.introspect_denied", "reason=assertion_replayed"),
        ("token.introspect_denied", "reason=invalid_token"),
        ("token.refresh_denied", "reason=invalid_client"),
    ]


@ENDPOINTS
async def test_no_verdict_while_the_replay_store_is_away(
    wire: Wire, client: SigningClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_transaction: object) -> None:
        raise StorageUnavailable("the queue is full", retry_after=3)

    proof = client.proof(now=wire.clock.seconds)
    with monkeypatch.context() as patched:
        patched.setattr(wire.core.db, "write", away)
        answer = await post(wire, path, proof)
    assert (answer.status_code, answer.json()["error"]) == (503, "server_error")
    assert answer.headers["retry-after"] == "3"
    assert is_authenticated(await post(wire, path, proof))


async def test_the_whole_way_from_code_to_revocation(wire: Wire, client: SigningClient) -> None:
    code = await wire.code(client.client_id)
    assert (await wire.redeem(client.client_id, code)).status_code == 401
    answer = await wire.redeem(client.client_id, code, **client.proof(now=wire.clock.seconds))
    assert answer.status_code == 200, answer.text
    refreshed = await wire.refresh(
        client.client_id, answer.json()["refresh_token"], **client.proof(now=wire.clock.seconds)
    )
    assert refreshed.status_code == 200, refreshed.text
    token = refreshed.json()["access_token"]
    form = client.proof(now=wire.clock.seconds) | {"token": token}
    seen = (await wire.http.post("/oauth/introspect", data=form)).json()
    assert (seen["active"], seen["client_id"], seen["aud"]) == (True, client.client_id, RESOURCE)
    form = client.proof(now=wire.clock.seconds) | {"token": token}
    assert (await wire.http.post("/oauth/revoke", data=form)).status_code == 200
    assert await wire.introspect(token) == {"active": False}


async def test_new_keys_take_effect_at_once(wire: Wire) -> None:
    client = await operators_client(wire, SigningClient(audience=ISSUER))
    assert is_authenticated(await post(wire, "/oauth/revoke", client.proof(now=wire.clock.seconds)))
    new = SigningClient(client_id=client.client_id, audience=ISSUER, key=ec.generate_private_key(ec.SECP256R1()))
    await wire.core.clients.update(client.client_id, ClientChanges(jwks=new.jwks), now=wire.clock.seconds)
    assert not is_authenticated(await post(wire, "/oauth/revoke", client.proof(now=wire.clock.seconds)))
    assert is_authenticated(await post(wire, "/oauth/revoke", new.proof(now=wire.clock.seconds)))


# --- keys that are fetched -------------------------------------------------------------------------------------------


@pytest.fixture
async def key_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_target: str
) -> AsyncIterator[DocumentServer]:
    """A server over TLS whose authority the server under test trusts."""
    directory = tmp_path / "tls"
    directory.mkdir()
    server_tls, _ = tls_contexts(directory, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(directory / "chain.pem"))
    async with document_server(server_tls) as server:
        yield server


@pytest.mark.parametrize("source", ["admin", "dcr", "cimd"])
async def test_keys_are_fetched_where_the_client_says(
    key_server: DocumentServer, wire: Wire, documents: DocumentServer, source: str
) -> None:
    old, new = (
        SigningClient(audience=ISSUER, alg="RS256", key=RSA_KEY, kid="old"),
        SigningClient(audience=ISSUER, alg="EdDSA", key=ED_KEY, kid="new"),
    )
    jwks_uri = key_server.url("/jwks")
    key_server.answers["/jwks"] = Answer(body=json.dumps(old.jwks).encode(), headers=JSON)
    match source:
        case "admin":
            await operators_client(wire, old, jwks_uri=jwks_uri)
        case "dcr":
            registered = await wire.register(token_endpoint_auth_method="private_key_jwt", jwks_uri=jwks_uri)
            old.client_id = registered["client_id"]
        case _:
            await documented_client(wire, documents, old, jwks=None, jwks_uri=jwks_uri)
    new.client_id = old.client_id
    assert key_server.requests == []
    for path in ("/oauth/token", "/oauth/introspect", "/oauth/revoke"):
        assert is_authenticated(await post(wire, path, old.proof(now=wire.clock.seconds)))
    assert len(key_server.requests) == 1

    key_server.answers["/jwks"].body = json.dumps(new.jwks).encode()
    for path in ("/oauth/token", "/oauth/introspect", "/oauth/revoke"):
        assert is_authenticated(await post(wire, path, new.proof(now=wire.clock.seconds)))
        assert not is_authenticated(await post(wire, path, old.proof(now=wire.clock.seconds)))
    assert len(key_server.requests) == 2


@ENDPOINTS
async def test_keys_that_cannot_be_had_are_a_failed_proof(key_server: DocumentServer, wire: Wire, path: str) -> None:
    client = SigningClient(audience=ISSUER)
    await operators_client(wire, client, jwks_uri=key_server.url("/missing"))
    assert not is_authenticated(await post(wire, path, client.proof(now=wire.clock.seconds)))
    assert await spent(wire) == 0


# --- documents that offer both methods (CM-08) -----------------------------------------------------------------------

BOTH = pytest.mark.parametrize(
    "methods",
    [
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"token_endpoint_auth_method": "none"},
        {"token_endpoint_auth_method": None},
    ],
)


@BOTH
async def test_who_offers_both_methods_proves_itself_or_not(
    wire: Wire, documents: DocumentServer, methods: dict[str, object]
) -> None:
    offered = methods | {"token_endpoint_auth_methods_supported": ["none", "private_key_jwt"]}
    client = await documented_client(wire, documents, SigningClient(audience=ISSUER), **offered)
    now, client_id = wire.clock.seconds, client.client_id
    stranger = SigningClient(client_id=client_id, audience=ISSUER, key=ec.generate_private_key(ec.SECP256R1()))

    code = await wire.code(client_id)
    assert (await wire.redeem(client_id, code, **stranger.proof(now=now))).status_code == 401
    assert (await wire.redeem(client_id, code, client_secret="s")).status_code == 401
    tokens = (await wire.redeem(client_id, code)).json()
    assert (await wire.refresh(client_id, tokens["refresh_token"], **stranger.proof(now=now))).status_code == 401
    tokens = (await wire.refresh(client_id, tokens["refresh_token"], **client.proof(now=now))).json()

    # Nobody is told about a token without a proof; to give one back needs none.
    introspection = {"client_id": client_id, "token": tokens["access_token"]}
    assert not is_authenticated(await wire.http.post("/oauth/introspect", data=introspection))
    proved = introspection | client.proof(now=now)
    assert (await wire.http.post("/oauth/introspect", data=proved)).json()["active"]
    refused = introspection | stranger.proof(now=now)
    assert not is_authenticated(await wire.http.post("/oauth/revoke", data=refused))
    assert is_authenticated(await wire.http.post("/oauth/revoke", data=introspection))
    assert await wire.introspect(tokens["access_token"]) == {"active": False}


@BOTH
async def test_a_session_of_who_may_choose_stays_with_its_key_however_it_began(
    wire: Wire, documents: DocumentServer, methods: dict[str, object]
) -> None:
    offered = methods | {"token_endpoint_auth_methods_supported": ["none", "private_key_jwt"]}
    client = await documented_client(wire, documents, SigningClient(audience=ISSUER), **offered)
    now, client_id = wire.clock.seconds, client.client_id
    prover = ProvingClient(url=f"{ISSUER}/oauth/token")
    code = await wire.code(client_id)
    answer = await wire.redeem(client_id, code, proof=prover.proof(now=now), **client.proof(now=now))
    assert answer.json()["token_type"] == "DPoP", answer.text
    refresh_token = answer.json()["refresh_token"]
    stolen = await wire.refresh(client_id, refresh_token)
    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
    answer = await wire.refresh(client_id, refresh_token, proof=prover.proof(now=now))
    assert answer.json()["token_type"] == "DPoP", answer.text


async def test_new_keys_of_a_document_have_the_user_asked_again(wire: Wire, documents: DocumentServer) -> None:
    client = await documented_client(wire, documents, SigningClient(audience=ISSUER))
    await wire.code(client.client_id)
    assert (await wire.authorize(client.client_id)).headers["location"].startswith(REDIRECT)
    wire.clock.seconds += 3601
    await wire.sign_in()
    new = SigningClient(audience=ISSUER, key=ec.generate_private_key(ec.SECP256R1()))
    await documented_client(wire, documents, new)
    answer = await wire.authorize(client.client_id)
    assert answer.headers["location"].startswith("/consent")
    assert not is_authenticated(await post(wire, "/oauth/revoke", client.proof(now=wire.clock.seconds)))
    assert is_authenticated(await post(wire, "/oauth/revoke", new.proof(now=wire.clock.seconds)))
    await wire.allow(answer)
    assert (await wire.authorize(client.client_id)).headers["location"].startswith(REDIRECT)
