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

from authserver.protocol.identifiers import token_digest
from authserver.protocol.jose import (
    Algorithm,
    InvalidKey,
    InvalidToken,
    SigningKey,
    generate_signing_key,
    load_signing_key,
    read_unverified_jwt,
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
BOTH = pytest.mark.parametrize("key", [ES256, RS256], ids=["ES256", "RS256"])


def sign_jwt(key: SigningKey, claims: dict[str, object]) -> str:
    return key.sign(claims).text


def segment(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@BOTH
def test_another_library_verifies_what_we_sign_with_the_published_jwk(key: SigningKey) -> None:
    token = sign_jwt(key, CLAIMS)
    published = jwt.PyJWK(dict(key.public.jwk))
    decoded = jwt.decode(token, published, algorithms=[key.alg], options={"verify_aud": False, "verify_exp": False})
    assert decoded == CLAIMS
    assert jwt.get_unverified_header(token) == {"typ": "at+jwt", "alg": key.alg, "kid": key.kid}


@BOTH
def test_a_token_comes_with_the_digest_that_it_is_recognised_by(key: SigningKey) -> None:
    signed = key.sign(CLAIMS)
    assert signed.digest == token_digest(signed.text)


def test_an_es256_signature_is_always_64_bytes() -> None:
    # Among so many, some r or s begin with a zero byte.
    signatures = {len(base64.urlsafe_b64decode(sign_jwt(ES256, {"n": n}).split(".")[2] + "==")) for n in range(1500)}
    assert signatures == {64}


def test_an_es256_signature_verifies_whatever_its_numbers_begin_with() -> None:
    published = jwt.PyJWK(dict(ES256.public.jwk))
    beginnings = set()
    for n in range(1500):
        token = sign_jwt(ES256, {"n": n})
        signature = read_unverified_jwt(token).signature
        first = {signature[0], signature[32]}
        # One or two of a hundred begin with a zero byte, which the library's own encoding leaves out.
        if n < 20 or 0 in first:
            assert jwt.decode(token, published, algorithms=["ES256"]) == {"n": n}
            beginnings |= first
    assert 0 in beginnings


@BOTH
def test_a_token_comes_apart_as_it_was_put_together(key: SigningKey) -> None:
    token = sign_jwt(key, CLAIMS)
    unverified = read_unverified_jwt(token)
    assert unverified.header == {"typ": "at+jwt", "alg": key.alg, "kid": key.kid}
    assert unverified.claims == CLAIMS
    assert unverified.signing_input + b"." + segment(unverified.signature).encode() == token.encode()


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


GOOD = sign_jwt(ES256, CLAIMS)
HEAD, BODY, SIGNATURE = GOOD.split(".")
NO_CLAIMS: list[bytes] = [
    b"[1]",
    b"null",
    b"{",
    b"{}{}",
    b'{"exp":1,"exp":2}',
    b'{"act":{"sub":"a","sub":"b"}}',
    b'{"a":1,"a":1,"b":1E6}',  # as long as what it means: {"a":1,"b":1000000.0}
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
        read_unverified_jwt(token)
    assert refused.value.reason == "malformed"


@given(st.text(alphabet="abcAZ09-_.=+/ \n{}", max_size=60) | st.text(max_size=40))
def test_any_text_is_a_token_or_is_refused(text: str) -> None:
    with pytest.raises(InvalidToken):
        read_unverified_jwt(text)


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=20) | st.integers(-(2**53), 2**53), max_size=6))
def test_claims_survive_the_round_trip(claims: dict[str, object]) -> None:
    try:
        orjson.dumps(claims)
    except orjson.JSONEncodeError:
        return  # lone surrogates are no text
    assert read_unverified_jwt(sign_jwt(ES256, claims)).claims == claims


@pytest.mark.parametrize("alg", ["ES256", "RS256"])
def test_every_generated_key_is_another(alg: Algorithm) -> None:
    first, second = (generate_signing_key(alg, kid="k") for _ in range(2))
    assert first.public.jwk != second.public.jwk
    assert first.alg == alg
