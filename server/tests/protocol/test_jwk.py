"""Keys of others: RFC 7515 A.2 and A.3, RFC 8037 A.4, and what two other libraries make of the same signatures."""

import base64
from typing import Any

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import import_key

from authserver.protocol.jose import InvalidKey
from authserver.protocol.jwk import CLIENT_ALGORITHMS, ClientAlgorithm, KeySet, keep_public_keys, parse_key_set
from server.tests.fakes.signing_client import EC_KEY, ED_KEY, KEYS, RSA_KEY, public_jwk, segment, sign

PUBLIC = {
    "ES256": public_jwk(EC_KEY),
    "RS256": public_jwk(RSA_KEY),
    "PS256": public_jwk(RSA_KEY),
    "EdDSA": public_jwk(ED_KEY),
}
ALGORITHMS = pytest.mark.parametrize("alg", CLIENT_ALGORITHMS)
DATA = b"what is signed"


def a_set(*jwks: object) -> KeySet:
    return parse_key_set(orjson.dumps({"keys": jwks}))


def usable(*jwks: object) -> int:
    return len(a_set(*jwks).keys)


def decoded(value: str) -> bytes:
    return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))


@pytest.mark.parametrize(
    ("jwk", "alg", "signing_input", "signature"),
    [
        (
            {
                "kty": "EC",
                "crv": "P-256",
                "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            },
            "ES256",
            (
                "eyJhbGciOiJFUzI1NiJ9"
                ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
            ),
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            "EdDSA",
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ],
)
def test_the_examples_of_the_standards_verify(
    jwk: dict[str, str], alg: ClientAlgorithm, signing_input: str, signature: str
) -> None:
    (key,) = a_set(jwk).fitting(alg, None)
    assert key.is_signature(decoded(signature), over=signing_input.encode(), alg=alg)
    assert not key.is_signature(decoded(signature), over=signing_input.encode() + b".", alg=alg)


@ALGORITHMS
def test_a_key_verifies_what_it_signed_with_an_algorithm_that_fits_it(alg: ClientAlgorithm) -> None:
    signature = sign(KEYS[alg], alg, DATA)
    verdicts = {
        name: key.is_signature(signature, over=DATA, alg=other)
        for name, jwk in PUBLIC.items()
        for key in a_set(jwk).keys
        for other in CLIENT_ALGORITHMS
        if other == alg
    }
    assert {name for name, is_right in verdicts.items() if is_right} == {
        name for name in PUBLIC if PUBLIC[name] == PUBLIC[alg]
    }
    (key,) = a_set(PUBLIC[alg]).keys
    assert [other for other in CLIENT_ALGORITHMS if key.is_signature(signature, over=DATA, alg=other)] == [alg]


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated:joserfc.errors.SecurityWarning")
@ALGORITHMS
@given(data=st.binary(max_size=64), at=st.integers(0, 10_000), flip=st.integers(0, 255), cut=st.integers(0, 3))
def test_two_other_libraries_come_to_the_same_verdict(
    alg: ClientAlgorithm, data: bytes, at: int, flip: int, cut: int
) -> None:
    header_and_payload = f"{segment({'alg': alg})}.{segment(data)}"
    signature = bytearray(sign(KEYS[alg], alg, header_and_payload.encode()))
    signature[at % len(signature)] ^= flip
    altered = bytes(signature[: len(signature) - cut])
    (key,) = a_set(PUBLIC[alg]).keys
    ours = key.is_signature(altered, over=header_and_payload.encode(), alg=alg)
    token = f"{header_and_payload}.{base64.urlsafe_b64encode(altered).rstrip(b'=').decode()}"
    try:
        jwt.api_jws.decode_complete(token, jwt.PyJWK(PUBLIC[alg], algorithm=alg), algorithms=[alg])
        pyjwt = True
    except jwt.InvalidSignatureError:
        pyjwt = False
    try:
        jws.deserialize_compact(token, import_key(PUBLIC[alg]), algorithms=[alg])
        joserfc = True
    except JoseError:
        joserfc = False
    assert (ours, ours) == (pyjwt, joserfc)
    assert ours is (flip == 0 and cut == 0)


@pytest.mark.parametrize(
    "members",
    [
        {"d": "AA"},
        {"p": "AA"},
        {"k": "AA"},
        {"oth": []},
        {"use": "enc"},
        {"use": 1},
        {"key_ops": ["sign"]},
        {"key_ops": "verify"},
        {"alg": "ES384"},
        {"alg": "none"},
        {"alg": "es256"},
        {"alg": ["ES256"]},
        {"kid": 1},
        {"crv": "P-384"},
        {"crv": None},
        {"kty": "RSA"},
        {"kty": "ec"},
        {"kty": None},
        {"x": "AA"},
        {"x": None},
        {"x": 7},
        {"x": "é" * 43},
        {"x": PUBLIC["ES256"]["x"] + "="},
        {"x": PUBLIC["ES256"]["x"].replace("-", "+").replace("_", "/") + "AAAA"},
        {"y": PUBLIC["ES256"]["x"]},  # not on the curve
    ],
)
def test_what_is_no_public_signing_key_is_ignored_beside_one_that_is(members: dict[str, object]) -> None:
    broken = {name: value for name, value in (PUBLIC["ES256"] | members).items() if value is not None}
    assert usable(broken) == 0
    assert usable(broken, PUBLIC["EdDSA"]) == 1


@pytest.mark.parametrize("entry", [None, 1, "key", [], {}, {"kty": "oct", "k": "c2VjcmV0"}, {"kty": ["EC"]}])
def test_what_is_no_key_is_ignored(entry: object) -> None:
    assert usable(entry) == 0


@pytest.mark.parametrize("members", [{"use": "sig"}, {"key_ops": ["verify"]}, {"alg": "ES256"}, {"x5c": ["AA"]}])
def test_what_a_key_says_of_itself_may_agree_with_its_use(members: dict[str, object]) -> None:
    assert usable(PUBLIC["ES256"] | members) == 1


def test_an_rsa_key_that_names_one_algorithm_is_for_that_one() -> None:
    (both,) = a_set(PUBLIC["RS256"]).keys
    (one,) = a_set(PUBLIC["RS256"] | {"alg": "PS256"}).keys
    assert sorted(both.algorithms) == ["PS256", "RS256"]
    assert sorted(one.algorithms) == ["PS256"]
    assert not one.is_signature(sign(RSA_KEY, "RS256", DATA), over=DATA, alg="RS256")


def test_keys_on_other_curves_and_of_other_sizes_are_ignored() -> None:
    assert usable(public_jwk(ec.generate_private_key(ec.SECP384R1()))) == 0
    assert usable(public_jwk(ec.generate_private_key(ec.SECP384R1()), crv="P-256")) == 0
    assert usable(public_jwk(ec.generate_private_key(ec.SECP256K1()), crv="P-256")) == 0
    assert usable(public_jwk(rsa.generate_private_key(65537, 1024))) == 0
    assert usable({"kty": "RSA", "n": PUBLIC["RS256"]["n"] * 5, "e": "AQAB"}) == 0
    assert usable({"kty": "RSA", "n": PUBLIC["RS256"]["n"], "e": PUBLIC["RS256"]["n"]}) == 0
    assert usable({"kty": "RSA", "n": PUBLIC["RS256"]["n"], "e": "AQ"}) == 0
    assert usable(public_jwk(ed25519.Ed25519PrivateKey.generate(), crv="Ed448")) == 0


@pytest.mark.parametrize(
    ("bits", "exponent", "taken"),
    [
        (2048, 3, 1),
        (4096, 65537, 1),
        (4096, 2**17 - 1, 1),
        (4096, 2**17 + 1, 0),
        (4096, 2**32 - 1, 0),
        (4097, 65537, 0),
        (8192, 65537, 0),
        (2047, 65537, 0),
    ],
)
def test_rsa_keys_that_take_long_are_ignored(bits: int, exponent: int, taken: int) -> None:
    numbers = {"n": 2**bits - 1, "e": exponent}
    members = {
        name: segment(number.to_bytes((number.bit_length() + 7) // 8, "big")) for name, number in numbers.items()
    }
    assert usable({"kty": "RSA"} | members) == taken


def test_keys_are_found_by_name_and_without_one_all_that_fit() -> None:
    other = public_jwk(ec.generate_private_key(ec.SECP256R1()), kid="b")
    keys = a_set(PUBLIC["ES256"] | {"kid": "a"}, other, PUBLIC["RS256"] | {"kid": "a"})
    assert [key.kid for key in keys.fitting("ES256", None)] == ["a", "b"]
    assert [key.kid for key in keys.fitting("ES256", "b")] == ["b"]
    assert [key.algorithms for key in keys.fitting("PS256", "a")] == [{"RS256", "PS256"}]
    assert keys.fitting("EdDSA", None) == keys.fitting("ES256", "c") == keys.fitting("ES256", "") == ()


def test_a_set_has_a_hundred_keys_at_most_of_which_twenty_are_tried_for_one_signature() -> None:
    keys = a_set(*[PUBLIC["EdDSA"] | {"kid": str(n)} for n in range(100)])
    assert [key.kid for key in keys.fitting("EdDSA", None)] == [str(n) for n in range(20)]
    assert [key.kid for key in keys.fitting("EdDSA", "99")] == ["99"]
    with pytest.raises(InvalidKey, match="more than 100 keys"):
        a_set(*[{}] * 101)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"keys":{}}', '{"keys":null}', b"\xff", "[" * 5000])
def test_what_is_no_key_set_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidKey):
        parse_key_set(text)
    with pytest.raises(InvalidKey):
        keep_public_keys(text)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("ab-_AQ=", max_size=50),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["keys", "kty", "x"]), inner),
    max_leaves=6,
)
NAMES = ["kty", "crv", "x", "y", "n", "e", "d", "kid", "use", "alg", "key_ops"]
members = st.dictionaries(
    st.sampled_from(NAMES), json_values | st.sampled_from(["EC", "RSA", "OKP", "P-256", "Ed25519", "AQAB"])
)


@given(st.lists(members.map(lambda changes: PUBLIC["ES256"] | changes) | members | json_values, max_size=4))
def test_any_json_is_a_key_set_or_refused(entries: list[Any]) -> None:
    for key in a_set(*entries).keys:
        assert key.algorithms
        assert not key.is_signature(b"no signature", over=DATA, alg=next(iter(key.algorithms)))
