"""Opens what encrypts, as ``data_encryption`` says."""

from collections.abc import Mapping

from authserver.config.declaring import ConfigError
from authserver.config.sections.storage import DataEncryptionConfig
from authserver.encryption.aes_master import AesMaster
from authserver.encryption.encryptor import Encryptor


async def open_encryptor(config: DataEncryptionConfig, environ: Mapping[str, str]) -> Encryptor | None:
    """Return the encryptor; None when none is configured.

    Args:
        config: Checked.
        environ: The environment, where the secrets are that the configuration names.

    Raises:
        ConfigError: A variable that it names is not what it should be.
    """
    match config.driver:
        case "":
            return None
        case "aes_master":
            aes = config.aes_master
            return AesMaster(
                _master_key(aes.key_env, environ), _master_key(aes.old_key_env, environ) if aes.old_key_env else None
            )
        case driver:
            raise ConfigError(f"data_encryption.driver={driver} is unknown")


def _master_key(name: str, environ: Mapping[str, str]) -> bytes:
    try:
        return bytes.fromhex(environ[name])
    except (KeyError, ValueError) as exc:
        raise ConfigError(f"the environment variable {name} does not hold a master key") from exc
