"""Opens the store that ``signing.key_store`` names."""

from pathlib import Path

from authserver.config.declaring import ConfigError
from authserver.config.model import Config
from authserver.config.sections.storage import VaultTransitConfig
from authserver.encryption.encryptor import Encryptor
from authserver.encryption.vault import AppRole, VaultError, open_vault
from authserver.keys.database import DatabaseKeyStore
from authserver.keys.keyfile import KeyfileStore
from authserver.keys.keystore import KeyStore, KeyStoreError, retention_seconds
from authserver.keys.vault_transit import VaultTransitStore
from authserver.protocol.jose import Algorithm
from authserver.storage.database import Database


async def open_key_store(config: Config, db: Database | None, encryptor: Encryptor | None) -> KeyStore:
    """Return the store of signing keys.

    Args:
        config: Checked.
        db: The database; None: there is none, which a directory of files can do without.
        encryptor: Seals what stands in the database.

    Raises:
        ConfigError: The store needs what is not configured.
        KeyStoreError: It cannot be reached.
    """
    retention = retention_seconds(
        config.dcr.default_token_expiry,
        config.client_credentials.token_expiry,
        config.token_exchange.token_expiry,
        config.xaa.token_expiry,
    )
    algorithm: Algorithm = "RS256" if config.signing.algorithm == "RS256" else "ES256"
    if config.signing.key_store == "keyfile":
        return KeyfileStore(Path(config.signing.key_path), algorithm=algorithm, retention=retention)
    if db is None:
        raise AssertionError("only key files do without a database")
    if config.signing.key_store == "vault_transit":
        return await _open_vault_transit(config.signing.vault_transit, db, algorithm=algorithm, retention=retention)
    if encryptor is None or db.dialect != "postgres":
        raise ConfigError("signing.key_store=postgres_key needs storage.driver=postgres and a data_encryption.driver")
    return DatabaseKeyStore(db, encryptor, algorithm=algorithm, retention=retention)


async def _open_vault_transit(
    config: VaultTransitConfig, db: Database, *, algorithm: Algorithm, retention: int
) -> VaultTransitStore:
    role = config.approle
    credentials = (
        AppRole(role_id=role.role_id, secret_id=role.secret_id, mount=role.mount) if role.role_id else config.token
    )
    try:
        client = await open_vault(config.address, credentials, call_seconds=config.timeout)
    except VaultError as exc:
        raise KeyStoreError(f"signing keys in vault: {exc}") from exc
    return VaultTransitStore(
        db,
        client,
        mount=config.mount,
        key_name=config.key_name,
        algorithm=algorithm,
        retention=retention,
    )
