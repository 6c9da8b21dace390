"""Opens what encrypts, as ``data_encryption`` says."""

from collections.abc import Mapping

from authserver.config.declaring import ConfigError
from authserver.config.secret import Secret
from authserver.config.sections.storage import DataEncryptionConfig, VaultTransitEncryptConfig
from authserver.encryption.aes_master import AesMaster
from authserver.encryption.encryptor import EncryptionFailed, Encryptor
from authserver.encryption.vault import AppRole, VaultError, open_vault
from authserver.encryption.vault_transit import VaultTransitEncryptor

_VAULT_SECONDS = 10.0
_APPROLE_MOUNT = "approle"


async def open_encryptor(config: DataEncryptionConfig, environ: Mapping[str, str]) -> Encryptor | None:
    """Return the encryptor; None when none is configured.

    Args:
        config: Checked.
        environ: The environment, where the secrets are that the configuration names.

    Raises:
        ConfigError: A variable that it names is not what it should be, or Vault does not let the server in.
    """
    match config.driver:
        case "":
            return None
        case "aes_master":
            aes = config.aes_master
            return AesMaster(
                _master_key(aes.key_env, environ), _master_key(aes.old_key_env, environ) if aes.old_key_env else None
            )
        case "vault_transit_encrypt":
            transit = config.vault_transit_encrypt
            try:
                client = await open_vault(transit.address, _credentials(transit, environ), call_seconds=_VAULT_SECONDS)
            except VaultError as exc:
                raise ConfigError(f"data_encryption.vault_transit_encrypt: {exc}") from exc
            encryptor = VaultTransitEncryptor(client, mount=transit.mount_path, key_name=transit.key_name)
            try:
                await encryptor.check_binding()
            except EncryptionFailed as exc:
                await encryptor.close()
                raise ConfigError(str(exc)) from exc
            return encryptor
        case driver:
            raise ConfigError(f"data_encryption.driver={driver} is unknown")


def _credentials(config: VaultTransitEncryptConfig, environ: Mapping[str, str]) -> Secret | AppRole:
    if config.auth_method == "approle":
        role = config.approle
        secret_id = Secret(_variable(role.secret_id_env, environ))
        return AppRole(role_id=_variable(role.role_id_env, environ), secret_id=secret_id, mount=_APPROLE_MOUNT)
    return Secret(_variable(config.token_env, environ))


def _variable(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "") if name else ""
    if not value:
        raise ConfigError(
            f"data_encryption.vault_transit_encrypt: the environment variable {name} is not set"
            if name
            else "data_encryption.vault_transit_encrypt.token_env is required"
        )
    return value


def _master_key(name: str, environ: Mapping[str, str]) -> bytes:
    try:
        return bytes.fromhex(environ[name])
    except (KeyError, ValueError) as exc:
        raise ConfigError(f"the environment variable {name} does not hold a master key") from exc
