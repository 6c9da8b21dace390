"""What an assertion must say before anybody looks for its keys (public API, 3.1)."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.client_assertions import InvalidAssertion, UnverifiedAssertion, read_client_assertion
from authserver.protocol.jwk import parse_key_set
from server.tests.fakes.signing_client import EC_KEY, SigningClient, base64url, segment, sign

NOW = 1_790_000_000
ISSUER = "https://as.example"
AUDIENCES = frozenset({ISSUER, f"{ISSUER}/oauth/token"})
CLIENT = SigningClient(client_id="client-1", audience=ISSUER)


def read(assertion: str, *, now: int = NOW) -> UnverifiedAssertion:
    return read_client_assertion(assertion, audiences=AUDIENCES, now=now)


def reason_of(assertion: str, *, now: int = NOW) -> str:
    with pytest.raises(InvalidAssertion) as refusal:
        read(assertion, now=now)
    return refusal.value.reason


def with_header(**members: object) -> str:
    return CLIENT.sign(CLIENT.claims(now=NOW), **members)


def with_claims(**claims: object) -> str:
    return CLIENT.assertion(now=NOW, **claims)


def raw(header: str, claims: str) -> str:
    """An assertion of any text, whose signature is right."""
    signing_input = f"{segment(header.encode())}.{segment(claims.encode())}"
    return f"{signing_input}.{base64url(sign(EC_KEY, 'ES256', signing_input.encode()))}"


def test_an_assertion_is_read_and_then_verified() -> None:
    assertion = read(with_claims(jti="an id", exp=NOW + 300))
    assert (assertion.client_id, assertion.alg, assertion.kid) == ("client-1", "ES256", "key-1")
    assert (assertion.jti, assertion.expires_at) == ("an id", NOW + 300)
    assert assertion.is_signed_by(parse_key_set(json.dumps(CLIENT.jwks)).keys)
    assert not assertion.is_signed_by(())


@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "client-authentication+jwt"])
def test_the_types_of_an_assertion(typ: str | None) -> None:
    assert read(with_header(typ=typ)).client_id == "client-1"


@pytest.mark.parametrize("typ", ["", "at+jwt", "dpop+jwt", "JOSE", 1, ["JWT"]])
def test_another_type_is_refused(typ: object) -> None:
    assert reason_of(with_header(typ=typ)) == "assertion_type"


@pytest.mark.parametrize(
    "alg",
    [
        "none",
        "None",
        "HS256",
        "HS512",
        "ES384",
        "ES256K",
        "RS512",
        "PS384",
        "es256",
        "Es256",
        "eddsa",
        "",
        None,
        1,
        ["ES256"],
        {"ES256": 1},
        "Ed448",
        "ed25519",
    ],
)
def test_another_algorithm_is_refused(alg: object) -> None:
    assert reason_of(with_header(alg=alg)) == "assertion_algorithm"


@pytest.mark.parametrize("crit", [[], ["exp"], ["b64"], None])
def test_what_must_be_understood_is_not(crit: object) -> None:
    header = {"typ": "JWT", "alg": "ES256", "crit": crit}
    assert reason_of(raw(json.dumps(header), json.dumps(CLIENT.claims(now=NOW)))) == "assertion_critical"


def test_keys_in_the_header_or_behind_it_change_nothing() -> None:
    header = {"jwk": CLIENT.jwk, "jku": "https://evil.example/", "x5c": ["AA"], "x5u": "https://evil.example/"}
    assert not read(with_header(**header)).is_signed_by(())


@pytest.mark.parametrize("kid", [1, [], {}, True])
def test_the_name_of_a_key_is_a_text(kid: object) -> None:
    assert reason_of(with_header(kid=kid)) == "assertion_malformed"


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": None},
        {"sub": ""},
        {"sub": 1},
        {"sub": "client-2"},
        {"iss": None},
        {"iss": "client-2"},
        {"iss": "https://idp.example"},
        {"iss": ["client-1"], "sub": ["client-1"]},
    ],
)
def test_issuer_and_subject_are_the_client(claims: dict[str, Any]) -> None:
    assert reason_of(with_claims(**claims)) == "assertion_subject"


@pytest.mark.parametrize("audience", [ISSUER, f"{ISSUER}/oauth/token", [ISSUER], [f"{ISSUER}/oauth/token"]])
def test_the_audience_is_the_issuer_or_the_token_endpoint(audience: object) -> None:
    assert read(with_claims(aud=audience)).client_id == "client-1"


@pytest.mark.parametrize(
    "audience",
    [
        None,
        "",
        [],
        [""],
        ISSUER + "/",
        ISSUER.upper(),
        f"{ISSUER}/oauth/token/",
        f"{ISSUER}/oauth/introspect",
        f"{ISSUER}/oauth/revoke",
        [ISSUER, ISSUER],
        [ISSUER, f"{ISSUER}/oauth/token"],
        [[ISSUER]],
        {ISSUER: 1},
        1,
        True,
    ],
)
def test_another_audience_is_refused(audience: object) -> None:
    assert reason_of(with_claims(aud=audience)) == "assertion_audience"


@pytest.mark.parametrize("jti", ["a", "x" * 256, "é" * 256, "a\x00b", " "])
def test_an_id_is_any_text_of_256_characters(jti: str) -> None:
    assert read(with_claims(jti=jti)).jti == jti


@pytest.mark.parametrize("jti", [None, "", "x" * 257, 1, ["a"], True])
def test_another_id_is_refused(jti: object) -> None:
    assert reason_of(with_claims(jti=jti)) == "assertion_id"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - 29},
        {"exp": NOW - 29.5},
        {"exp": NOW + 330},
        {"exp": NOW + 60.5},
        {"iat": NOW + 30, "nbf": NOW + 30},
        {"iat": NOW - 10_000},
        {"iat": None},
        {"iat": NOW + 0.5, "nbf": 0},
    ],
)
def test_times_within_their_bounds(claims: dict[str, Any]) -> None:
    assert read(with_claims(**claims)).expires_at >= NOW - 29


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": None}, "assertion_times"),
        ({"exp": str(NOW + 60)}, "assertion_times"),
        ({"exp": True}, "assertion_times"),
        ({"exp": [NOW + 60]}, "assertion_times"),
        ({"exp": NOW - 30}, "assertion_expired"),
        ({"exp": 0}, "assertion_expired"),
        ({"exp": -1e300}, "assertion_expired"),
        ({"exp": NOW + 331}, "assertion_lifetime"),
        ({"exp": NOW + 330.1}, "assertion_lifetime"),
        ({"exp": 1e300}, "assertion_lifetime"),
        ({"exp": 2**63}, "assertion_lifetime"),
        ({"exp": 10**30}, "assertion_lifetime"),
        ({"iat": NOW + 31}, "assertion_not_yet_valid"),
        ({"nbf": NOW + 31}, "assertion_not_yet_valid"),
        ({"iat": "now"}, "assertion_times"),
        ({"nbf": False}, "assertion_times"),
    ],
)
def test_times_out_of_their_bounds(claims: dict[str, Any], reason: str) -> None:
    assert reason_of(with_claims(**claims)) == reason


def test_a_time_of_null_is_none() -> None:
    claims = CLIENT.claims(now=NOW) | {"iat": None}
    assert reason_of(CLIENT.sign(claims)) == "assertion_times"


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ('{"alg":"ES256","alg":"ES256"}', "{}"),
        ('{"alg":"ES256"}', '{"iss":"client-1","iss":"client-1","sub":"client-1"}'),
        ('{"alg":"ES256"}', '{"sub":"client-1","a":{"b":1,"b":1}}'),
        ('{"alg":"ES256"}', '{"exp":1e400}'),
        ('{"alg":"ES256"}', '{"exp":' + "1" * 5000 + "}"),
        ('{"alg":"ES256"}', '{"a":' + "[" * 3000 + "]" * 3000 + "}"),
        ('{"alg":"ES256"}', '{"sub":"\\ud800"}'),
        ('{"alg":"ES256"}', "[]"),
        ('"ES256"', "{}"),
        ("", "{}"),
    ],
)
def test_json_of_two_readings_or_of_none_is_refused(header: str, claims: str) -> None:
    assert reason_of(raw(header, claims)) == "assertion_malformed"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_part_in_another_spelling_is_refused(part: int) -> None:
    parts = with_claims().split(".")
    for wrong in (parts[part] + "=", parts[part] + "\n", parts[part] + " ", ""):
        assert reason_of(".".join([*parts[:part], wrong, *parts[part + 1 :]])) == "assertion_malformed"


@pytest.mark.parametrize("assertion", ["", "a", "a.b", "a.b.c.d", "..", "é.b.c", "a" * 17000, with_claims() + "."])
def test_what_is_no_compact_serialization_is_refused(assertion: str) -> None:
    assert reason_of(assertion) == "assertion_malformed"


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
CLAIMS = ["iss", "sub", "aud", "exp", "iat", "nbf", "jti"]
MEMBERS = ["typ", "alg", "kid", "crit", "jwk"]


@given(st.dictionaries(st.sampled_from(CLAIMS), json_values), st.dictionaries(st.sampled_from(MEMBERS), json_values))
def test_any_json_is_read_or_refused(claims: dict[str, Any], header: dict[str, Any]) -> None:
    assertion = CLIENT.sign(CLIENT.claims(now=NOW) | claims, **header)
    with suppress(InvalidAssertion):
        assert read(assertion).client_id
