"""Tokens that are bound to a key (DPoP, RFC 9449), for any ASGI application that knows bearer tokens already."""

import base64
import hashlib
import json
import time
from contextvars import ContextVar

import jwt
from starlette.types import ASGIApp, Receive, Scope, Send

PROOF_ALGORITHMS = ("ES256", "RS256", "PS256", "EdDSA")
PROOF_LIFETIME = 60  # seconds the time of a proof may be from ours
MAX_PROOFS = 10_000  # remembered until they are too old; one that cannot be is refused
THUMBPRINTED = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}
PROVED_KEY: ContextVar[str | None] = ContextVar("PROVED_KEY", default=None)


class ProofOfPossession:
    """Takes ``Authorization: DPoP`` with its proof (RFC 9449 §7.1), once for each proof.

    It stands before the SDK's authentication, which is handed a bearer token, and the proved key in the context.
    """

    def __init__(self, app: ASGIApp, *, url: str) -> None:
        self._app = app
        self._url = url
        self._used: dict[str, float] = {}  # when each proof was seen, the oldest first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a proof that is none; let requests with other tokens through as they are."""
        headers = scope.get("headers", [])
        scheme, _, token = next((value for name, value in headers if name == b"authorization"), b"").partition(b" ")
        if scheme.lower() != b"dpop":
            await self._app(scope, receive, send)
            return
        proofs = [value for name, value in headers if name == b"dpop"]
        jkt = self._verified_key(proofs[0], token, scope["method"]) if len(proofs) == 1 else None
        if jkt is None:
            challenge = f'DPoP error="invalid_dpop_proof", algs="{" ".join(PROOF_ALGORITHMS)}"'
            body = {"error": "invalid_dpop_proof", "error_description": "The DPoP proof is not good for this request"}
            await answer_json(send, 401, body, (b"www-authenticate", challenge.encode()))
            return
        others = [pair for pair in headers if pair[0] != b"authorization"]
        before = PROVED_KEY.set(jkt)
        try:
            bearer = (b"authorization", b"Bearer " + token)
            await self._app({**scope, "headers": [*others, bearer]}, receive, send)
        finally:
            PROVED_KEY.reset(before)

    def _verified_key(self, proof: bytes, token: bytes, method: str) -> str | None:
        """Return the thumbprint of the key that proves this request, or None (RFC 9449 §4.3)."""
        try:
            header = jwt.get_unverified_header(proof)
            jwk = dict(header["jwk"])
            members = {name: jwk[name] for name in THUMBPRINTED[jwk["kty"]]}
            key = jwt.PyJWK.from_dict(members, algorithm=header["alg"])
            claims = jwt.decode(proof, key, algorithms=PROOF_ALGORITHMS, leeway=PROOF_LIFETIME)
            expected = ("dpop+jwt", method, self._url, digest(token))
            is_meant = (header["typ"], claims["htm"], claims["htu"], claims["ath"]) == expected
            if not is_meant or "d" in jwk or abs(time.time() - claims["iat"]) > PROOF_LIFETIME:
                return None
            jkt = digest(json.dumps(members, separators=(",", ":"), sort_keys=True).encode())
            return jkt if self._is_first_use(f"{jkt} {claims['jti']}") else None
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            return None

    def _is_first_use(self, proof: str) -> bool:
        now = time.monotonic()
        while self._used and next(iter(self._used.values())) < now - 2 * PROOF_LIFETIME:
            del self._used[next(iter(self._used))]
        if proof in self._used or len(self._used) >= MAX_PROOFS:
            return False
        self._used[proof] = now
        return True


def digest(text: bytes) -> str:
    """Return a SHA-256 as JSON Web Tokens spell it."""
    return base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()


async def answer_json(send: Send, status: int, content: dict[str, str], *headers: tuple[bytes, bytes]) -> None:
    """Send a small JSON answer."""
    body = json.dumps(content).encode()
    sent = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})
