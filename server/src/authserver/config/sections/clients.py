"""How clients become known, and what is seeded: ``dcr``, ``cimd``, ``agents``, ``resources[]``, ``broker_providers[]``."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from authserver.config.declaring import FineSeconds, Key, Seconds
from authserver.config.durations import HOUR, MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class DcrConfig:
    """Dynamic client registration, and the lifetimes of what the code and refresh grants issue."""

    mode: Annotated[
        str,
        Key(
            "AUTHPLANE_DCR_MODE",
            "Who may register clients, metadata documents included; a mode that operators set at run time goes before it.",
            choices=("open", "approved_redirects", "admin_only"),
        ),
    ] = "open"
    approved_redirects: Annotated[
        tuple[str, ...],
        Key(
            "AUTHPLANE_DCR_APPROVED_REDIRECTS",
            "Redirect URIs that clients may register with under `approved_redirects`.",
            required=True,
            when="dcr.mode=approved_redirects",
        ),
    ] = ()
    rate_limit: Annotated[
        float,
        Key(
            "AUTHPLANE_DCR_RATE_LIMIT",
            "Registrations a second of one address, ten times as many in all, for all workers together; 0 or less is no"
            " limit.",
        ),
    ] = 10.0
    rate_limit_burst: Annotated[
        int,
        Key(
            "AUTHPLANE_DCR_RATE_LIMIT_BURST",
            "Registrations of one address at once, ten times as many in all.",
            above=0,
            when="dcr.rate_limit",
        ),
    ] = 100
    default_token_expiry: Annotated[
        Seconds,
        Key(
            "AUTHPLANE_DCR_DEFAULT_TOKEN_EXPIRY",
            "Life of an access token of the code and refresh grants, for every client.",
            above=0,
        ),
    ] = 15 * MINUTE
    default_refresh_expiry: Annotated[
        Seconds,
        Key(
            "AUTHPLANE_DCR_DEFAULT_REFRESH_EXPIRY",
            "Life of a refresh token; each rotation starts a new one, bounded by `oauth.refresh_max_lifetime`.",
            above=0,
        ),
    ] = 168 * HOUR


@dataclass(frozen=True, slots=True, kw_only=True)
class CimdConfig:
    """Client ID Metadata Documents."""

    enabled: Annotated[bool, Key("AUTHPLANE_CIMD_ENABLED", "Accepts the URL of a metadata document as client id.")] = (
        True
    )
    require_https: Annotated[
        bool,
        Key("AUTHPLANE_CIMD_REQUIRE_HTTPS", "Accepts documents from `https` URLs only.", rule="true in production"),
    ] = True
    allow_private_addresses: Annotated[
        bool,
        Key(
            "AUTHPLANE_CIMD_ALLOW_PRIVATE_ADDRESSES",
            "Fetches documents from private, loopback and link-local addresses too.",
            rule="false in production while `cimd.enabled`",
        ),
    ] = False
    cache_ttl: Annotated[
        Seconds,
        Key("AUTHPLANE_CIMD_CACHE_TTL", "How long a document is kept at most; its own cache headers may say less."),
    ] = HOUR
    fetch_timeout: Annotated[FineSeconds, Key("AUTHPLANE_CIMD_FETCH_TIMEOUT", "How long one fetch may take.")] = 10
    max_document_bytes: Annotated[
        int,
        Key("AUTHPLANE_CIMD_MAX_DOCUMENT_BYTES", "Size of the largest document accepted.", least=1024, most=65536),
    ] = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentsConfig:
    """Clients that are agents."""

    enable_jwks_listing: Annotated[
        bool,
        Key(
            "AUTHPLANE_AGENTS_ENABLE_JWKS_LISTING",
            "Lists the ids and descriptions of active agent clients in the public key set.",
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeSeed:
    """One scope of a resource."""

    name: Annotated[str, Key(None, "The scope as clients ask for it.")] = ""
    upstream: Annotated[str, Key(None, "The scope at the upstream; broker resources only.")] = ""
    description: Annotated[str, Key(None, "What it allows, for the consent page.")] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangePolicySeed:
    """Who may exchange tokens toward the resource."""

    allowed_client_ids: Annotated[tuple[str, ...], Key(None, "Clients that may exchange a token toward it.")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePolicySeed:
    """Who is the resource."""

    client_ids: Annotated[tuple[str, ...], Key(None, "Clients that act as the resource; empty is nobody.")] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectPolicySeed:
    """Where the connect flow may return to."""

    allowed_return_urls: Annotated[
        tuple[str, ...],
        Key(None, "URLs that the connect flow may return to.", rule="not empty for a broker resource"),
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DpopPolicySeed:
    """Whether the resource takes tokens that are bound to a key alone."""

    required: Annotated[bool, Key(None, "Refuses to issue a token for it without a proof of possession.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySeed:
    """What a resource allows."""

    exchange: ExchangePolicySeed = field(default_factory=ExchangePolicySeed)
    runtime: RuntimePolicySeed = field(default_factory=RuntimePolicySeed)
    connect: ConnectPolicySeed = field(default_factory=ConnectPolicySeed)
    dpop: DpopPolicySeed = field(default_factory=DpopPolicySeed)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSeed:
    """A resource that is created at boot unless its slug is known."""

    slug: Annotated[str, Key(None, "Its short name; an entry whose slug exists is skipped whole.")] = ""
    uri: Annotated[str, Key(None, "The audience of its tokens, compared byte for byte.")] = ""
    backend_kind: Annotated[str, Key(None, "Who issues its tokens.", choices=("mint", "broker"))] = ""
    broker_provider_id: Annotated[str, Key(None, "The provider of a broker resource, by id.")] = ""
    broker_provider_slug: Annotated[str, Key(None, "The provider of a broker resource, by slug.")] = ""
    display_name: Annotated[str, Key(None, "Its name on the consent page.")] = ""
    description: Annotated[str, Key(None, "Accepted and not stored.")] = ""
    scopes: Annotated[tuple[ScopeSeed, ...], Key(None, "Its scopes.")] = ()
    policy: PolicySeed = field(default_factory=PolicySeed)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerProviderSeed:
    """An upstream service of the token vault, created at boot unless its slug is known."""

    slug: Annotated[str, Key(None, "Its short name; an entry whose slug exists is skipped whole.")] = ""
    display_name: Annotated[str, Key(None, "Its name on pages.")] = ""
    protocol: Annotated[
        str, Key(None, "How it hands out credentials.", choices=("oauth", "api_key", "service_account"))
    ] = ""
    config_data: Annotated[
        Mapping[str, object], Key(None, "What the protocol needs; secrets by reference, such as `client_secret_ref`.")
    ] = field(default_factory=dict, repr=False)
