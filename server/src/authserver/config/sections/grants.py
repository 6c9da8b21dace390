"""What is issued, to whom and for how long: ``oauth`` and one section for each further grant, ``dpop``, ``connect``."""

from dataclasses import dataclass
from typing import Annotated

from authserver.config.declaring import Key, Seconds, StrictSeconds
from authserver.config.durations import HOUR, MINUTE
from authserver.config.secret import NO_SECRET, Secret

SLUG = "[a-z0-9][a-z0-9-]{0,63}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthConfig:
    """Rules that all grants with a user share."""

    require_scope: Annotated[
        bool,
        Key(
            "AUTHPLANE_OAUTH_REQUIRE_SCOPE",
            "Refuses an authorization request without `scope`; false: it asks for every scope of the resource.",
        ),
    ] = False
    default_client_scope: Annotated[
        str,
        Key(
            "AUTHPLANE_OAUTH_DEFAULT_CLIENT_SCOPE",
            "Scopes, separated by spaces, that clients which register themselves may ask for at most.",
            rule="scope names without commas",
        ),
    ] = ""
    state_max_age: Annotated[
        StrictSeconds,
        Key("AUTHPLANE_OAUTH_STATE_MAX_AGE", "How long a sign-in at the upstream provider may take.", above=0),
    ] = 10 * MINUTE
    default_resource: Annotated[
        str,
        Key(
            "AUTHPLANE_OAUTH_DEFAULT_RESOURCE",
            "Slug of the resource that an authorization request without `resource` stands for; empty is none.",
            pattern=SLUG,
        ),
    ] = ""
    refresh_grace: Annotated[
        StrictSeconds,
        Key(
            "AUTHPLANE_OAUTH_REFRESH_GRACE",
            "How long a just-rotated refresh token gets the same answer again; `0s` is never.",
            least=0,
            most=60,
        ),
    ] = 30
    refresh_max_lifetime: Annotated[
        StrictSeconds,
        Key(
            "AUTHPLANE_OAUTH_REFRESH_MAX_LIFETIME",
            "How long after its code was redeemed a token family lives at most; `0s` is for ever.",
            least=0,
        ),
    ] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentialsConfig:
    """The client credentials grant."""

    enabled: Annotated[bool, Key("AUTHPLANE_CLIENT_CREDENTIALS_ENABLED", "Serves the client credentials grant.")] = True
    token_expiry: Annotated[
        Seconds,
        Key(
            "AUTHPLANE_CLIENT_CREDENTIALS_TOKEN_EXPIRY",
            "Life of its access tokens.",
            above=0,
            when="client_credentials.enabled",
        ),
    ] = HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class DpopConfig:
    """Proof of possession (RFC 9449)."""

    enabled: Annotated[bool, Key("AUTHPLANE_DPOP_ENABLED", "Binds tokens to the key of a proof when one is sent.")] = (
        True
    )
    nonce_ttl: Annotated[
        Seconds, Key("AUTHPLANE_DPOP_NONCE_TTL", "Life of a server nonce.", above=0, when="dpop.enabled")
    ] = MINUTE
    proof_lifetime: Annotated[
        Seconds,
        Key(
            "AUTHPLANE_DPOP_PROOF_LIFETIME",
            "How far the time of a proof may be from now.",
            least=10,
            most=300,
            when="dpop.enabled",
        ),
    ] = MINUTE
    require_nonce: Annotated[bool, Key("AUTHPLANE_DPOP_REQUIRE_NONCE", "Demands a server nonce in every proof.")] = (
        False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenExchangeConfig:
    """The token exchange grant (RFC 8693)."""

    enabled: Annotated[bool, Key("AUTHPLANE_TOKEN_EXCHANGE_ENABLED", "Serves the token exchange grant.")] = True
    allow_self_exchange: Annotated[
        bool,
        Key("AUTHPLANE_TOKEN_EXCHANGE_ALLOW_SELF_EXCHANGE", "Lets a client exchange its own token without consent."),
    ] = False
    cap_to_subject: Annotated[
        bool,
        Key("AUTHPLANE_TOKEN_EXCHANGE_CAP_TO_SUBJECT", "An exchanged token never outlives the one it was made from."),
    ] = False
    max_chain_depth: Annotated[
        int,
        Key(
            "AUTHPLANE_TOKEN_EXCHANGE_MAX_CHAIN_DEPTH",
            "Actors that one token may name at most.",
            least=1,
            most=10,
            when="token_exchange.enabled",
        ),
    ] = 5
    token_expiry: Annotated[
        Seconds,
        Key(
            "AUTHPLANE_TOKEN_EXCHANGE_TOKEN_EXPIRY",
            "Life of an exchanged token.",
            above=0,
            when="token_exchange.enabled",
        ),
    ] = HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class XaaConfig:
    """The JWT bearer grant and its registry of identity providers."""

    enabled: Annotated[
        bool,
        Key("AUTHPLANE_XAA_ENABLED", "Serves the JWT bearer grant and the registry of identity providers."),
    ] = True
    token_expiry: Annotated[
        Seconds, Key("AUTHPLANE_XAA_TOKEN_EXPIRY", "Life of its tokens.", blank_is_default=True)
    ] = HOUR
    max_assertion_age: Annotated[
        Seconds, Key("AUTHPLANE_XAA_MAX_ASSERTION_AGE", "Age of an assertion at most.", blank_is_default=True)
    ] = 5 * MINUTE
    require_resource: Annotated[
        bool, Key("AUTHPLANE_XAA_REQUIRE_RESOURCE", "Refuses assertions and requests that name no resource.")
    ] = False
    subject_mode: Annotated[
        str,
        Key(
            "AUTHPLANE_XAA_SUBJECT_MODE",
            "Whether an unknown subject is mapped by itself or refused.",
            choices=("auto_map", "strict"),
            blank_is_default=True,
        ),
    ] = "auto_map"
    jwks_cache_ttl: Annotated[
        Seconds, Key("AUTHPLANE_XAA_JWKS_CACHE_TTL", "How long a provider's keys are kept.", blank_is_default=True)
    ] = HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """The device authorization grant (RFC 8628)."""

    enabled: Annotated[bool, Key("AUTHPLANE_DEVICE_ENABLED", "Serves the device authorization grant.")] = True
    code_ttl: Annotated[
        Seconds,
        Key("AUTHPLANE_DEVICE_CODE_TTL", "Life of a device code.", least=MINUTE, most=30 * MINUTE),
    ] = 10 * MINUTE
    interval: Annotated[
        Seconds, Key("AUTHPLANE_DEVICE_INTERVAL", "Time between two polls at least.", least=1, most=60)
    ] = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectConfig:
    """The flow in which a user connects an upstream account."""

    state_secret: Annotated[
        Secret,
        Key(
            "AUTHPLANE_CONNECT_STATE_SECRET",
            "Key of the state that travels through the upstream; empty is no connect flow.",
            rule="at least 32 characters when set",
            built=False,
        ),
    ] = NO_SECRET
    redirect_base_url: Annotated[
        str,
        Key(
            "AUTHPLANE_CONNECT_REDIRECT_BASE_URL",
            "Base of the URLs that upstreams return to.",
            rule="`https`, or `http` on localhost; required once another key of the section is set",
            built=False,
        ),
    ] = ""
    allowed_return_urls: Annotated[
        tuple[str, ...],
        Key("AUTHPLANE_CONNECT_ALLOWED_RETURN_URLS", "URLs that the connect flow may return to.", built=False),
    ] = ()
