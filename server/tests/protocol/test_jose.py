import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from authserver.protocol.jose import (
    Algorithm,
    InvalidKey,
    InvalidToken,
    SigningKey,
    generate_signing_key,
    load_signing_key,
    read_unverified,
    sign_jwt,
    verify_own_jwt,
)

ISSUER = "https://as.example"
NOW = 1_790_000_000
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
CLAIMS: dict[str, object] = {
    "iss": ISSUER,
    "sub": "usr_7",
    "aud": ["https://mcp.example/mcp"],
    "client_id": "c1",
    "scope": "mcp:echo",
    "jti": "mG2k0pB1Qm6rUu3S9wYx7A",
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 900,
}
ES256 = generate_signing_key("ES256", kid="ec-1")
RS256 = generate_signing_key("RS256", kid="rsa-1")
KEYS = {key.kid: key.public for key in (ES256, RS256)}
BOTH = pytest.mark.parametrize("key", [ES256, RS256], ids=["ES256", "RS256"])


def segment(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def forge(header: dict[str, object], claims: object = CLAIMS, *, key: SigningKey = ES256) -> str:
    """A token with any header, whose signature is right."""
    signing_input = f"{segment(header)}.{segment(claims)}"
    return f"{signing_input}.{segment(key._sign(signing_input.encode()))}"


def reason_of(token: str, *, now: int = NOW, issuer: str = ISSUER, keys: Any = KEYS) -> str:
    with pytest.raises(InvalidToken) as refused:
        verify_own_jwt(token, keys, issuer=issuer, now=now)
    return refused.value.reason


@BOTH
def test_another_library_verifies_what_we_sign_with_the_published_jwk(key: SigningKey) -> None:
    token = sign_jwt(key, CLAIMS)
    published = jwt.PyJWK(dict(key.public.jwk))
    decoded = jwt.decode(token, published, algorithms=[key.alg], options={"verify_aud": False, "verify_exp": False})
    assert decoded == CLAIMS
    assert jwt.get_unverified_header(token) == {"typ": "at+jwt", "alg": key.alg, "kid": key.kid}


def test_an_es256_signature_is_always_64_bytes() -> None:
    # Among so many, some r or s begin with a zero byte.
    signatures = {len(base64.urlsafe_b64decode(sign_jwt(ES256, {"n": n}).split(".")[2] + "==")) for n in range(1500)}
    assert signatures == {64}


@BOTH
def test_our_own_token_verifies_and_reads(key: SigningKey) -> None:
    token = sign_jwt(key, CLAIMS)
    assert verify_own_jwt(token, KEYS, issuer=ISSUER, now=NOW) == CLAIMS
    assert read_unverified(token) == ({"typ": "at+jwt", "alg": key.alg, "kid": key.kid}, CLAIMS)


@BOTH
def test_a_jwk_has_public_members_only(key: SigningKey) -> None:
    wanted = {"ES256": {"crv", "x", "y"}, "RS256": {"n", "e"}}[key.alg]
    assert set(key.public.jwk) == {"kty", "kid", "use", "alg"} | wanted
    assert not PRIVATE_MEMBERS & set(key.public.jwk)


def test_ec_coordinates_keep_their_leading_zeros() -> None:
    lengths = {len(generate_signing_key("ES256", kid="k").public.jwk[member]) for _ in range(300) for member in "xy"}
    assert lengths == {43}


@BOTH
def test_a_key_shows_nothing_private(key: SigningKey) -> None:
    shown = repr(key) + str(key)
    assert "PrivateKey" not in shown
    assert key.dump_pem().decode().splitlines()[1] not in shown


@BOTH
def test_a_dumped_key_loads_as_the_same_key(key: SigningKey) -> None:
    pem = key.dump_pem()
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert load_signing_key(pem, kid=key.kid) == key
    assert load_signing_key(pem, kid=key.kid, alg=key.alg).public.jwk == key.public.jwk


@pytest.mark.parametrize(("key", "alg"), [(ES256, "RS256"), (RS256, "ES256"), (ES256, "HS256"), (ES256, "")])
def test_a_key_that_is_not_one_for_its_algorithm_is_refused(key: SigningKey, alg: str) -> None:
    with pytest.raises(InvalidKey, match=f"a key for {key.alg}"):
        load_signing_key(key.dump_pem(), kid="k", alg=alg)


def pem_of(key: Any, *, password: bytes | None = None) -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))


UNUSABLE: dict[str, Callable[[], bytes]] = {
    "short RSA": lambda: pem_of(rsa.generate_private_key(65537, 1024)),
    "another curve": lambda: pem_of(ec.generate_private_key(ec.SECP384R1())),
    "another kind": lambda: pem_of(ed25519.Ed25519PrivateKey.generate()),
    "encrypted": lambda: pem_of(ec.generate_private_key(ec.SECP256R1()), password=b"x"),
    "no PEM": lambda: b"nonsense",
    "cut short": lambda: ES256.dump_pem()[:120],
    "empty": lambda: b"",
}


@pytest.mark.parametrize("made", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_an_unusable_key_is_refused(made: Callable[[], bytes]) -> None:
    with pytest.raises(InvalidKey):
        load_signing_key(made(), kid="k")


HEADER: dict[str, object] = {"typ": "at+jwt", "alg": "ES256", "kid": "ec-1"}


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (HEADER | {"typ": "JWT"}, "wrong_type"),
        (HEADER | {"typ": "application/at+jwt"}, "wrong_type"),
        (HEADER | {"typ": "AT+JWT"}, "wrong_type"),
        ({"alg": "ES256", "kid": "ec-1"}, "wrong_type"),
        ({"typ": "at+jwt", "alg": "ES256"}, "wrong_type"),
        (HEADER | {"crit": ["exp"]}, "wrong_type"),
        (HEADER | {"jwk": dict(ES256.public.jwk)}, "wrong_type"),
        (HEADER | {"jku": "https://evil.example/jwks"}, "wrong_type"),
        (HEADER | {"x5u": "https://evil.example/x5u"}, "wrong_type"),
        (HEADER | {"kid": "other"}, "unknown_key"),
        (HEADER | {"kid": ["ec-1"]}, "unknown_key"),
        (HEADER | {"kid": None}, "unknown_key"),
        (HEADER | {"alg": "none"}, "wrong_algorithm"),
        (HEADER | {"alg": "HS256"}, "wrong_algorithm"),
        (HEADER | {"alg": "RS256"}, "wrong_algorithm"),
        (HEADER | {"kid": "rsa-1"}, "wrong_algorithm"),
    ],
)
def test_a_header_that_is_not_ours_is_refused(header: dict[str, object], reason: str) -> None:
    assert reason_of(forge(header)) == reason


@BOTH
def test_an_altered_token_is_refused(key: SigningKey) -> None:
    header, _, signature = sign_jwt(key, CLAIMS).split(".")
    assert reason_of(f"{header}.{segment({**CLAIMS, 'sub': 'usr_8'})}.{signature}") == "bad_signature"


@pytest.mark.parametrize("signature", [b"\0" * 64, b"\xff" * 64, b"\0" * 63, b"\0" * 65, b"\0"])
def test_a_made_up_signature_is_refused(signature: bytes) -> None:
    header, claims, _ = sign_jwt(ES256, CLAIMS).split(".")
    assert reason_of(f"{header}.{claims}.{segment(signature)}") == "bad_signature"


def test_a_signature_in_der_is_refused() -> None:
    header, claims, _ = sign_jwt(ES256, CLAIMS).split(".")
    key: Any = ES256._key
    der = key.sign(f"{header}.{claims}".encode(), ec.ECDSA(ES256._sign.__globals__["_SHA256"]))
    assert reason_of(f"{header}.{claims}.{segment(der)}") == "bad_signature"


def test_a_key_that_left_the_published_ones_verifies_nothing() -> None:
    assert reason_of(sign_jwt(ES256, CLAIMS), keys={"rsa-1": RS256.public}) == "unknown_key"


@pytest.mark.parametrize("name", ["sub", "client_id", "jti", "aud", "exp", "iat"])
@pytest.mark.parametrize("value", [None, "", [], True, 1.5, "absent"])
def test_a_claim_that_every_token_has_must_be_there(name: str, value: object) -> None:
    claims = {**CLAIMS, name: value}
    if value == "absent":
        del claims[name]
    assert reason_of(sign_jwt(ES256, claims)) == "missing_claim"


@pytest.mark.parametrize("audience", ["https://mcp.example/mcp", ["a", "b"], [""], [1]])
def test_the_audience_is_a_list_of_one(audience: object) -> None:
    assert reason_of(sign_jwt(ES256, CLAIMS | {"aud": audience})) == "missing_claim"


@pytest.mark.parametrize("issuer", ["https://as.example/", "https://AS.example", "https://other.example"])
def test_another_issuers_token_is_refused(issuer: str) -> None:
    assert reason_of(sign_jwt(ES256, CLAIMS), issuer=issuer) == "wrong_issuer"


def test_times_hold_with_thirty_seconds_of_leeway() -> None:
    token = sign_jwt(ES256, CLAIMS)
    for moment in (NOW - 30, NOW + 900 + 29):
        assert verify_own_jwt(token, KEYS, issuer=ISSUER, now=moment)
    assert reason_of(token, now=NOW - 31) == "not_yet_valid"
    assert reason_of(token, now=NOW + 900 + 30) == "expired"
    assert reason_of(sign_jwt(ES256, CLAIMS | {"nbf": NOW + 31})) == "not_yet_valid"


GOOD = sign_jwt(ES256, CLAIMS)
HEAD, BODY, SIGNATURE = GOOD.split(".")
NO_CLAIMS: list[bytes] = [
    b"[1]",
    b"null",
    b"{",
    b"{}{}",
    b'{"exp":1,"exp":2}',
    b'{"act":{"sub":"a","sub":"b"}}',
    b'{"sub":NaN}',
    b'{"sub":"\xff"}',
    b'{"sub":"\\ud800"}',
    "{}".encode("utf-16"),
    b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"pad":"' + b"x" * 16384 + b'"}',
]


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b",
        f"{HEAD}.{BODY}",
        f"{HEAD}.{BODY}.",
        f"{GOOD}.x",
        f" {GOOD}",
        f"{GOOD}\n",
        f"{HEAD}=.{BODY}.{SIGNATURE}",
        f"{HEAD}.{BODY}+.{SIGNATURE}",
        f"{HEAD}.A.{SIGNATURE}",
        f"{HEAD}.{segment(b'{}')[:-1]}1.{SIGNATURE}",  # trailing bits that mean nothing
        *(f"{HEAD}.{segment(body)}.{SIGNATURE}" for body in NO_CLAIMS),
        f"{HEAD}.{BODY}.é",
    ],
)
def test_what_is_no_token_is_malformed(token: str) -> None:
    with pytest.raises(InvalidToken) as refused:
        read_unverified(token)
    assert refused.value.reason == "malformed"
    # Claims are not even parsed before the signature is right.
    assert reason_of(token) in {"malformed", "bad_signature"}


@given(st.text(alphabet="abcAZ09-_.=+/ \n{}", max_size=60) | st.text(max_size=40))
def test_any_text_is_a_token_or_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        read_unverified(text)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20) | st.integers(-(2**53), 2**53), max_size=6))
def test_claims_survive_the_round_trip(claims: dict[str, object]) -> None:
    try:
        orjson.dumps(claims)
    except orjson.JSONEncodeError:
        return  # lone surrogates are no text
    assert read_unverified(sign_jwt(ES256, claims))[1] == claims


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_every_generated_key_is_another(alg: Algorithm) -> None:
    first, second = (generate_signing_key(alg, kid="k") for _ in range(2))
    assert first.public.jwk != second.public.jwk
    assert first.alg == alg
