"""Signs statements that are no tokens, such as checkpoints of the audit trail, with the keys that sign tokens."""

from collections.abc import Mapping

from authserver.keys.keyring import Keyring
from authserver.keys.records import RemoteKey
from authserver.protocol.jose import SigningKey
from authserver.protocol.statements import thumbprint_of


class KeyringSigner:
    """Signs with the keys of a keyring: the current one, and those that are still published."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def current_key(self, now: int) -> Mapping[str, str]:
        """Return the public half of the key that signs at present."""
        return self._keyring.current(now).public.jwk

    def holds(self, thumbprint: str, now: int) -> bool:
        """Tell whether this key can still be signed with."""
        return self._find(thumbprint, now) is not None

    async def sign(self, payload: bytes, *, typ: str, thumbprint: str, now: int) -> str:
        """Return the statement as compact JWS.

        Raises:
            LookupError: The key is held no more.
            SigningUnavailable: Whoever keeps the key does not answer.
        """
        key = self._find(thumbprint, now)
        if key is None:
            raise LookupError("this key is not held any more")
        if isinstance(key, SigningKey):
            return key.sign_payload(payload, typ=typ)
        return await key.sign_payload(payload, typ=typ)

    def _find(self, thumbprint: str, now: int) -> SigningKey | RemoteKey | None:
        keys = (key.signing_key for key in self._keyring.snapshot(now).keys)
        return next((key for key in keys if thumbprint_of(key.public.jwk) == thumbprint), None)
