"""Where things are kept, and under which keys: ``storage``, ``signing``, ``data_encryption``."""

from dataclasses import dataclass, field
from typing import Annotated

from authserver.config.declaring import FineSeconds, Key
from authserver.config.durations import HOUR, MINUTE
from authserver.config.secret import NO_SECRET, Secret

_TRANSIT = "signing.key_store=vault_transit"
_AES = "data_encryption.driver=aes_master"
_TRANSIT_ENCRYPT = "data_encryption.driver=vault_transit_encrypt"


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteConfig:
    """The embedded database."""

    path: Annotated[
        str,
        Key(
            "AUTHPLANE_STORAGE_SQLITE_PATH",
            "The database file; its directory is created. `:memory:` keeps nothing.",
            required=True,
            when="storage.driver=sqlite",
        ),
    ] = "data/authserver.db"
    wal: Annotated[bool, Key("AUTHPLANE_STORAGE_SQLITE_WAL", "Uses the write-ahead log.")] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresConfig:
    """The shared database of several instances."""

    dsn: Annotated[
        Secret,
        Key(
            "AUTHPLANE_STORAGE_POSTGRES_DSN",
            "Connection URI of the database; it may hold a password and is masked like one.",
            required=True,
            when="storage.driver=postgres",
        ),
    ] = NO_SECRET
    max_conns: Annotated[
        int,
        Key(
            "AUTHPLANE_STORAGE_POSTGRES_MAX_CONNS",
            "Connections of one process at most; 0 or less: the library decides.",
        ),
    ] = 25
    min_conns: Annotated[
        int,
        Key(
            "AUTHPLANE_STORAGE_POSTGRES_MIN_CONNS",
            "Connections that one process keeps open.",
            rule="at most `storage.postgres.max_conns`",
        ),
    ] = 5
    max_conn_lifetime: Annotated[
        FineSeconds,
        Key("AUTHPLANE_STORAGE_POSTGRES_MAX_CONN_LIFETIME", "Age at which a connection is replaced."),
    ] = HOUR
    max_conn_idle_time: Annotated[
        FineSeconds,
        Key("AUTHPLANE_STORAGE_POSTGRES_MAX_CONN_IDLE_TIME", "Time after which an unused connection is closed."),
    ] = 30 * MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """The database."""

    driver: Annotated[
        str, Key("AUTHPLANE_STORAGE_DRIVER", "Which database is used.", choices=("sqlite", "postgres"))
    ] = "sqlite"
    sqlite: SqliteConfig = field(default_factory=SqliteConfig)
    postgres: PostgresConfig = field(default_factory=PostgresConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresKeyConfig:
    """Signing keys in the database."""

    encryption_key_env: Annotated[
        str,
        Key(
            "AUTHPLANE_SIGNING_PG_ENCRYPTION_KEY_ENV",
            "Accepted and not used: keys in the database are sealed by `data_encryption`.",
        ),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApproleConfig:
    """The AppRole that signs in to Vault."""

    role_id: Annotated[str, Key("AUTHPLANE_VAULT_APPROLE_ROLE_ID", "Role id.")] = ""
    secret_id: Annotated[
        Secret,
        Key(
            "AUTHPLANE_VAULT_APPROLE_SECRET_ID",
            "Secret id.",
            required=True,
            when="signing.vault_transit.approle.role_id",
        ),
    ] = NO_SECRET
    mount: Annotated[
        str, Key("AUTHPLANE_VAULT_APPROLE_MOUNT", "Where the auth method is mounted.", blank_is_default=True)
    ] = "approle"


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultTransitConfig:
    """Signing keys that never leave Vault."""

    address: Annotated[str, Key("AUTHPLANE_VAULT_ADDR", "URL of Vault or OpenBao.", required=True, when=_TRANSIT)] = ""
    token: Annotated[
        Secret,
        Key(
            "AUTHPLANE_VAULT_TOKEN",
            "A fixed token.",
            rule="exactly one of it and `signing.vault_transit.approle.role_id`",
        ),
    ] = NO_SECRET
    mount: Annotated[
        str, Key("AUTHPLANE_VAULT_TRANSIT_MOUNT", "Where the transit engine is mounted.", blank_is_default=True)
    ] = "transit"
    key_name: Annotated[str, Key("AUTHPLANE_VAULT_TRANSIT_KEY_NAME", "Name of the transit key.")] = "authserver-signing"
    timeout: Annotated[
        FineSeconds, Key("AUTHPLANE_VAULT_TIMEOUT", "How long one call may take.", blank_is_default=True)
    ] = 10
    approle: ApproleConfig = field(default_factory=ApproleConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningConfig:
    """The keys that sign tokens."""

    algorithm: Annotated[
        str, Key("AUTHPLANE_SIGNING_ALGORITHM", "Algorithm of new keys.", choices=("ES256", "RS256"))
    ] = "ES256"
    key_store: Annotated[
        str,
        Key(
            "AUTHPLANE_SIGNING_KEY_STORE",
            "Where signing keys live.",
            rule="`postgres_key` needs `storage.driver=postgres` and a `data_encryption.driver`",
            choices=("keyfile", "vault_transit", "postgres_key"),
            blank_is_default=True,
        ),
    ] = "keyfile"
    key_path: Annotated[
        str,
        Key(
            "AUTHPLANE_SIGNING_KEY_PATH",
            "Directory of the key files.",
            required=True,
            when="signing.key_store=keyfile",
        ),
    ] = "data/keys"
    postgres_key: PostgresKeyConfig = field(default_factory=PostgresKeyConfig)
    vault_transit: VaultTransitConfig = field(default_factory=VaultTransitConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class AesMasterConfig:
    """Encryption under a key from the environment."""

    key_env: Annotated[
        str,
        Key(
            "AUTHPLANE_DATA_ENCRYPTION_KEY_ENV",
            "Name of the variable that holds the key: 64 hexadecimal characters, 32 bytes.",
            required=True,
            when=_AES,
        ),
    ] = ""
    old_key_env: Annotated[
        str,
        Key(
            None,
            "Name of the variable that holds the previous key, which only decrypts.",
            rule="another key than the current one",
        ),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptApproleConfig:
    """The AppRole that signs in to Vault for encryption; both keys name a variable."""

    role_id_env: Annotated[
        str,
        Key(
            "AUTHPLANE_DATA_ENCRYPTION_VAULT_ROLE_ID_ENV",
            "Name of the variable that holds the role id.",
            required=True,
            when="data_encryption.vault_transit_encrypt.auth_method=approle",
        ),
    ] = ""
    secret_id_env: Annotated[
        str,
        Key(
            "AUTHPLANE_DATA_ENCRYPTION_VAULT_SECRET_ID_ENV",
            "Name of the variable that holds the secret id.",
            required=True,
            when="data_encryption.vault_transit_encrypt.auth_method=approle",
        ),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultTransitEncryptConfig:
    """Encryption by a key that never leaves Vault."""

    address: Annotated[
        str,
        Key(
            "AUTHPLANE_DATA_ENCRYPTION_VAULT_ADDRESS", "URL of Vault or OpenBao.", required=True, when=_TRANSIT_ENCRYPT
        ),
    ] = ""
    key_name: Annotated[
        str,
        Key(
            "AUTHPLANE_DATA_ENCRYPTION_VAULT_KEY_NAME", "Name of the transit key.", required=True, when=_TRANSIT_ENCRYPT
        ),
    ] = ""
    mount_path: Annotated[
        str,
        Key(
            "AUTHPLANE_DATA_ENCRYPTION_VAULT_MOUNT_PATH", "Where the transit engine is mounted.", blank_is_default=True
        ),
    ] = "transit"
    auth_method: Annotated[
        str,
        Key(
            "AUTHPLANE_DATA_ENCRYPTION_VAULT_AUTH_METHOD",
            "How the server signs in to Vault.",
            choices=("token", "approle"),
            when=_TRANSIT_ENCRYPT,
            blank_is_default=True,
        ),
    ] = "token"
    token_env: Annotated[
        str, Key("AUTHPLANE_DATA_ENCRYPTION_VAULT_TOKEN_ENV", "Name of the variable that holds the token.")
    ] = ""
    approle: EncryptApproleConfig = field(default_factory=EncryptApproleConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataEncryptionConfig:
    """Encryption of stored upstream credentials and keys."""

    driver: Annotated[
        str,
        Key(
            "AUTHPLANE_DATA_ENCRYPTION_DRIVER",
            "What encrypts stored secrets; empty is nothing.",
            choices=("", "aes_master", "vault_transit_encrypt"),
        ),
    ] = ""
    aes_master: AesMasterConfig = field(default_factory=AesMasterConfig)
    vault_transit_encrypt: VaultTransitEncryptConfig = field(default_factory=VaultTransitEncryptConfig)
