"""Keys of others (RFC 7517, RFC 7518 §6, RFC 8037): read from their key sets, and used to verify what they signed.

Or carried along by what they signed: such a key vouches for nobody, and is known by its thumbprint (RFC 7638).
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, TypeVar, assert_never, get_args

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from authserver.protocol.identifiers import base64url
from authserver.protocol.jose import InvalidKey

SignatureAlgorithm = Literal["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]
ClientAlgorithm = Literal["ES256", "RS256", "PS256", "EdDSA"]

SIGNATURE_ALGORITHMS: tuple[SignatureAlgorithm, ...] = get_args(SignatureAlgorithm)
CLIENT_ALGORITHMS: tuple[ClientAlgorithm, ...] = get_args(ClientAlgorithm)
MAX_KEY_SET_BYTES = 64 * 1024
MAX_KEYS = 100
MAX_TRIED_KEYS = 20
"""For one signature: of keys that fit and are not told apart by their names."""

_ED25519_BYTES = 32
_RSA_BITS = range(2048, 4096 + 1)
_CARRIED_RSA_BITS = range(2048, 8192 + 1)
_MAX_EXPONENT_BITS = 17
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_ECDSA = {size: ec.ECDSA(used) for size, used in _HASHES.items()}
_PKCS1 = padding.PKCS1v15()
_PSS = {
    size: padding.PSS(mgf=padding.MGF1(used), salt_length=padding.PSS.DIGEST_LENGTH) for size, used in _HASHES.items()
}
_CURVES: Mapping[str, tuple[ec.EllipticCurve, SignatureAlgorithm]] = {
    "P-256": (ec.SECP256R1(), "ES256"),
    "P-384": (ec.SECP384R1(), "ES384"),
    "P-521": (ec.SECP521R1(), "ES512"),
}
_RSA_ALGORITHMS = frozenset[SignatureAlgorithm]({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})

Served = TypeVar("Served", bound=SignatureAlgorithm)

_Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
_Verify = Callable[[bytes, bytes, SignatureAlgorithm], None]
"""Takes a signature, what it is over, and one of the key's algorithms; raises ``InvalidSignature``."""


def find_algorithm(name: object, among: Iterable[Served]) -> Served | None:
    """Return the algorithm of a name if it is served, else None. RFC 9864 renames EdDSA with this curve to Ed25519."""
    if name == "Ed25519":
        name = "EdDSA"
    return next((algorithm for algorithm in among if algorithm == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationKey:
    """A public key of somebody else, parsed once.

    Attributes:
        kid: Its name in the set; None without one.
        algorithms: What it may verify: what fits its type and curve and, when the set says so, that one alone.
    """

    kid: str | None
    algorithms: frozenset[SignatureAlgorithm]
    _verify: _Verify = field(repr=False, compare=False)

    def is_signature(self, signature: bytes, *, over: bytes, alg: SignatureAlgorithm) -> bool:
        """Tell whether this key made ``signature`` over the bytes ``over``; never with an algorithm that does not fit."""
        if alg not in self.algorithms:
            return False
        try:
            self._verify(signature, over, alg)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySet:
    """The usable keys of a set, in its order."""

    keys: tuple[VerificationKey, ...]

    def fitting(self, alg: SignatureAlgorithm, kid: str | None) -> tuple[VerificationKey, ...]:
        """Return the keys that may have made a signature: of that name if one is given, else all that fit; at most 20."""
        found = (key for key in self.keys if alg in key.algorithms and (kid is None or key.kid == kid))
        return tuple(islice(found, MAX_TRIED_KEYS))


def parse_key_set(text: str | bytes, *, algorithms: Collection[SignatureAlgorithm] = CLIENT_ALGORITHMS) -> KeySet:
    """Return the keys of a JSON Web Key Set that can be used with one of these algorithms.

    Private and symmetric keys are ignored, and so is what is not for signatures, of another kind, or broken: one bad
    entry does not lock out the client that has a good one (RFC 7517 §5).

    Raises:
        InvalidKey: It is no key set, or one of more than 100 entries.
    """
    entries = _read_entries(text)
    return KeySet(keys=tuple(key for entry in entries if (key := _find_usable(entry, algorithms)) is not None))


def keep_public_keys(text: str | bytes) -> str:
    """Return a key set without what should never have been in it: private and symmetric keys.

    Raises:
        InvalidKey: It is no key set, or holds no key that can be used.
    """
    entries = _read_entries(text)
    public = [entry for entry in entries if isinstance(entry, Mapping) and is_public_key(entry)]
    if not any(_find_usable(entry, CLIENT_ALGORITHMS) for entry in public):
        raise InvalidKey("no public key in it can be used")
    return orjson.dumps({"keys": public}).decode()


def read_carried_key(jwk: object, alg: ClientAlgorithm) -> tuple[VerificationKey, str]:
    """Return the key that a header carries (``jwk``, RFC 7515 §4.1.3), for one algorithm, and its thumbprint.

    Other members, such as ``kid`` and ``use``, are not looked at.

    Raises:
        InvalidKey: It is no public key for the algorithm, states another one, or has private members.
    """
    if not isinstance(jwk, Mapping) or not is_public_key(jwk):
        raise InvalidKey("not a public key")
    stated = jwk.get("alg", alg)
    if not isinstance(stated, str) or find_algorithm(stated, CLIENT_ALGORITHMS) != alg:
        raise InvalidKey("a key for another algorithm")
    try:
        key, fitting = _load(jwk, rsa_bits=_CARRIED_RSA_BITS)
    except ValueError as exc:
        raise InvalidKey("not a point of the curve, or a number out of range") from exc
    if alg not in fitting:
        raise InvalidKey("a key of another kind than the algorithm's")
    return VerificationKey(kid=None, algorithms=frozenset({alg}), _verify=_verifier(key)), _thumbprint(jwk)


def _thumbprint(jwk: Mapping[str, object]) -> str:
    """Return the SHA-256 thumbprint of a key that was loaded (RFC 7638 §3): its members need no escapes."""
    members = ("crv", "kty", "x", "y") if jwk["kty"] == "EC" else ("e", "kty", "n")
    canonical = ",".join(f'"{name}":"{jwk[name]}"' for name in members)
    return base64url(hashlib.sha256(f"{{{canonical}}}".encode("ascii")).digest())


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


def is_public_key(entry: Mapping[str, object]) -> bool:
    """Tell whether an entry of a key set holds nothing that must stay secret."""
    return entry.get("kty") != "oct" and _PRIVATE_MEMBERS.isdisjoint(entry)


def _find_usable(entry: object, served: Collection[SignatureAlgorithm]) -> VerificationKey | None:
    """Return the key of an entry, or None when it is not one that verifies signatures."""
    if not isinstance(entry, Mapping) or not is_public_key(entry) or not _is_for_signatures(entry):
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
    algorithms = fitting.intersection(served if stated is None else {find_algorithm(stated, served)})
    return VerificationKey(kid=kid, algorithms=algorithms, _verify=_verifier(key)) if algorithms else None


def _is_for_signatures(entry: Mapping[str, object]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _load(entry: Mapping[str, object], *, rsa_bits: range = _RSA_BITS) -> tuple[_Key, frozenset[SignatureAlgorithm]]:
    match entry.get("kty"), entry.get("crv"):
        case "EC", str(name) if name in _CURVES:
            curve, alg = _CURVES[name]
            length = (curve.key_size + 7) // 8
            x, y = (int.from_bytes(_bytes(entry, member, length=length), "big") for member in ("x", "y"))
            return ec.EllipticCurvePublicNumbers(x, y, curve).public_key(), frozenset({alg})
        case "OKP", "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(_bytes(entry, "x", length=_ED25519_BYTES)), frozenset(
                {"EdDSA"}
            )
        case "RSA", _:
            n, e = (int.from_bytes(_bytes(entry, name), "big") for name in ("n", "e"))
            # Others are for whoever wants to keep the server busy; 65537 is what everybody uses.
            if n.bit_length() not in rsa_bits or e.bit_length() > _MAX_EXPONENT_BITS:
                raise InvalidKey("an RSA key of a size that is not taken")
            return rsa.RSAPublicNumbers(e, n).public_key(), _RSA_ALGORITHMS
    raise InvalidKey("a key of another kind")


def _verifier(key: _Key) -> _Verify:
    """Return what verifies with a key; of which kind it is is asked here, not with each signature."""
    match key:
        case ec.EllipticCurvePublicKey():
            return _ecdsa_verifier(key)
        case ed25519.Ed25519PublicKey():
            return lambda signature, over, _alg: key.verify(signature, over)
        case rsa.RSAPublicKey():
            return _rsa_verifier(key)
        case _ as unreachable:
            assert_never(unreachable)


def _ecdsa_verifier(key: ec.EllipticCurvePublicKey) -> _Verify:
    length = (key.curve.key_size + 7) // 8

    def verify(signature: bytes, over: bytes, alg: SignatureAlgorithm) -> None:
        # r and s side by side, each as long as the curve's order (RFC 7518 §3.4).
        if len(signature) != 2 * length:
            raise InvalidSignature
        r = int.from_bytes(signature[:length], "big")
        s = int.from_bytes(signature[length:], "big")
        key.verify(encode_dss_signature(r, s), over, _ECDSA[alg[2:]])

    return verify


def _rsa_verifier(key: rsa.RSAPublicKey) -> _Verify:
    def verify(signature: bytes, over: bytes, alg: SignatureAlgorithm) -> None:
        size = alg[2:]
        key.verify(signature, over, _PSS[size] if alg[0] == "P" else _PKCS1, _HASHES[size])

    return verify


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
