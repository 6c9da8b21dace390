"""How secrets and credentials become ciphertext. Before a transaction: it may be a call to another server."""

from authserver.broker.records import Sealed
from authserver.encryption.encryptor import EncryptionFailed, Encryptor
from authserver.protocol.operator_errors import Failed


async def seal(encryptor: Encryptor, plaintext: bytes, *, context: str) -> Sealed:
    """Encrypt a value so that it opens under its context alone.

    Raises:
        Failed: It cannot be encrypted now.
    """
    try:
        ciphertext = await encryptor.seal(plaintext, context=context)
    except EncryptionFailed as exc:
        raise Failed("what was given could not be encrypted: nothing was stored") from exc
    return Sealed(ciphertext=ciphertext, backend=encryptor.driver)
