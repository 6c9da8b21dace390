import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authserver.encryption.sealing import derive_key, open_sealed, seal

TOKEN = "mG2k0pB1Qm6rUu3S9wYx7AmG2k0pB1Qm6rUu3S9wYx7"
ANSWER = b'{"access_token":"x","refresh_token":"y"}'


@given(st.text(), st.binary(), st.binary(max_size=4096))
def test_what_was_sealed_opens_with_the_same_secret_and_context(secret: str, context: bytes, plaintext: bytes) -> None:
    assert open_sealed(secret, context, seal(secret, context, plaintext)) == plaintext


def test_it_opens_with_nothing_else() -> None:
    sealed = seal(TOKEN, b"row 1", ANSWER)
    assert open_sealed(TOKEN + "x", b"row 1", sealed) is None
    assert open_sealed(TOKEN, b"row 2", sealed) is None


def test_an_altered_byte_anywhere_opens_nothing() -> None:
    sealed = seal(TOKEN, b"row 1", ANSWER)
    for position in range(len(sealed)):
        altered = bytearray(sealed)
        altered[position] ^= 1
        assert open_sealed(TOKEN, b"row 1", bytes(altered)) is None


def test_a_cut_off_ciphertext_opens_nothing() -> None:
    sealed = seal(TOKEN, b"row 1", ANSWER)
    for length in range(len(sealed)):
        assert open_sealed(TOKEN, b"row 1", sealed[:length]) is None


def test_the_same_plaintext_never_looks_the_same_twice() -> None:
    first, second = seal(TOKEN, b"row 1", ANSWER), seal(TOKEN, b"row 1", ANSWER)
    assert first != second
    assert len(first) == len(ANSWER) + 29
    assert ANSWER not in first


def test_keys_of_different_purposes_and_secrets_differ() -> None:
    keys = {derive_key(secret, purpose) for secret in (b"one", b"two") for purpose in ("csrf", "session", "")}
    assert len(keys) == 6
    assert {len(key) for key in keys} == {32}


@pytest.mark.parametrize("purpose", ["csrf", "session"])
def test_a_key_is_derived_as_rfc_5869_says(purpose: str) -> None:
    extracted = hmac.digest(bytes(32), b"secret", hashlib.sha256)
    info = b"authplane key v1:" + purpose.encode()
    assert derive_key(b"secret", purpose) == hmac.digest(extracted, info + b"\x01", hashlib.sha256)
