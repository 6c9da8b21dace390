"""JSON Web Signatures as we issue them (RFC 7515, RFC 7518, RFC 9068): keys, signing, reading, verifying.

Compact serialization only. What is issued is ES256 or RS256; what others signed is read here, and verified with their
keys (``jwk.py``).
"""

import binascii
import hashlib
import json
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, assert_never, cast

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from authserver.protocol.identifiers import TOKEN_DIGEST_BYTES, base64url

Algorithm = Literal["ES256", "RS256"]
Claims = dict[str, object]

ACCESS_TOKEN_TYPE = "at+jwt"  # noqa: S105  the media type of RFC 9068, not a secret
LEEWAY_SECONDS = 30

_MAX_TOKEN_CHARACTERS = 16 * 1024
_MIN_RSA_BITS = 2048
_P256_BYTES = 32
_SEGMENTS = 3
_ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
_LAST_CHARACTERS = (_ALPHABET, "", _ALPHABET[::16], _ALPHABET[::4])
"""Of a segment, by how many it has beyond fours: bits that the last one has to spare are zero."""
_PADDING = ("", "", "==", "=")
"""What base64 has behind them."""

_SHA256 = hashes.SHA256()
_PREHASHED = Prehashed(_SHA256)
_ECDSA = ec.ECDSA(_PREHASHED)
_PKCS1 = padding.PKCS1v15()

_PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class InvalidKey(ValueError):  # noqa: N818  an outcome that callers turn into one of their own
    """A key is unreadable, or no key that may sign tokens."""


class InvalidToken(ValueError):  # noqa: N818  an outcome that callers turn into one of their own
    """A token is malformed, not ours, altered or outside its time.

    Attributes:
        reason: Why, in one ``snake_case`` word for the audit trail; never sent.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """A key as others verify with it.

    Attributes:
        jwk: As it is published (RFC 7517): public parameters only.
    """

    kid: str
    alg: Algorithm
    jwk: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedJwt:
    """A token taken apart; nobody has checked its signature.

    Attributes:
        signing_input: What the signature is over (RFC 7515 §5.2).
    """

    header: Claims
    claims: Claims
    signing_input: bytes
    signature: bytes


@dataclass(slots=True, kw_only=True)
class OpenedJwt:
    """A token taken apart and not read: its claims are for who verified the signature.

    Attributes:
        header: The segment as it came, which tokens of one signer have in common.
        signing_input: What the signature is over (RFC 7515 §5.2).
        payload: What it carries: claims, unless it is no token.
    """

    header: str
    signing_input: bytes
    signature: bytes
    payload: bytes = field(repr=False)

    def read_claims(self) -> Claims:
        """Return the claims.

        Raises:
            InvalidToken: They are no JSON object, or name a member twice.
        """
        return _read_members(self.payload)


class SignedToken(NamedTuple):
    """An access token, and what ``token_digest`` returns of it."""

    text: str
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A private key, parsed once, and what of a token depends on nothing but the key.

    Attributes:
        public: The half that is published.
    """

    kid: str
    alg: Algorithm
    public: PublicKey
    _key: _PrivateKey = field(repr=False, compare=False)
    _header: str = field(repr=False, compare=False)
    _sign: Callable[[bytes], bytes] = field(repr=False, compare=False)

    def dump_pem(self) -> bytes:
        """Return the private key as PKCS#8 PEM, not encrypted."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, claims: Mapping[str, object]) -> SignedToken:
        """Return an access token with these claims, signed with the key's own algorithm."""
        signing_input = f"{self._header}.{base64url(orjson.dumps(claims))}"
        # Hashed once: the digest of the token goes on from what is signed.
        hashed = hashlib.sha256(signing_input.encode("ascii"))
        token = attach_signature(signing_input, self._sign(hashed.digest()))
        hashed.update(token[len(signing_input) :].encode("ascii"))
        return SignedToken(token, hashed.digest()[:TOKEN_DIGEST_BYTES])

    def sign_payload(self, payload: bytes, *, typ: str) -> str:
        """Return a statement that is no token, as compact JWS: any bytes, under a type of its own."""
        signing_input = build_signing_input(self.alg, self.kid, payload, typ=typ)
        return attach_signature(signing_input, self._sign(hashlib.sha256(signing_input.encode("ascii")).digest()))


def generate_signing_key(alg: Algorithm, *, kid: str) -> SigningKey:
    """Return a new key: P-256 for ES256, 2048 bits for RS256 (about 100 ms)."""
    match alg:
        case "ES256":
            return _signing_key(ec.generate_private_key(ec.SECP256R1()), kid=kid)
        case "RS256":
            return _signing_key(rsa.generate_private_key(public_exponent=65537, key_size=_MIN_RSA_BITS), kid=kid)
        case _ as unreachable:
            assert_never(unreachable)


def build_signing_input(alg: Algorithm, kid: str, payload: bytes, *, typ: str) -> str:
    """Return what the signature of a compact JWS is over (RFC 7515 §5.1)."""
    return f"{_header(alg, kid, typ)}.{base64url(payload)}"


def attach_signature(signing_input: str, signature: bytes) -> str:
    """Return the compact JWS that a signing input and its signature make."""
    return f"{signing_input}.{base64url(signature)}"


def load_public_key(pem: bytes, *, kid: str) -> PublicKey:
    """Return the key of a PEM with a SubjectPublicKeyInfo.

    Raises:
        InvalidKey: The PEM is unreadable, or the key of another kind than P-256 or RSA of 2048 bits and more.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise InvalidKey("not a public key in PEM") from exc
    match key:
        case ec.EllipticCurvePublicKey():
            return _ec_public_key(key, kid=kid)
        case rsa.RSAPublicKey():
            return _rsa_public_key(key, kid=kid)
        case _:
            raise InvalidKey("neither an EC nor an RSA key")


def load_signing_key(pem: bytes, *, kid: str, alg: str | None = None) -> SigningKey:
    """Return the key of a PKCS#8 PEM that is not encrypted.

    Args:
        pem: The file's bytes.
        kid: The name under which the key is published.
        alg: What the key is said to be for; None infers it from the key.

    Raises:
        InvalidKey: The PEM is unreadable, the key is of another kind than P-256 or RSA of 2048 bits and more, or it
            is not one for ``alg``.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise InvalidKey("not a private key in PEM without a password") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise InvalidKey("neither an EC nor an RSA key")
    signing_key = _signing_key(key, kid=kid)
    if alg is not None and alg != signing_key.alg:
        raise InvalidKey(f"a key for {signing_key.alg}, not for {alg}")
    return signing_key


def read_unverified_jwt(token: str) -> UnverifiedJwt:
    """Take a token of somebody else apart: header, claims, and what is needed to verify it.

    Args:
        token: A compact serialization of at most 16 KiB.

    Raises:
        InvalidToken: It is no such thing: segments must be canonical base64url, header and claims JSON objects in
            which no member is given twice.
    """
    opened = open_jwt(token)
    return UnverifiedJwt(
        header=read_object(opened.header),
        claims=opened.read_claims(),
        signing_input=opened.signing_input,
        signature=opened.signature,
    )


def open_jwt(token: str) -> OpenedJwt:
    """Take a token of somebody else apart, and read nothing of it yet.

    Raises:
        InvalidToken: It is no compact serialization.
    """
    if len(token) > _MAX_TOKEN_CHARACTERS or not token.isascii():
        raise InvalidToken("malformed")
    segments = token.split(".", _SEGMENTS)
    if len(segments) != _SEGMENTS:
        raise InvalidToken("malformed")
    header, claims, signature = segments
    return OpenedJwt(
        header=header,
        signing_input=token[: -len(signature) - 1].encode("ascii"),
        signature=_decode(signature),
        payload=_decode(claims),
    )


def _signing_key(key: _PrivateKey, *, kid: str) -> SigningKey:
    """Wrap a private key.

    Raises:
        InvalidKey: No algorithm of ours goes with it.
    """
    alg: Algorithm
    match key:
        case ec.EllipticCurvePrivateKey():
            alg, public, sign = "ES256", _ec_public_key(key.public_key(), kid=kid), _es256_signer(key)
        case rsa.RSAPrivateKey():
            alg, public, sign = "RS256", _rsa_public_key(key.public_key(), kid=kid), _rs256_signer(key)
        case _ as unreachable:
            assert_never(unreachable)
    header = _header(alg, kid, ACCESS_TOKEN_TYPE)
    return SigningKey(kid=kid, alg=alg, public=public, _key=key, _header=header, _sign=sign)


def _header(alg: Algorithm, kid: str, typ: str) -> str:
    return base64url(orjson.dumps({"typ": typ, "alg": alg, "kid": kid}))


def _ec_public_key(key: ec.EllipticCurvePublicKey, *, kid: str) -> PublicKey:
    if not isinstance(key.curve, ec.SECP256R1):
        raise InvalidKey(f"an EC key on {key.curve.name}, not on P-256")
    numbers = key.public_numbers()
    x, y = (base64url(number.to_bytes(_P256_BYTES, "big")) for number in (numbers.x, numbers.y))
    jwk = {"kty": "EC", "kid": kid, "use": "sig", "alg": "ES256", "crv": "P-256", "x": x, "y": y}
    return PublicKey(kid=kid, alg="ES256", jwk=jwk)


def _rsa_public_key(key: rsa.RSAPublicKey, *, kid: str) -> PublicKey:
    if key.key_size < _MIN_RSA_BITS:
        raise InvalidKey(f"an RSA key of {key.key_size} bits; at least {_MIN_RSA_BITS} are needed")
    numbers = key.public_numbers()
    n, e = (base64url(number.to_bytes((number.bit_length() + 7) // 8, "big")) for number in (numbers.n, numbers.e))
    jwk = {"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": n, "e": e}
    return PublicKey(kid=kid, alg="RS256", jwk=jwk)


def _es256_signer(key: ec.EllipticCurvePrivateKey) -> Callable[[bytes], bytes]:
    return lambda digest: _side_by_side(key.sign(digest, _ECDSA))


def _side_by_side(der: bytes) -> bytes:
    """Return r and s one after the other (RFC 7518 §3.4), of the DER that the library makes of them.

    It is a sequence of two integers: 0x30, its length, and for each 0x02, its length, and its bytes, as few as there can
    be, or one more that is zero. All lengths are below 128.
    """
    middle = 4 + der[3]
    r, s = der[4:middle], der[middle + 2 :]
    return r[-_P256_BYTES:].rjust(_P256_BYTES, b"\0") + s[-_P256_BYTES:].rjust(_P256_BYTES, b"\0")


def _rs256_signer(key: rsa.RSAPrivateKey) -> Callable[[bytes], bytes]:
    return lambda digest: key.sign(digest, _PKCS1, _PREHASHED)


def _decode(segment: str) -> bytes:
    """Decode base64url, of which each value has one spelling only (RFC 7515 §2); nothing is none."""
    beyond = len(segment) % 4
    if not segment or segment[-1] not in _LAST_CHARACTERS[beyond] or "+" in segment or "/" in segment:
        raise InvalidToken("malformed")
    try:
        return binascii.a2b_base64(segment.replace("-", "+").replace("_", "/") + _PADDING[beyond], strict_mode=True)
    except ValueError as exc:
        raise InvalidToken("malformed") from exc


def read_object(segment: str) -> Claims:
    """Return the JSON object that a segment is, refusing what two parsers could read differently.

    Raises:
        InvalidToken: It is none, or names a member twice.
    """
    return _read_members(_decode(segment))


def _read_members(text: bytes) -> Claims:
    try:
        members = orjson.loads(text)
        if not _is_spelled(text, members):
            # orjson is strict but keeps the last of two equal names; only the slower parser tells.
            _REPETITIONS.decode(text.decode("utf-8"))
    except (ValueError, RecursionError) as exc:
        raise InvalidToken("malformed") from exc
    if not isinstance(members, dict):
        raise InvalidToken("malformed")
    return cast("Claims", members)


def _is_spelled(text: bytes, members: object) -> bool:
    """Whether a text is what its members are spelled as, to the byte, so that it can repeat none of them."""
    try:
        return orjson.dumps(members) == text
    except orjson.JSONEncodeError:
        # Nested deeper than it writes.
        return False


def _refuse_repeated(pairs: list[tuple[str, object]]) -> Claims:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is given twice")
    return members


_REPETITIONS = json.JSONDecoder(object_pairs_hook=_refuse_repeated)
