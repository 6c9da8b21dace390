"""Proofs of possession: each row of tokens.md §6.3, which of two faults is told, and what other verifiers say."""

import json
from collections.abc import Callable
from typing import Any

import jwt as pyjwt
import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt
from joserfc.jws import JWSRegistry

from authserver.protocol.dpop import (
    _KEPT_HEADERS,
    _LONGEST_KEPT,
    MAX_PROOF_CHARACTERS,
    InvalidProof,
    Proof,
    _kept_signer,
    fold_url,
    read_proof,
)
from server.tests.fakes.proving_client import ProvingClient
from server.tests.fakes.signing_client import ED_KEY, KEYS, RSA_KEY, base64url, public_jwk, segment

NOW = 1_790_000_000
URL = "https://as.example/oauth/token"
EC = ProvingClient(url=URL)
CLIENTS = {alg: ProvingClient(url=URL, alg=alg, key=KEYS[alg]) for alg in ("ES256", "RS256", "PS256")}

# RFC 9449 §4.2 and the key's thumbprint of §6.1.
RFC_PROOF = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRj"
    "QyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19."
    "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0Ij"
    "oxNTYyMjYyNjE2fQ."
    "2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
)
RFC_THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"


def read(*values: str, now: int = NOW, url: str = URL, lifetime: int = 60) -> Proof:
    return read_proof(values, method="POST", urls={url}, lifetime=lifetime, now=now)


def reason(*values: str, **arguments: Any) -> str:
    with pytest.raises(InvalidProof) as caught:
        read(*values, **arguments)
    return caught.value.reason


def test_the_proof_of_the_rfc_holds() -> None:
    proof = read(RFC_PROOF, now=1562262616, url="https://server.example.com/token")
    assert (proof.jkt, proof.jti, proof.nonce) == (RFC_THUMBPRINT, "-BwC3ESc6acc2lTc", "")


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_each_algorithm_that_is_served_proves_a_key(client: ProvingClient) -> None:
    proof = read(client.proof(now=NOW, jti="an id", nonce="a nonce"))
    assert proof == Proof(jkt=client.jkt, jti="an id", nonce="a nonce")


P384 = ec.generate_private_key(ec.SECP384R1())
SMALL_RSA = rsa.generate_private_key(65537, 1024)


def _hmac_proof(key: bytes) -> str:
    signing_input = f"{segment(EC.header(alg='HS256'))}.{segment(EC.claims(now=NOW))}"
    code = hmac.HMAC(key, hashes.SHA256())
    code.update(signing_input.encode())
    return f"{signing_input}.{base64url(code.finalize())}"


def _unsigned(alg: str) -> str:
    return f"{segment(EC.header(alg=alg))}.{segment(EC.claims(now=NOW))}.{base64url(b'x')}"


def _altered() -> str:
    head, _, signature = EC.proof(now=NOW).split(".")
    return f"{head}.{segment(EC.claims(now=NOW))}.{signature}"


def _jwk(**members: object) -> Callable[[], str]:
    return lambda: EC.sign(EC.claims(now=NOW), jwk=EC.jwk | members)


def _claims(**changes: object) -> Callable[[], str]:
    return lambda: EC.proof(now=NOW, **changes)


REFUSED: dict[str, tuple[str, Callable[[], str]]] = {
    "comma joined": ("dpop_repeated", lambda: f"{EC.proof(now=NOW)}, {EC.proof(now=NOW)}"),
    "empty": ("dpop_malformed", lambda: ""),
    "two segments": ("dpop_malformed", lambda: EC.proof(now=NOW).rpartition(".")[0]),
    "JSON serialization": ("dpop_malformed", lambda: json.dumps({"payload": "x", "signatures": []}).replace(",", "")),
    "a header member twice": (
        "dpop_malformed",
        lambda: EC.sign_as(json.dumps(EC.header()).replace("{", '{"typ":"x",', 1).encode(), EC.claims(now=NOW)),
    ),
    "a claim twice": (
        "dpop_malformed",
        lambda: EC.sign(json.dumps(EC.claims(now=NOW)).replace("{", '{"jti":"x",', 1).encode()),
    ),
    "claims of another kind": ("dpop_malformed", lambda: EC.sign([1])),
    "none": ("dpop_algorithm", lambda: _unsigned("none")),
    "None": ("dpop_algorithm", lambda: _unsigned("None")),
    "NONE": ("dpop_algorithm", lambda: _unsigned("NONE")),
    "es256 in lower case": ("dpop_algorithm", lambda: EC.sign(EC.claims(now=NOW), alg="es256")),
    "EdDSA": ("dpop_algorithm", lambda: ProvingClient(url=URL, alg="EdDSA", key=ED_KEY).proof(now=NOW)),
    "ES384": ("dpop_algorithm", lambda: EC.sign(EC.claims(now=NOW), alg="ES384")),
    "no algorithm": ("dpop_algorithm", lambda: EC.sign(EC.claims(now=NOW), alg=None)),
    "an algorithm of another type": ("dpop_algorithm", lambda: EC.sign_as(EC.header() | {"alg": ["ES256"]}, {})),
    "HMAC": ("dpop_algorithm", lambda: _hmac_proof(b"k" * 32)),
    "HMAC with the modulus": (
        "dpop_algorithm",
        lambda: _hmac_proof(RSA_KEY.public_key().public_numbers().n.to_bytes(256, "big")),
    ),
    "critical": ("dpop_critical", lambda: EC.sign(EC.claims(now=NOW), crit=["exp"])),
    "another type": ("dpop_type", lambda: EC.sign(EC.claims(now=NOW), typ="JWT")),
    "an access token's type": ("dpop_type", lambda: EC.sign(EC.claims(now=NOW), typ="at+jwt")),
    "no type": ("dpop_type", lambda: EC.sign(EC.claims(now=NOW), typ=None)),
    "no key": ("dpop_key", lambda: EC.sign(EC.claims(now=NOW), jwk=None)),
    "a key of another type": ("dpop_key", lambda: EC.sign(EC.claims(now=NOW), jwk="x")),
    "P-384 labelled ES256": ("dpop_key", lambda: EC.sign(EC.claims(now=NOW), jwk=public_jwk(P384))),
    "P-384 called P-256": ("dpop_key", lambda: EC.sign(EC.claims(now=NOW), jwk=public_jwk(P384, crv="P-256"))),
    "RSA labelled ES256": ("dpop_key", lambda: EC.sign(EC.claims(now=NOW), jwk=public_jwk(RSA_KEY))),
    "EC labelled RS256": (
        "dpop_key",
        lambda: CLIENTS["RS256"].sign(CLIENTS["RS256"].claims(now=NOW), jwk=EC.jwk),
    ),
    "RSA of 1024 bits": (
        "dpop_key",
        lambda: ProvingClient(url=URL, alg="RS256", key=SMALL_RSA).proof(now=NOW),
    ),
    "symmetric": ("dpop_key", lambda: EC.sign(EC.claims(now=NOW), jwk={"kty": "oct", "k": "AAAA"})),
    "a key that states another algorithm": ("dpop_key", _jwk(alg="ES384")),
    "a key that states no algorithm's name": ("dpop_key", _jwk(alg=256)),
    "off the curve": ("dpop_key", _jwk(x=base64url(b"\1" * 32))),
    "a short coordinate": ("dpop_key", _jwk(x=base64url(b"\1" * 31))),
    **{
        f"private {name}": ("dpop_key", _jwk(**{name: "AAAA"}))
        for name in ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
    },
    "altered": ("dpop_signature", _altered),
    "another key": (
        "dpop_signature",
        lambda: EC.sign(EC.claims(now=NOW), jwk=public_jwk(ec.generate_private_key(ec.SECP256R1()))),
    ),
    "PS256 signed as RS256": (
        "dpop_signature",
        lambda: CLIENTS["RS256"].sign(CLIENTS["RS256"].claims(now=NOW), alg="PS256"),
    ),
    "no id": ("dpop_jti", _claims(jti=None)),
    "an empty id": ("dpop_jti", _claims(jti="")),
    "an id of another type": ("dpop_jti", _claims(jti=7)),
    "a long id": ("dpop_jti", _claims(jti="x" * 257)),
    "no method": ("dpop_method", _claims(htm=None)),
    "another method": ("dpop_method", _claims(htm="GET")),
    "a method that folds to ours": ("dpop_method", _claims(htm="po\u017ft")),
    "no URL": ("dpop_url", _claims(htu=None)),
    "another host": ("dpop_url", _claims(htu="https://as.example.org/oauth/token")),
    "another scheme": ("dpop_url", _claims(htu="http://as.example/oauth/token")),
    "another port": ("dpop_url", _claims(htu="https://as.example:8443/oauth/token")),
    "another path": ("dpop_url", _claims(htu="https://as.example/oauth/token/")),
    "a path in other letters": ("dpop_url", _claims(htu="https://as.example/OAuth/token")),
    "another endpoint": ("dpop_url", _claims(htu="https://as.example/oauth/revoke")),
    "with a user": ("dpop_url", _claims(htu="https://me@as.example/oauth/token")),
    "a URL of another type": ("dpop_url", _claims(htu=[URL])),
    "no URL at all": ("dpop_url", _claims(htu="\ud7ff not a URL")),
    "no time": ("dpop_time_missing", _claims(iat=None)),
    "time zero": ("dpop_time_missing", _claims(iat=0)),
    "a time that is true": ("dpop_time_missing", _claims(iat=True)),
    "a time as text": ("dpop_time_missing", _claims(iat=str(NOW))),
    "a time with a fraction": ("dpop_time_missing", _claims(iat=NOW + 0.5)),
    "too old": ("dpop_time", _claims(iat=NOW - 61)),
    "too far ahead": ("dpop_time", _claims(iat=NOW + 61)),
    "expired": ("dpop_expired", _claims(exp=NOW - 30)),
    "an expiry of another type": ("dpop_time_missing", _claims(exp="never")),
    "not valid yet": ("dpop_not_yet_valid", _claims(nbf=NOW + 31)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_proof_that_breaks_a_rule_is_refused_for_it(name: str) -> None:
    expected, make = REFUSED[name]
    assert reason(make()) == expected


def test_several_headers_are_refused_whatever_they_hold() -> None:
    assert reason(EC.proof(now=NOW), EC.proof(now=NOW)) == "dpop_repeated"
    assert reason(EC.proof(now=NOW), "") == "dpop_repeated"


@pytest.mark.parametrize(
    "changes",
    [
        {"htu": "HTTPS://AS.Example/oauth/token"},
        {"htu": "https://as.example:443/oauth/token"},
        {"htu": "https://as.example/oauth/token?x=1#y"},
        {"htm": "post"},
        {"iat": NOW - 60},
        {"iat": NOW + 60},
        {"exp": NOW - 29},
        {"exp": NOW + 300, "nbf": NOW + 30},
        {"jti": "x" * 256},
        {"ath": "of no token"},
        {"nonce": 5},
    ],
    ids=str,
)
def test_what_the_contract_tolerates_is_accepted(changes: dict[str, object]) -> None:
    assert read(EC.proof(now=NOW, **changes)).jkt == EC.jkt


@pytest.mark.parametrize("members", [{"kid": "k"}, {"use": "enc"}, {"alg": "ES256"}, {"key_ops": ["sign"]}], ids=str)
def test_other_members_of_the_key_are_not_looked_at(members: dict[str, object]) -> None:
    assert read(EC.sign(EC.claims(now=NOW), jwk=EC.jwk | members)).jkt == EC.jkt


def test_the_type_is_compared_without_case() -> None:
    assert read(EC.sign(EC.claims(now=NOW), typ="DPoP+JWT")).jkt == EC.jkt


# Each row with the fault of the next one, too: the order of the contract decides which is told.
PAIRS: list[tuple[str, Callable[[], tuple[str, ...]]]] = [
    ("dpop_repeated", lambda: ("x", "y")),
    ("dpop_malformed", lambda: ("x" + EC.sign(EC.claims(now=NOW), alg="none"),)),
    # "QR" has bits to spare that are not zero.
    ("dpop_malformed", lambda: (f"{segment(EC.header() | {'alg': 'none'})}.QR.{base64url(b'x' * 64)}",)),
    ("dpop_algorithm", lambda: (EC.sign(EC.claims(now=NOW), alg="none", typ="JWT"),)),
    ("dpop_type", lambda: (EC.sign(EC.claims(now=NOW), typ="JWT", jwk=EC.jwk | {"d": "AAAA"}),)),
    ("dpop_key", lambda: (EC.sign(EC.claims(now=NOW), jwk=public_jwk(P384)),)),
    ("dpop_signature", lambda: (EC.proof(now=NOW, jti="").rpartition(".")[0] + "." + base64url(b"x" * 64),)),
    ("dpop_signature", lambda: (f"{segment(EC.header())}.{segment([1])}.{base64url(b'x' * 64)}",)),
    ("dpop_jti", lambda: (EC.proof(now=NOW, jti="", htm="GET"),)),
    ("dpop_method", lambda: (EC.proof(now=NOW, htm="GET", htu="https://other.example/"),)),
    ("dpop_url", lambda: (EC.proof(now=NOW - 99, htu="https://other.example/"),)),
]


@pytest.mark.parametrize(("expected", "make"), PAIRS)
def test_of_two_neighbouring_faults_the_earlier_one_is_told(expected: str, make: Callable[[], tuple[str, ...]]) -> None:
    assert reason(*make()) == expected


def test_a_proof_that_is_too_long_is_not_read() -> None:
    long = EC.proof(now=NOW, filler="x" * MAX_PROOF_CHARACTERS)
    assert reason(long) == "dpop_malformed"


def test_the_largest_rsa_key_has_room() -> None:
    # A modulus of 8192 bits; its signature is refused only after it was looked at.
    jwk = {"kty": "RSA", "n": base64url(((1 << 8191) + 1).to_bytes(1024, "big")), "e": "AQAB"}
    signing_input = f"{segment(EC.header(alg='PS256', jwk=jwk))}.{segment(EC.claims(now=NOW))}"
    assert reason(f"{signing_input}.{base64url(b'x' * 1024)}") == "dpop_signature"
    beyond = jwk | {"n": base64url(((1 << 8192) + 1).to_bytes(1025, "big"))}
    signing_input = f"{segment(EC.header(alg='PS256', jwk=beyond))}.{segment(EC.claims(now=NOW))}"
    assert reason(f"{signing_input}.{base64url(b'x' * 1024)}") == "dpop_key"


@given(st.text(max_size=200) | st.binary(max_size=200).map(base64url))
def test_whatever_is_sent_is_refused_with_a_reason(text: str) -> None:
    assert reason(text).startswith("dpop_")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["typ", "alg", "jwk", "crit", "kid"]), _JSON, max_size=3),
    st.dictionaries(st.sampled_from(["jti", "htm", "htu", "iat", "exp", "nbf", "nonce"]), _JSON, max_size=3),
)
def test_a_signed_proof_with_any_members_holds_or_is_refused_with_a_reason(
    header: dict[str, object], claims: dict[str, object]
) -> None:
    outcome = ""
    try:
        outcome = read(EC.sign_as(EC.header() | header, EC.claims(now=NOW) | claims)).jkt
    except InvalidProof as exc:
        outcome = exc.reason
    assert outcome == EC.jkt or outcome.startswith("dpop_")


@given(st.integers(0, 400), st.integers(0, 7))
def test_no_changed_bit_of_a_proof_goes_unnoticed(position: int, bit: int) -> None:
    proof = EC.proof(now=NOW)
    position %= len(proof)
    changed = proof[:position] + chr(ord(proof[position]) ^ 1 << bit) + proof[position + 1 :]
    with pytest.raises(InvalidProof):
        read(changed)


def test_a_header_that_was_read_before_proves_nothing_for_another_key() -> None:
    proof = EC.proof(now=NOW)
    assert read(proof).jkt == EC.jkt
    thief = ProvingClient(url=URL, key=ec.generate_private_key(ec.SECP256R1()))
    stolen = thief.sign_as(EC.header(), thief.claims(now=NOW))
    assert stolen.partition(".")[0] == proof.partition(".")[0]
    assert reason(stolen) == "dpop_signature"
    assert read(thief.proof(now=NOW)).jkt == thief.jkt != EC.jkt


def test_no_number_of_keys_has_more_than_so_many_kept() -> None:
    for number in range(_KEPT_HEADERS + 10):
        assert read(EC.sign(EC.claims(now=NOW), number=number)).jkt == EC.jkt
    assert _kept_signer.cache_info().currsize <= _KEPT_HEADERS
    before = _kept_signer.cache_info().misses
    assert read(EC.sign(EC.claims(now=NOW), padding="x" * _LONGEST_KEPT)).jkt == EC.jkt
    assert _kept_signer.cache_info().misses == before


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
@pytest.mark.parametrize("is_altered", [False, True])
def test_other_verifiers_agree_about_the_signature(client: ProvingClient, is_altered: bool) -> None:  # noqa: FBT001
    proof = client.proof(now=NOW)
    if is_altered:
        proof = proof[:-6] + ("AAAAAA" if not proof.endswith("AAAAAA") else "BBBBBA")
    # A header with an RSA key in it is longer than the library reads unless told so.
    registry = JWSRegistry(algorithms=[client.alg])
    registry.max_header_length = MAX_PROOF_CHARACTERS
    verdicts = []
    for verify in (
        lambda: read(proof),
        lambda: pyjwt.decode(
            proof, pyjwt.PyJWK(client.jwk, client.alg).key, [client.alg], options={"verify_iat": False}
        ),
        lambda: joserfc_jwt.decode(proof, joserfc_jwk.import_key(client.jwk), registry=registry),
    ):
        try:
            verify()
        except Exception:  # noqa: BLE001  each library has its own
            verdicts.append(False)
        else:
            verdicts.append(True)
    assert verdicts == [not is_altered] * 3


@pytest.mark.parametrize(
    ("url", "folded"),
    [
        ("https://AS.example:443/a?b#c", "https://as.example/a"),
        ("http://as.example:80/a", "http://as.example/a"),
        ("http://as.example:0443/a", "http://as.example:443/a"),
        ("https://[::1]:9/a", "https://[::1]:9/a"),
        ("https://as.example", "https://as.example"),
        ("ftp://as.example/a", None),
        ("https://me:pw@as.example/a", None),
        ("/oauth/token", None),
        ("", None),
    ],
)
def test_urls_are_folded_for_comparison(url: str, folded: str | None) -> None:
    assert fold_url(url) == folded


@given(st.text(max_size=60))
def test_folding_twice_changes_nothing(text: str) -> None:
    folded = fold_url(text)
    assert folded is None or fold_url(folded) == folded


def test_a_proof_shows_neither_id_nor_nonce_when_it_is_printed() -> None:
    text = repr(read(EC.proof(now=NOW, jti="a secret id", nonce="a secret nonce")))
    assert "secret" not in text
