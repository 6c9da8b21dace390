"""What is known about upstream services, and what users have there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class BrokerProtocol(StrEnum):
    """How a provider hands out tokens."""

    OAUTH = "oauth"
    API_KEY = "api_key"
    SERVICE_ACCOUNT = "service_account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A ciphertext.

    Attributes:
        backend: The driver that sealed it, as ``data_encryption.driver`` spells it.
    """

    ciphertext: bytes = field(repr=False)
    backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerProvider:
    """An upstream service.

    Attributes:
        config_data: What its protocol needs; never a secret, but the names of variables that hold one.
        secret: What it knows this server by, when the operator gave that itself.
        created_at: Seconds since the epoch.
        updated_at: Seconds since the epoch.
    """

    id: str
    slug: str
    display_name: str
    protocol: BrokerProtocol
    config_data: Mapping[str, Any] = field(repr=False)
    secret: Sealed | None = None
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerGrant:
    """A user's credential at a provider: one for all resources that the provider serves.

    Attributes:
        id: 16 bytes in the order of time; kept when the credential is replaced.
        scopes: What it is good for, by the names that the provider has for it.
        version: Raised by everybody who writes the credential.
        created_at: Seconds since the epoch.
        updated_at: Seconds since the epoch.
        revoked_at: Seconds since the epoch, or None.
    """

    id: bytes
    user_id: str
    broker_provider_id: str
    credential: Sealed
    scopes: tuple[str, ...]
    version: int
    created_at: int
    updated_at: int
    revoked_at: int | None = None
