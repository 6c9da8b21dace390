"""The whole configuration: one section per top-level key of the file, every key declared in its section."""

from dataclasses import dataclass, field
from typing import Annotated

from authserver.config.declaring import Key
from authserver.config.secret import NO_SECRET, Secret
from authserver.config.sections.audit import AuditConfig
from authserver.config.sections.clients import (
    AgentsConfig,
    BrokerProviderSeed,
    CimdConfig,
    DcrConfig,
    PolicySeed,
    ResourceSeed,
    ScopeSeed,
)
from authserver.config.sections.grants import (
    ClientCredentialsConfig,
    ConnectConfig,
    DeviceConfig,
    DpopConfig,
    OAuthConfig,
    TokenExchangeConfig,
    XaaConfig,
)
from authserver.config.sections.listeners import AdminConfig, RateLimitConfig, ServerConfig, SessionConfig
from authserver.config.sections.observability import ObservabilityConfig
from authserver.config.sections.oidc import OidcConfig
from authserver.config.sections.storage import DataEncryptionConfig, SigningConfig, StorageConfig
from authserver.config.sections.traces import TracesConfig

__all__ = [
    "NO_SECRET",
    "AdminConfig",
    "AgentsConfig",
    "AuditConfig",
    "BrokerProviderSeed",
    "CimdConfig",
    "ClientCredentialsConfig",
    "Config",
    "ConnectConfig",
    "DataEncryptionConfig",
    "DcrConfig",
    "DeviceConfig",
    "DpopConfig",
    "OAuthConfig",
    "ObservabilityConfig",
    "OidcConfig",
    "PolicySeed",
    "RateLimitConfig",
    "ResourceSeed",
    "ScopeSeed",
    "Secret",
    "ServerConfig",
    "SessionConfig",
    "SigningConfig",
    "StorageConfig",
    "TokenExchangeConfig",
    "TracesConfig",
    "XaaConfig",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The effective configuration; ``Config()`` is the contract's defaults, unbuilt features included.

    A configuration that a process runs on comes from ``loader.load_config``, which switches those off.
    """

    server: ServerConfig = field(default_factory=ServerConfig)
    admin: AdminConfig = field(default_factory=AdminConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    signing: SigningConfig = field(default_factory=SigningConfig)
    session: SessionConfig = field(default_factory=SessionConfig)
    rate_limit: RateLimitConfig = field(default_factory=RateLimitConfig)
    oauth: OAuthConfig = field(default_factory=OAuthConfig)
    dcr: DcrConfig = field(default_factory=DcrConfig)
    cimd: CimdConfig = field(default_factory=CimdConfig)
    oidc: OidcConfig = field(default_factory=OidcConfig)
    client_credentials: ClientCredentialsConfig = field(default_factory=ClientCredentialsConfig)
    dpop: DpopConfig = field(default_factory=DpopConfig)
    token_exchange: TokenExchangeConfig = field(default_factory=TokenExchangeConfig)
    xaa: XaaConfig = field(default_factory=XaaConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    agents: AgentsConfig = field(default_factory=AgentsConfig)
    data_encryption: DataEncryptionConfig = field(default_factory=DataEncryptionConfig)
    connect: ConnectConfig = field(default_factory=ConnectConfig)
    observability: ObservabilityConfig = field(default_factory=ObservabilityConfig)
    traces: TracesConfig = field(default_factory=TracesConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)
    client_secret_pepper: Annotated[
        Secret,
        Key(
            "AUTHPLANE_CLIENT_SECRET_PEPPER",
            "Key under which client secrets are hashed; adding one later locks nobody out.",
        ),
    ] = NO_SECRET
    resources: Annotated[
        tuple[ResourceSeed, ...], Key(None, "Resources created at boot unless their slug is known.")
    ] = ()
    broker_providers: Annotated[
        tuple[BrokerProviderSeed, ...],
        Key(None, "Upstream services of the token vault, created at boot unless their slug is known."),
    ] = ()
