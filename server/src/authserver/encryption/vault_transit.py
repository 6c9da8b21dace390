"""Encryption by a key that never leaves Vault (token vault, section 4.2)."""

import base64
import binascii
from typing import ClassVar

from authserver.encryption.encryptor import EncryptionFailed, EncryptorUnavailable, measured
from authserver.encryption.vault import VaultClient, VaultError, VaultUnavailable, segment
from authserver.telemetry.logs import get_logger
from authserver.telemetry.spans import call_span

_log = get_logger("vault-transit")


class VaultTransitEncryptor:
    """Has Vault encrypt and decrypt; the ciphertext is Vault's text, ``vault:v1:…``, as it is.

    The context binds a value to its row only when the key is derived (``derived=true``): with another key Vault does not
    look at it, which ``check_binding`` tells.
    """

    driver: ClassVar[str] = "vault_transit_encrypt"

    def __init__(self, client: VaultClient, *, mount: str, key_name: str) -> None:
        """Take the place of the key.

        Args:
            client: Signed in; closed with this.
            mount: Where the transit engine is mounted.
            key_name: The key.
        """
        self._client = client
        self._key_name = key_name
        self._encrypt = f"{segment(mount)}/encrypt/{segment(key_name)}"
        self._decrypt = f"{segment(mount)}/decrypt/{segment(key_name)}"

    async def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Return Vault's text."""
        with measured(self.driver, "encrypt"):
            sealed = await self._ask(self._encrypt, "ciphertext", plaintext=_spell(plaintext), context=context)
            return sealed.encode("utf-8")

    async def open(self, sealed: bytes, *, context: str) -> bytes:
        """Return the plaintext."""
        with measured(self.driver, "decrypt"):
            text = sealed.decode("utf-8", "replace")
            plaintext = await self._ask(self._decrypt, "plaintext", ciphertext=text, context=context)
            try:
                return base64.b64decode(plaintext, validate=True)
            except binascii.Error as exc:
                raise EncryptionFailed(
                    "vault_transit_encrypt: vault answers no base64", error_type="base64_decode"
                ) from exc

    async def check_binding(self) -> None:
        """Warn when the key is not a derived one: whoever may write rows could then swap their ciphertexts.

        Raises:
            EncryptionFailed: Vault does not encrypt.
        """
        probe = await self.seal(b"probe", context="probe:1")
        try:
            await self._ask(self._decrypt, "plaintext", ciphertext=probe.decode("utf-8"), context="probe:2")
        except EncryptorUnavailable:
            raise
        except EncryptionFailed:
            return
        _log.warning("data encryption key in vault is not derived: create it with derived=true", key=self._encrypt)

    async def close(self) -> None:
        """Sign out of nothing, but end the renewal of the token."""
        await self._client.close()

    async def _ask(self, path: str, member: str, *, context: str, **body: str) -> str:
        operation = "VaultClient.Encrypt" if path == self._encrypt else "VaultClient.Decrypt"
        try:
            with call_span(operation, **{"vault.key_name": self._key_name}):
                data = await self._client.write(path, {**body, "context": _spell(context.encode("utf-8"))})
        except VaultUnavailable as exc:
            raise EncryptorUnavailable(f"vault_transit_encrypt: {exc}", error_type="vault_request") from exc
        except VaultError as exc:
            raise EncryptionFailed(f"vault_transit_encrypt: {exc}", error_type="vault_request") from exc
        answer = data.get(member)
        if not isinstance(answer, str) or not answer:
            raise EncryptionFailed("vault_transit_encrypt: vault answers nothing", error_type="vault_request")
        return answer


def _spell(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
