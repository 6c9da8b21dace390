import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from authserver.config.declaring import ConfigError
from authserver.config.sections.storage import AesMasterConfig, DataEncryptionConfig
from authserver.encryption.aes_master import AesMaster
from authserver.encryption.encryptor import EncryptionFailed
from authserver.encryption.opening import open_encryptor
from authserver.telemetry import metrics
from authserver.telemetry.spans import Span, leave, within
from authserver.telemetry.tracing import Tracer

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
CONTEXT = "signing-key:abc"

pytestmark = pytest.mark.anyio


def failures(error_type: str) -> float:
    labels = {"driver": "aes_master", "operation": "decrypt", "error_type": error_type}
    return metrics.REGISTRY.get_sample_value("authserver_encrypt_errors_total", labels) or 0.0


@given(st.text(), st.binary(max_size=4096))
async def test_what_was_sealed_opens_under_its_context(context: str, plaintext: bytes) -> None:
    sealed = await AesMaster(KEY).seal(plaintext, context=context)
    assert len(sealed) == len(plaintext) + 29
    assert await AesMaster(KEY).open(sealed, context=context) == plaintext


async def test_what_succeeds_is_measured_once() -> None:
    def measured(operation: str) -> float:
        labels = {"driver": "aes_master", "operation": operation}
        return metrics.REGISTRY.get_sample_value("authserver_encrypt_duration_seconds_count", labels) or 0.0

    before = {operation: measured(operation) for operation in ("encrypt", "decrypt")}
    sealed = await AesMaster(KEY).seal(b"secret", context=CONTEXT)
    await AesMaster(KEY).open(sealed, context=CONTEXT)
    with pytest.raises(EncryptionFailed):
        await AesMaster(KEY).open(sealed, context="another")
    assert {operation: measured(operation) - before[operation] for operation in before} == {"encrypt": 1, "decrypt": 1}


async def test_the_layout_is_the_second_version_of_the_contract() -> None:
    sealed = await AesMaster(KEY).seal(b"secret", context=CONTEXT)
    derived = HKDF(SHA256(), 32, b"authserver-aes-master-v2", CONTEXT.encode()).derive(KEY)
    assert sealed[:1] == b"\x02"
    assert AESGCM(derived).decrypt(sealed[1:13], sealed[13:], CONTEXT.encode()) == b"secret"


async def test_the_first_version_is_read_and_no_longer_written() -> None:
    derived = HKDF(SHA256(), 32, None, CONTEXT.encode()).derive(KEY)
    sealed = b"\x01" + bytes(12) + AESGCM(derived).encrypt(bytes(12), b"secret", None)
    assert await AesMaster(KEY).open(sealed, context=CONTEXT) == b"secret"
    assert await AesMaster(OTHER, KEY).open(sealed, context=CONTEXT) == b"secret"


async def test_the_old_key_opens_and_never_seals() -> None:
    before = await AesMaster(OTHER).seal(b"secret", context=CONTEXT)
    both = AesMaster(KEY, OTHER)
    assert await both.open(before, context=CONTEXT) == b"secret"
    with pytest.raises(EncryptionFailed):
        await AesMaster(OTHER).open(await both.seal(b"secret", context=CONTEXT), context=CONTEXT)


async def test_nothing_opens_under_another_key_or_context_or_when_a_byte_was_altered() -> None:
    sealed = await AesMaster(KEY).seal(b"secret", context=CONTEXT)
    before, said = failures("auth_failed"), set()
    attempts = [(AesMaster(OTHER), sealed, CONTEXT), (AesMaster(KEY), sealed, CONTEXT + "d")]
    attempts += [
        (AesMaster(KEY), sealed[:n] + bytes([sealed[n] ^ 1]) + sealed[n + 1 :], CONTEXT) for n in range(1, len(sealed))
    ]
    for encryptor, attempt, context in attempts:
        with pytest.raises(EncryptionFailed) as refused:
            await encryptor.open(attempt, context=context)
        said.add(str(refused.value))
    assert said == {"aes_master: decryption failed"}
    assert failures("auth_failed") == before + len(attempts)


@pytest.mark.parametrize(
    ("sealed", "error_type"),
    [(b"", "invalid_format"), (b"\x02" * 28, "invalid_format"), (b"\x03" * 40, "unsupported_version")],
)
async def test_what_is_no_ciphertext_is_refused_in_the_same_words(sealed: bytes, error_type: str) -> None:
    before = failures(error_type)
    with pytest.raises(EncryptionFailed, match=r"^aes_master: decryption failed$") as refused:
        await AesMaster(KEY).open(sealed, context=CONTEXT)
    assert refused.value.error_type == error_type
    assert failures(error_type) == before + 1


async def test_the_configuration_names_the_variables_of_the_keys() -> None:
    config = DataEncryptionConfig(driver="aes_master", aes_master=AesMasterConfig(key_env="NEW", old_key_env="OLD"))
    encryptor = await open_encryptor(config, {"NEW": KEY.hex(), "OLD": OTHER.hex()})
    assert encryptor is not None
    assert await encryptor.open(await AesMaster(OTHER).seal(b"x", context="c"), context="c") == b"x"
    with pytest.raises(ConfigError, match="OLD"):
        await open_encryptor(config, {"NEW": KEY.hex()})
    assert await open_encryptor(DataEncryptionConfig(), {}) is None


async def test_what_the_old_key_opened_is_an_event_of_its_span() -> None:
    spans: list[Span] = []
    tracer = Tracer(sample_rate=1, put=spans.append, monotonic=lambda: 0.0)
    before = within(tracer.start("GET /", tracer.begin()))
    sealed = await AesMaster(OTHER).seal(b"secret", context=CONTEXT)
    await AesMaster(KEY, OTHER).open(sealed, context=CONTEXT)
    with pytest.raises(EncryptionFailed):
        await AesMaster(KEY).open(sealed, context=CONTEXT)
    leave(before)
    assert [(span.name, [name for name, _ in span.events], span.error) for span in spans] == [
        ("AESMaster.Encrypt", [], None),
        ("AESMaster.Decrypt", ["decrypted_with_old_key"], None),
        ("AESMaster.Decrypt", [], "EncryptionFailed"),
    ]
