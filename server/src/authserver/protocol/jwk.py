"""Keys of others (RFC 7517, RFC 7518 §6, RFC 8037): read from their key sets, and used to verify what they signed."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, assert_never

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from authserver.protocol.jose import InvalidKey, verify_es256

ClientAlgorithm = Literal["ES256", "RS256", "PS256", "EdDSA"]

CLIENT_ALGORITHMS: tuple[ClientAlgorithm, ...] = ("ES256", "RS256", "PS256", "EdDSA")
MAX_KEY_SET_BYTES = 64 * 1024
MAX_KEYS = 100
MAX_USABLE_KEYS = 20

_COORDINATE_BYTES = 32
_RSA_BITS = range(2048, 4096 + 1)
_MAX_EXPONENT_BITS = 17
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_SHA256 = hashes.SHA256()
_PKCS1 = padding.PKCS1v15()
_PSS = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=padding.PSS.DIGEST_LENGTH)

_Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def find_client_algorithm(name: object) -> ClientAlgorithm | None:
    """Return the algorithm of a name that is served, or None. RFC 9864 renames EdDSA with this curve to Ed25519."""
    if name == "Ed25519":
        return "EdDSA"
    return next((algorithm for algorithm in CLIENT_ALGORITHMS if algorithm == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """A public key of somebody else, parsed once.

    Attributes:
        kid: Its name in the set; None without one.
        algorithms: What it may verify: what fits its type and curve and, when the set says so, that one alone.
    """

    kid: str | None
    algorithms: frozenset[ClientAlgorithm]
    _key: _Key = field(repr=False, compare=False)

    def is_signature(self, signature: bytes, *, over: bytes, alg: ClientAlgorithm) -> bool:
        """Tell whether this key made ``signature`` over the bytes ``over``; never with an algorithm that does not fit."""
        if alg not in self.algorithms:
            return False
        try:
            match self._key:
                case ec.EllipticCurvePublicKey():
                    verify_es256(self._key, signature, over)
                case ed25519.Ed25519PublicKey():
                    self._key.verify(signature, over)
                case rsa.RSAPublicKey():
                    self._key.verify(signature, over, _PSS if alg == "PS256" else _PKCS1, _SHA256)
                case _ as unreachable:
                    assert_never(unreachable)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """The usable keys of a set, in its order, at most 20."""

    keys: tuple[VerificationKey, ...]

    def fitting(self, alg: ClientAlgorithm, kid: str | None) -> tuple[VerificationKey, ...]:
        """Return the keys that may have made a signature: of that name if one is given, else all that fit."""
        return tuple(key for key in self.keys if alg in key.algorithms and (kid is None or key.kid == kid))


def parse_key_set(text: str | bytes) -> KeySet:
    """Return the usable keys of a JSON Web Key Set.

    Private and symmetric keys are ignored, and so is what is not for signatures, of another kind, or broken: one bad
    entry does not lock out the client that has a good one (RFC 7517 §5).

    Raises:
        InvalidKey: It is no key set, or one of more than 100 entries.
    """
    entries = _read_entries(text)
    usable = (key for entry in entries if (key := _find_usable(entry)) is not None)
    return KeySet(keys=tuple(key for key, _ in zip(usable, range(MAX_USABLE_KEYS), strict=False)))


def keep_public_keys(text: str | bytes) -> str:
    """Return a key set without what should never have been in it: private and symmetric keys.

    Raises:
        InvalidKey: It is no key set, or holds no key that can be used.
    """
    entries = _read_entries(text)
    public = [entry for entry in entries if isinstance(entry, Mapping) and _is_public(entry)]
    if not any(_find_usable(entry) for entry in public):
        raise InvalidKey("no public key in it can be used")
    return orjson.dumps({"keys": public}).decode()


def _read_entries(text: str | bytes) -> list[object]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise InvalidKey("it is not JSON") from exc
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise InvalidKey("it has no array of keys")
    if len(entries) > MAX_KEYS:
        raise InvalidKey(f"it has more than {MAX_KEYS} keys")
    return entries


def _is_public(entry: Mapping[str, object]) -> bool:
    return entry.get("kty") != "oct" and _PRIVATE_MEMBERS.isdisjoint(entry)


def _find_usable(entry: object) -> VerificationKey | None:
    """Return the key of an entry, or None when it is not one that verifies signatures."""
    if not isinstance(entry, Mapping) or not _is_public(entry) or not _is_for_signatures(entry):
        return None
    kid = entry.get("kid")
    if not (kid is None or isinstance(kid, str)):
        return None
    try:
        key, fitting = _load(entry)
    # Points off the curve and numbers out of range are the library's to find.
    except (ValueError, InvalidKey):
        return None
    stated = entry.get("alg")
    algorithms = fitting if stated is None else fitting & {find_client_algorithm(stated)}
    return VerificationKey(kid=kid, algorithms=algorithms, _key=key) if algorithms else None


def _is_for_signatures(entry: Mapping[str, object]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _load(entry: Mapping[str, object]) -> tuple[_Key, frozenset[ClientAlgorithm]]:
    match entry.get("kty"), entry.get("crv"):
        case "EC", "P-256":
            x, y = (int.from_bytes(_bytes(entry, name, length=_COORDINATE_BYTES), "big") for name in ("x", "y"))
            return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key(), frozenset({"ES256"})
        case "OKP", "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(_bytes(entry, "x", length=_COORDINATE_BYTES)), frozenset(
                {"EdDSA"}
            )
        case "RSA", _:
            n, e = (int.from_bytes(_bytes(entry, name), "big") for name in ("n", "e"))
            # Others are for whoever wants to keep the server busy; 65537 is what everybody uses.
            if n.bit_length() not in _RSA_BITS or e.bit_length() > _MAX_EXPONENT_BITS:
                raise InvalidKey("an RSA key of a size that is not taken")
            return rsa.RSAPublicNumbers(e, n).public_key(), frozenset({"RS256", "PS256"})
    raise InvalidKey("a key of another kind")


def _bytes(entry: Mapping[str, object], name: str, *, length: int | None = None) -> bytes:
    value = entry.get(name)
    if not isinstance(value, str) or not value.isascii() or "=" in value or "+" in value or "/" in value:
        raise InvalidKey(f"{name} is not base64url")
    try:
        decoded = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
    except binascii.Error as exc:
        raise InvalidKey(f"{name} is not base64url") from exc
    if length is not None and len(decoded) != length:
        raise InvalidKey(f"{name} is not {length} bytes long")
    return decoded
