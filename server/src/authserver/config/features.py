"""The self-check of ``serve``: each subsystem is enabled, disabled or misconfigured (configuration, section 7.3)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from authserver.config.declaring import ConfigError, declared_keys
from authserver.config.durations import spell_duration
from authserver.config.model import Config

HEADING = "=== authserver feature self-check ==="
_SHORTEST_STATE_SECRET = 32
_DCR_MODES = ("open", "approved_redirects", "admin_only")
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_DEEPEST_CHAIN = 10
_NOT_BUILT = "this build has no such feature yet"


class State(StrEnum):
    """Whether a subsystem works."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True, slots=True)
class Feature:
    """One line of the self-check.

    Attributes:
        name: As the table spells it.
        state: Whether it works.
        detail: What it is set to, why it is off, or what is missing and how to mend it.
    """

    name: str
    state: State
    detail: str = ""


def self_check(config: Config) -> list[Feature]:
    """Return the state of every subsystem, in the order of the table."""
    return [_feature(name, check(config)) for name, check in _CHECKS.items()]


def check_features(config: Config) -> str:
    """Return the table of features for the log.

    Raises:
        ConfigError: A feature is half configured.
    """
    features = self_check(config)
    broken = [feature for feature in features if feature.state is State.MISCONFIGURED]
    if broken:
        lines = "".join(f"\n  {feature.name}: {feature.detail}" for feature in broken)
        raise ConfigError(f"authserver boot aborted: {len(broken)} feature(s) misconfigured{lines}")
    name_width = max(len(feature.name) for feature in features)
    state_width = max(len(feature.state) for feature in features)
    rows = (
        f"{feature.name:<{name_width}}  {feature.state:<{state_width}}  {feature.detail}".rstrip()
        for feature in features
    )
    return "\n".join((HEADING, *rows))


def _feature(name: str, found: tuple[State, str]) -> Feature:
    state, detail = found
    if state is State.DISABLED and not detail and f"{name}.enabled" in _UNBUILT:
        detail = _NOT_BUILT
    return Feature(name, state, detail)


def connect_requested(config: Config) -> bool:
    """Whether any key of the connect flow is set or a seeded resource needs it."""
    return _connect_section_used(config) or any(resource.backend_kind == "broker" for resource in config.resources)


def _connect_section_used(config: Config) -> bool:
    connect = config.connect
    return bool(connect.state_secret or connect.redirect_base_url or connect.allowed_return_urls)


def _data_encryption(config: Config) -> tuple[State, str]:
    encryption = config.data_encryption
    vault = encryption.vault_transit_encrypt
    match encryption.driver:
        case "" if not connect_requested(config):
            return State.DISABLED, "data_encryption.driver is empty"
        case "":
            return _missing("data_encryption.driver", "the connect flow stores credentials: choose aes_master")
        case "aes_master" if not encryption.aes_master.key_env:
            return _missing("data_encryption.aes_master.key_env", "name the variable that holds the key")
        case "vault_transit_encrypt" if not vault.address:
            return _missing("data_encryption.vault_transit_encrypt.address", "give the URL of Vault")
        case "vault_transit_encrypt" if not vault.key_name:
            return _missing("data_encryption.vault_transit_encrypt.key_name", "name the transit key")
        case "aes_master" | "vault_transit_encrypt":
            return State.ENABLED, f"driver={encryption.driver}"
        case _:
            return _wrong("data_encryption.driver", "is unknown; use aes_master or vault_transit_encrypt")


def _connect(config: Config) -> tuple[State, str]:
    if not connect_requested(config):
        return State.DISABLED, "not requested"
    if not _connect_section_used(config) and "connect.state_secret" in _UNBUILT:
        # A seeded broker resource alone asks for it: what an operator could not set yet must not keep the server down.
        return State.DISABLED, _NOT_BUILT
    if len(config.connect.state_secret) < _SHORTEST_STATE_SECRET:
        return _missing("connect.state_secret", f"set at least {_SHORTEST_STATE_SECRET} random characters")
    if not config.connect.redirect_base_url:
        return _missing("connect.redirect_base_url", "set the URL that upstreams return to, usually the issuer")
    return State.ENABLED, f"redirect_base_url={config.connect.redirect_base_url}"


def _token_exchange(config: Config) -> tuple[State, str]:
    section = config.token_exchange
    if not section.enabled:
        return State.DISABLED, ""
    if not 1 <= section.max_chain_depth <= _DEEPEST_CHAIN:
        return _wrong("token_exchange.max_chain_depth", "must be 1 to 10")
    if section.token_expiry <= 0:
        return _wrong("token_exchange.token_expiry", "must be greater than 0s")
    return (
        State.ENABLED,
        f"max_chain_depth={section.max_chain_depth} token_expiry={spell_duration(section.token_expiry)}",
    )


def _client_credentials(config: Config) -> tuple[State, str]:
    section = config.client_credentials
    if not section.enabled:
        return State.DISABLED, ""
    if section.token_expiry <= 0:
        return _wrong("client_credentials.token_expiry", "must be greater than 0s")
    return State.ENABLED, f"token_expiry={spell_duration(section.token_expiry)}"


def _dpop(config: Config) -> tuple[State, str]:
    section = config.dpop
    if not section.enabled:
        return State.DISABLED, ""
    if section.proof_lifetime <= 0:
        return _wrong("dpop.proof_lifetime", "must be greater than 0s")
    if section.nonce_ttl <= 0:
        return _wrong("dpop.nonce_ttl", "must be greater than 0s")
    lifetime = spell_duration(section.proof_lifetime)
    return State.ENABLED, f"proof_lifetime={lifetime} require_nonce={str(section.require_nonce).lower()}"


def _dcr(config: Config) -> tuple[State, str]:
    if config.dcr.mode not in _DCR_MODES:
        return _wrong("dcr.mode", f"is unknown; use one of {', '.join(_DCR_MODES)}")
    if config.dcr.mode == "approved_redirects" and not config.dcr.approved_redirects:
        return _missing("dcr.approved_redirects", "list the redirect URIs that are approved")
    return State.ENABLED, f"mode={config.dcr.mode}"


def _default_client_scope(config: Config) -> tuple[State, str]:
    scopes = config.oauth.default_client_scope.split(" ") if config.oauth.default_client_scope.strip() else []
    scopes = [scope for scope in scopes if scope]
    if not scopes:
        return State.DISABLED, "not set"
    if any("," in scope for scope in scopes):
        return _wrong("oauth.default_client_scope", "holds a comma; separate scopes by spaces")
    if not all(_SCOPE_TOKEN.fullmatch(scope) for scope in scopes):
        return _wrong(
            "oauth.default_client_scope", 'holds a character that scopes cannot have (printable ASCII without " and \\)'
        )
    return State.ENABLED, f"{len(scopes)} scope(s)"


def _resources(config: Config) -> tuple[State, str]:
    if not config.resources:
        return State.DISABLED, "none configured"
    for resource in config.resources:
        if resource.backend_kind == "broker" and not resource.policy.connect.allowed_return_urls:
            return _missing(f"policy.connect.allowed_return_urls of {resource.slug}", "list the URLs to return to")
    return State.ENABLED, f"{len(config.resources)} ok"


def _xaa(config: Config) -> tuple[State, str]:
    section = config.xaa
    if not section.enabled:
        return State.DISABLED, "require_resource has no effect" if section.require_resource else ""
    with_uri = sum(bool(resource.uri) for resource in config.resources)
    return State.ENABLED, f"require_resource={str(section.require_resource).lower()} resources_with_uri={with_uri}"


def _missing(path: str, remedy: str) -> tuple[State, str]:
    return State.MISCONFIGURED, f"{path} is missing: {remedy}"


def _wrong(path: str, fault: str) -> tuple[State, str]:
    return State.MISCONFIGURED, f"{path} {fault}"


_UNBUILT = {declared.path for declared in declared_keys(Config) if not declared.key.built}
_CHECKS: dict[str, Callable[[Config], tuple[State, str]]] = {
    "data_encryption": _data_encryption,
    "connect": _connect,
    "token_exchange": _token_exchange,
    "client_credentials": _client_credentials,
    "dpop": _dpop,
    "dcr": _dcr,
    "oauth.default_client_scope": _default_client_scope,
    "resources(seeded)": _resources,
    "xaa": _xaa,
}
