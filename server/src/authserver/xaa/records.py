"""What is known about trusted identity providers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedIdp:
    """An identity provider whose assertions are taken.

    Attributes:
        issuer: Its identifier, compared byte for byte.
        jwks_uri: Where its keys are fetched.
        audience: Stored and shown only: assertions are always addressed to our issuer.
        enabled: Whether its assertions are taken at the moment.
        keys_version: Raised to have every process forget its keys.
        created_at: Seconds since the epoch.
        updated_at: Seconds since the epoch.
    """

    id: str
    name: str
    issuer: str
    jwks_uri: str
    audience: str
    enabled: bool
    keys_version: int
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class XaaPolicy:
    """What assertions of one provider may buy.

    Attributes:
        client_ids: The clients that it is for; empty is any.
        scopes: The most that may be granted; None does not bound, an empty tuple lets nothing through.
        resources: The URIs that it is for; empty is any, and none at all.
    """

    id: str
    name: str
    idp_id: str
    client_ids: tuple[str, ...]
    scopes: tuple[str, ...] | None
    resources: tuple[str, ...]
    enabled: bool
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectMapping:
    """Who a provider's user is here.

    Attributes:
        idp_subject: The user, by the provider's name for them.
        local_user_id: The account; None: the user has none, and is known.
    """

    id: str
    idp_id: str
    idp_subject: str
    local_user_id: str | None
    created_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedUser:
    """What a mapping says, at the moment of use.

    Attributes:
        user_id: The account; None: the user has none, and is known.
        is_active: Whether there is such an account, and it may act.
    """

    user_id: str | None
    is_active: bool
