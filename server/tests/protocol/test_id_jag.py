"""Identity assertions: every claim, every bound of time, every algorithm, and what no input may do (XAA §3, RFC 7523 §3)."""

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from authserver.protocol.errors import InvalidGrant
from authserver.protocol.id_jag import IdJag, is_foreign_subject, read_id_jag, verify_id_jag
from authserver.protocol.jwk import SIGNATURE_ALGORITHMS, parse_key_set
from server.tests.fakes.signing_client import EC_KEY, ED_KEY, RSA_KEY, PrivateKey, base64url, public_jwk, segment, sign

NOW = 1_790_000_000
AUDIENCE = "https://auth.example.com"
MAX_AGE = 300
ISSUER = "https://acme.idp.test"
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "alice",
    "aud": AUDIENCE,
    "client_id": "client-1",
    "jti": "one",
    "exp": NOW + 60,
    "iat": NOW,
}
KEYS: dict[str, Any] = {
    "ES256": EC_KEY,
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ED_KEY,
}


def a_token(claims: object, key: PrivateKey = EC_KEY, **header: object) -> str:
    members = {"typ": "oauth-id-jag+jwt", "alg": "ES256"} | header
    signing_input = f"{segment(members)}.{segment(claims)}"
    return f"{signing_input}.{base64url(sign(key, 'ES256', signing_input.encode()))}"


def verify(token: str, *jwks: dict[str, Any], now: int = NOW) -> IdJag:
    unverified = read_id_jag(token)
    published = json.dumps({"keys": jwks or (public_jwk(EC_KEY),)})
    keys = parse_key_set(published, algorithms=SIGNATURE_ALGORITHMS).fitting(unverified.alg, unverified.kid)
    return verify_id_jag(unverified, keys, audience=AUDIENCE, max_age=MAX_AGE, now=now)


def reason_of(token: str, now: int = NOW) -> str:
    try:
        verify(token, now=now)
    except InvalidGrant as exc:
        return exc.reason
    return "accepted"


def changed(**changes: object) -> str:
    return a_token({name: value for name, value in (CLAIMS | changes).items() if value is not ...})


def test_what_a_provider_vouches_for_is_read() -> None:
    more = {"scope": "b a", "resource": ["https://r.example"], "cnf": {"jkt": "k"}, "act": {"sub": "x"}, "acr": 1}
    assertion = verify(changed(**more))
    assert assertion == IdJag(
        issuer=ISSUER,
        subject="alice",
        client_id="client-1",
        jti="one",
        expires_at=NOW + 60,
        scopes=frozenset({"a", "b"}),
        resource="https://r.example",
        jkt="k",
    )
    assert is_foreign_subject(assertion.foreign_subject)
    assert assertion.foreign_subject == f"{ISSUER}:alice"
    bare = verify(changed())
    assert (bare.scopes, bare.resource, bare.jkt) == (None, None, None)
    assert verify(changed(scope="")).scopes == frozenset()


@pytest.mark.parametrize("alg", SIGNATURE_ALGORITHMS)
def test_every_algorithm_of_the_list_verifies_what_other_libraries_sign(alg: str) -> None:
    key = KEYS.get(alg, RSA_KEY)
    token = jwt.encode(CLAIMS, key, algorithm=alg, headers={"typ": "oauth-id-jag+jwt"})
    jwk = json.loads(jwt.get_algorithm_by_name(alg).to_jwk(key.public_key()))
    assert verify(token, jwk).subject == "alice"
    private = json.loads(jwt.get_algorithm_by_name(alg).to_jwk(key))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return  # the other library has its own name for it
    header = {"alg": alg, "typ": "oauth-id-jag+jwt"}
    theirs = joserfc_jwt.encode(header, CLAIMS, import_key(private), algorithms=[alg])
    assert verify(theirs, jwk).subject == "alice"
    assert reason_of(token) == ("accepted" if alg == "ES256" else "id_jag_key_unknown")


@pytest.mark.parametrize("alg", ["none", "HS256", "HS512", "RS1", "ES256K", "", None, 1])
def test_no_other_algorithm_is_read(alg: object) -> None:
    assert reason_of(a_token(CLAIMS, alg=alg)) == "invalid_assertion"


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"typ": "jwt"}, "id_jag_type"),
        ({"typ": "OAuth-ID-JAG+JWT"}, "id_jag_type"),
        ({"typ": None}, "id_jag_type"),
        ({"crit": ["b64"]}, "id_jag_claims"),
        ({"kid": 1}, "invalid_assertion"),
        ({"kid": "another"}, "id_jag_key_unknown"),
        ({"jwk": public_jwk(RSA_KEY), "jku": "https://evil.example"}, "accepted"),
    ],
)
def test_the_header_is_looked_at_before_the_signature(header: dict[str, Any], reason: str) -> None:
    assert reason_of(a_token(CLAIMS, **header)) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": NOW - 30}, "accepted"),
        ({"exp": NOW - 31}, "id_jag_expired"),
        ({"exp": ...}, "id_jag_claims"),
        ({"exp": None}, "id_jag_claims"),
        ({"exp": float(NOW + 60)}, "id_jag_claims"),
        ({"exp": str(NOW)}, "id_jag_claims"),
        ({"exp": True}, "id_jag_claims"),
        ({"exp": 10**18}, "id_jag_claims"),
        ({"iat": NOW + 30}, "accepted"),
        ({"iat": NOW + 31}, "id_jag_not_yet_valid"),
        ({"iat": NOW - MAX_AGE}, "accepted"),
        ({"iat": NOW - MAX_AGE - 1}, "id_jag_too_old"),
        ({"iat": ...}, "id_jag_claims"),
        ({"nbf": NOW + 30}, "accepted"),
        ({"nbf": NOW + 31}, "id_jag_not_yet_valid"),
        ({"aud": [AUDIENCE]}, "accepted"),
        ({"aud": [AUDIENCE, AUDIENCE]}, "id_jag_audience"),
        ({"aud": []}, "id_jag_audience"),
        ({"aud": ...}, "id_jag_audience"),
        ({"aud": AUDIENCE + "/"}, "id_jag_audience"),
        ({"aud": 1}, "id_jag_claims"),
        ({"sub": ...}, "id_jag_claims"),
        ({"sub": ""}, "id_jag_claims"),
        ({"sub": 1}, "id_jag_claims"),
        ({"sub": "a\x00"}, "id_jag_claims"),
        ({"sub": "é" * 513}, "id_jag_claims"),
        ({"client_id": ...}, "id_jag_claims"),
        ({"jti": ""}, "id_jag_claims"),
        ({"jti": "j" * 4000}, "accepted"),
        ({"scope": ["a"]}, "id_jag_claims"),
        ({"resource": ["a", "b"]}, "id_jag_claims"),
        ({"resource": 1}, "id_jag_claims"),
        ({"resource": ""}, "accepted"),
        ({"cnf": "k"}, "id_jag_claims"),
        ({"cnf": {"jkt": 1}}, "id_jag_claims"),
        ({"cnf": {}}, "accepted"),
        ({"email": 1, "act": 2, "tenant": []}, "accepted"),
    ],
)
def test_each_claim_has_its_rule(changes: dict[str, object], reason: str) -> None:
    assert reason_of(changed(**changes)) == reason


ORDER: list[tuple[dict[str, Any], str]] = [
    ({"exp": NOW - 31}, "id_jag_expired"),
    ({"iat": NOW + 31}, "id_jag_not_yet_valid"),
    ({"aud": "x"}, "id_jag_audience"),
    ({"sub": ""}, "id_jag_claims"),
]


@pytest.mark.parametrize("at", range(len(ORDER) - 1))
def test_the_earlier_of_two_faults_is_reported(at: int) -> None:
    (first, reason), (second, _) = ORDER[at : at + 2]
    assert reason_of(changed(**first, **second)) == reason
    assert reason_of(a_token(CLAIMS | first, typ="JWT")) == "id_jag_type"
    header, claims, signature = changed(**first).split(".")
    assert reason_of(f"{header}.{claims}.{signature[1:]}{signature[0]}") in {"id_jag_signature", "invalid_assertion"}
    assert reason_of(changed(**first, scope=1)) == "id_jag_claims"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(changes=st.dictionaries(st.sampled_from([*CLAIMS, "scope", "resource", "cnf", "nbf"]), JSON, max_size=4))
def test_whatever_a_provider_claims_is_read_or_refused(changes: dict[str, object]) -> None:
    try:
        assertion = verify(a_token(CLAIMS | changes))
    except InvalidGrant:
        return
    assert (assertion.issuer, CLAIMS["aud"]) == ((CLAIMS | changes)["iss"], AUDIENCE)
    assert all(isinstance(text, str) and text for text in (assertion.subject, assertion.client_id, assertion.jti))


@given(text=st.text(max_size=80) | st.from_regex(r"[A-Za-z0-9_-]{1,40}(\.[A-Za-z0-9_-]{0,40}){2}", fullmatch=True))
def test_whatever_is_sent_is_read_or_refused(text: str) -> None:
    with pytest.raises(InvalidGrant):
        read_id_jag(text)


@given(at=st.integers(0, 10_000), flip=st.integers(1, 63))
def test_no_altered_character_is_believed(at: int, flip: int) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = changed()
    place = at % len(token)
    if token[place] == ".":
        return
    other = alphabet[(alphabet.index(token[place]) + flip) % 64]
    assert reason_of(token[:place] + other + token[place + 1 :]) != "accepted"
