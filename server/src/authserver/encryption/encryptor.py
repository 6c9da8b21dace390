"""What encrypts secrets at rest under the key of the configuration (token vault, section 4)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Literal, Protocol

from authserver.telemetry.metrics import ENCRYPT_DURATION, ENCRYPT_ERRORS
from authserver.telemetry.spans import span

Operation = Literal["encrypt", "decrypt"]

_SPANS = {"aes_master": "AESMaster", "vault_transit_encrypt": "VaultTransitEnc"}


class EncryptionFailed(Exception):  # noqa: N818  an outcome that callers turn into one of their own
    """Something cannot be encrypted or decrypted. The message names the driver and tells nothing of what failed.

    Attributes:
        error_type: What went wrong, in a word of ``authserver_encrypt_errors_total``.
    """

    def __init__(self, message: str, *, error_type: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class EncryptorUnavailable(EncryptionFailed):
    """What encrypts does not answer now; another try makes sense."""


class Encryptor(Protocol):
    """Encrypts values so that each opens under its own context only."""

    driver: ClassVar[str]
    """As ``data_encryption.driver`` spells it; stored beside each ciphertext that may come from either driver."""

    async def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """Encrypt a value.

        Args:
            plaintext: Any bytes.
            context: What the value belongs to, such as ``signing-key:<kid>``; it opens under no other.

        Raises:
            EncryptionFailed: It cannot be encrypted.
        """
        ...

    async def open(self, sealed: bytes, *, context: str) -> bytes:
        """Decrypt a value.

        Raises:
            EncryptionFailed: It was altered, was sealed under another key or context, or is no ciphertext at all.
        """
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


@contextmanager
def measured(driver: str, operation: Operation) -> Iterator[None]:
    """Time what succeeds, count what fails by its kind, and have a span of both."""
    started = time.perf_counter()
    try:
        with span(f"{_SPANS[driver]}.{operation.capitalize()}", driver=driver):
            yield
    except EncryptionFailed as exc:
        ENCRYPT_ERRORS.inc(driver, operation, exc.error_type)
        raise
    ENCRYPT_DURATION.observe(time.perf_counter() - started, driver, operation)
