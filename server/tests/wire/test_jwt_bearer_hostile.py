"""What clients, providers and operators could do wrong with identity assertions, and what becomes of it."""

import asyncio
import io
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authserver.outbound.client import OutboundClient
from authserver.protocol.id_jag import read_id_jag
from authserver.protocol.operator_errors import Invalid
from authserver.telemetry.logs import flush_logs
from authserver.xaa.administration import IdpDraft
from authserver.xaa.provider_keys import ProviderKeys
from authserver.xaa.store import insert_idp
from server.tests.fakes.identity_provider import IdentityProvider
from server.tests.fakes.signing_client import RSA_KEY, base64url, public_jwk, segment, sign
from server.tests.wire.harness import ISSUER, Wire, claims_of
from server.tests.wire.xaa import Enterprise

pytestmark = pytest.mark.anyio

MALLORY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def outbound(provided: tuple[IdentityProvider, OutboundClient]) -> OutboundClient:
    return provided[1]


def forged(acme: Enterprise, payload: bytes | None = None, **header: object) -> str:
    """Return an assertion with every claim right, signed by somebody else."""
    members = {"typ": "oauth-id-jag+jwt", "alg": "ES256"} | header
    claims: object = acme.provider.claims(now=acme.now) if payload is None else payload
    signing_input = f"{segment(members)}.{segment(claims)}"
    return f"{signing_input}.{base64url(sign(MALLORY, 'ES256', signing_input.encode()))}"


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"kid": "key-1"},
        {"jwk": public_jwk(MALLORY)},
        {"jku": "https://evil.example/jwks", "kid": "evil"},
        {"x5u": "https://evil.example/cert", "x5c": ["AAAA"], "x5t": "AAAA"},
        {"kid": "../../etc/passwd"},
        {"kid": "' OR 1=1 --"},
        {"crit": ["exp"]},
        {"b64": False},
        {"b64": False, "crit": ["b64"]},
        {"alg": "ES384"},
        {"alg": "RS256"},
        {"alg": "EdDSA"},
    ],
)
async def test_no_header_makes_the_key_of_somebody_else_a_provider_s(acme: Enterprise, header: dict[str, Any]) -> None:
    await acme.issued()
    await acme.refused(forged(acme, **header), error="invalid_grant", reason="invalid")
    assert set(acme.provider.web.paths()) == {"/jwks"}


async def test_a_member_that_is_named_twice_is_no_assertion(acme: Enterprise) -> None:
    claims = json.dumps(acme.provider.claims(now=acme.now))
    for doubled in ('"sub":"root"', '"iss":"https://evil.example"', '"cnf":{"jkt":"a","jkt":"b"}'):
        twice = claims.removesuffix("}") + f',"sub":"alice@acme",{doubled}}}'
        await acme.refused(acme.provider.sign(twice.encode()), error="invalid_grant", reason="invalid_assertion")


@pytest.mark.parametrize(
    "payload", [b'{"a":' * 1500 + b"1" + b"}" * 1500, b"[" * 11000, b'{"iss":' + b"9" * 9000 + b"}"]
)
async def test_deep_and_large_claims_are_no_assertion(acme: Enterprise, payload: bytes) -> None:
    await acme.refused(forged(acme, payload), error="invalid_grant", reason="invalid_assertion")


async def test_an_assertion_is_not_taken_from_the_url(wire: Wire, acme: Enterprise) -> None:
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_id": acme.client.id}
    answer = await wire.http.post(
        f"/oauth/token?assertion={acme.assertion()}", data=form | {"client_secret": acme.secret}
    )
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert "eyJ" not in answer.text


async def test_forged_assertions_that_name_a_new_key_each_are_one_fetch_a_minute(acme: Enterprise) -> None:
    await acme.issued()
    answers = await asyncio.gather(*(acme.trade(forged(acme, kid=f"evil {number}")) for number in range(50)))
    assert {answer.json()["error"] for answer in answers} == {"invalid_grant"}
    assert acme.provider.fetches == 2
    # Whoever is honest goes on as before.
    await acme.issued()
    assert acme.provider.fetches == 2


async def test_a_set_of_a_thousand_keys_is_not_taken(acme: Enterprise) -> None:
    acme.provider.publish(*(public_jwk(acme.provider.key, kid=f"key-{number}") for number in range(1000)))
    await acme.refused(error="server_error", reason="jwks_fetch_failed", status=500)


async def test_a_key_beside_symmetric_broken_and_oversized_ones_is_found(acme: Enterprise) -> None:
    rsa = public_jwk(RSA_KEY, kid="key-1")
    acme.provider.publish(
        {"kty": "oct", "k": "AAAA", "kid": "key-1"},
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "key-1"},
        rsa | {"n": base64url(b"\xff" * 8192)},
        rsa | {"use": "enc"},
        public_jwk(acme.provider.key, kid="key-1"),
    )
    await acme.issued()


@pytest.mark.parametrize(
    "suffix", [":8443", ":tenant", "/"], ids=["a port", "a colon in the path's place", "another path"]
)
async def test_users_of_one_provider_cannot_pass_for_another_s(wire: Wire, suffix: str) -> None:
    """The subject ``https://idp.test:8443:bob`` would be Bob of one issuer, and ``8443:bob`` of the other."""
    short = IdpDraft(name="One", issuer="https://idp.test/a", jwks_uri="https://idp.test/jwks")
    long = replace(short, issuer=f"https://idp.test/a{suffix}")
    for first, second in ((short, long), (long, short)):
        idp = await wire.core.idps.register(first, now=wire.clock.seconds)
        if ":" in suffix:
            with pytest.raises(Invalid, match="cannot be told apart from"):
                await wire.core.idps.register(second, now=wire.clock.seconds)
        else:
            other = await wire.core.idps.register(second, now=wire.clock.seconds)
            await wire.core.idps.delete(other.id, now=wire.clock.seconds)
        await wire.core.idps.delete(idp.id, now=wire.clock.seconds)


async def test_our_own_issuer_is_nobody_to_vouch_even_if_it_is_on_record(wire: Wire, acme: Enterprise) -> None:
    ours = replace(acme.idp, id="ours", issuer=ISSUER)
    await wire.core.db.write(lambda tx: insert_idp(tx, ours))
    await wire.core.xaa_policies.create(name="ours", idp_id="ours", now=acme.now)
    await acme.reload()
    await acme.refused(acme.assertion(iss=ISSUER), error="invalid_grant", reason="untrusted_issuer")


async def test_the_token_of_an_issuer_in_capitals_is_in_force(wire: Wire, acme: Enterprise) -> None:
    issuer = acme.idp.issuer.replace("https", "HTTPS")
    draft = IdpDraft(name="Loud", issuer=issuer, jwks_uri=acme.provider.jwks_uri)
    idp = await wire.core.idps.register(draft, now=acme.now)
    await wire.core.xaa_policies.create(name="loud", idp_id=idp.id, now=acme.now)
    await acme.reload()
    token = (await acme.issued(acme.assertion(iss=issuer)))["access_token"]
    assert claims_of(token)["sub"] == f"{issuer}:alice@acme"
    assert (await wire.introspect(token))["active"] is True


async def test_a_subject_that_is_a_user_s_id_is_not_that_user(wire: Wire, acme: Enterprise) -> None:
    token = (await acme.issued(acme.assertion(sub=wire.user.id)))["access_token"]
    assert claims_of(token)["sub"] == f"{acme.idp.issuer}:{wire.user.id}"
    await wire.core.accounts.disable_user(wire.user.id, now=acme.now)
    assert (await wire.introspect(token))["active"] is True


async def test_keys_whose_fetch_began_before_they_were_refreshed_are_not_kept(acme: Enterprise) -> None:
    gate = asyncio.Event()
    acme.provider.web.answers["/jwks"].gate = gate
    slow = asyncio.create_task(acme.trade())
    await acme.provider.web.wait_for_requests(1)
    # The provider's key was stolen; it publishes another, and operators have every process fetch anew.
    acme.provider.key, acme.provider.kid = MALLORY, "key-2"
    acme.provider.publish()
    await acme.wire.core.idps.refresh_keys(acme.idp.id, now=acme.now)
    await acme.reload()
    await acme.issued()
    gate.set()
    assert (await slow).status_code == 200
    acme.provider.key, acme.provider.kid = IdentityProvider.key, "key-1"
    acme.provider.fall()
    await acme.refused(error="invalid_grant", reason="invalid")


async def test_every_process_forgets_keys_however_many_providers_there_are(
    wire: Wire, acme: Enterprise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("authserver.xaa.provider_keys.MAX_SETS", 1)
    keys, assertion = ProviderKeys(wire.core.http, cache_ttl=3600), read_id_jag(acme.assertion())
    other = replace(acme.idp, id="other", issuer="https://other.test", jwks_uri=f"{acme.provider.issuer}/other")
    acme.provider.web.answers["/other"] = acme.provider.web.answers["/jwks"]
    for idp in (acme.idp, other, replace(acme.idp, keys_version=2)):
        assert await keys.find(idp, assertion, now=acme.now)
    assert acme.provider.web.paths() == ["/jwks", "/other", "/jwks"]


async def test_no_log_line_names_an_e_mail_address(acme: Enterprise, logged: io.BytesIO) -> None:
    for subject in ("ada@example.com", "alice@acme"):
        await acme.issued(acme.assertion(sub=subject))
        await acme.refused(acme.assertion(sub=subject), scope="x:y", error="invalid_scope", reason="invalid_scope")
    flush_logs()
    text = logged.getvalue().decode()
    assert "ada@example.com" not in text
    assert '"idp_subject":"alice@acme"' in text
    assert "eyJ" not in text
    rows = await acme.wire.core.db.fetch_all("SELECT decision FROM refusal_traces")
    assert rows
    assert "@" not in str([row["decision"] for row in rows])
