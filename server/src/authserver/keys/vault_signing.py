"""Has Vault sign with one version of a Transit key (deployment, section 12.2)."""

import base64
import binascii
import hashlib
from collections.abc import Awaitable, Callable

import orjson

from authserver.encryption.vault import VaultClient, VaultError, segment
from authserver.protocol.errors import SigningUnavailable
from authserver.protocol.jose import PublicKey
from authserver.protocol.jwk import parse_key_set
from authserver.telemetry.logs import get_logger
from authserver.telemetry.spans import call_span

_log = get_logger("vault-transit")


class VaultSigner:
    """Asks for signatures, and believes none that the published key does not verify."""

    def __init__(self, client: VaultClient, mount: str) -> None:
        """Take the way to Vault.

        Args:
            client: Signed in.
            mount: Where the transit engine is mounted, as a path.
        """
        self._client = client
        self._mount = mount
        self._is_failing = False

    def signing_with(self, key_name: str, version: int, public: PublicKey) -> Callable[[bytes], Awaitable[bytes]]:
        """Return what signs with this version: signing input in, signature as JWS has it out."""
        path = f"{self._mount}/sign/{segment(key_name)}"
        prefix = f"vault:v{version}:"
        (verification,) = parse_key_set(orjson.dumps({"keys": [dict(public.jwk)]})).keys
        parameters: dict[str, object] = {
            "prehashed": True,
            "hash_algorithm": "sha2-256",
            "key_version": version,
            "marshaling_algorithm": "jws",
        }
        if public.alg == "RS256":
            # Vault's own choice is PSS, which does not verify as RS256.
            parameters["signature_algorithm"] = "pkcs1v15"

        told: dict[str, str | int] = {
            "vault.key_name": key_name,
            "vault.hash_algorithm": "sha2-256",
            "vault.key_version": version,
        }

        async def sign(signing_input: bytes) -> bytes:
            digest = base64.b64encode(hashlib.sha256(signing_input).digest()).decode("ascii")
            try:
                with call_span("VaultClient.Sign", **told):
                    data = await self._client.write(path, {"input": digest, **parameters})
                signature = _read(data, prefix)
                check(signature, signing_input)
            except VaultError as exc:
                self._tell(exc)
                raise SigningUnavailable from exc
            self._tell(None)
            return signature

        def check(signature: bytes, over: bytes) -> None:
            if not verification.is_signature(signature, over=over, alg=public.alg):
                raise VaultError(f"vault answers a signature of another key than kid={public.kid}")

        return sign

    def _tell(self, exc: VaultError | None) -> None:
        """Log the first failure, and the first success after it."""
        if exc is not None and not self._is_failing:
            _log.error("vault does not sign", error=str(exc))
        if exc is None and self._is_failing:
            _log.info("vault signs again")
        self._is_failing = exc is not None


def _read(data: dict[str, object], prefix: str) -> bytes:
    signature = data.get("signature")
    if not isinstance(signature, str) or not signature.startswith(prefix):
        raise VaultError("vault answers no signature of the version that was asked for")
    text = signature.removeprefix(prefix)
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as exc:
        raise VaultError("vault answers a signature that is no base64url") from exc
