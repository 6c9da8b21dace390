"""The table of grants. Adding one is a line here, its module, and its section in the configuration."""

from collections.abc import Mapping

from authserver.config.declaring import declared_keys
from authserver.config.model import Config
from authserver.protocol.grant_types import REFRESH_TOKEN, TOKEN_EXCHANGE
from authserver.telemetry.metrics import TOKEN_ISSUANCE_DURATION, TOKENS_ISSUED
from authserver.tokens.grants import (
    authorization_code,
    client_credentials,
    device_code,
    jwt_bearer,
    refresh_token,
    token_exchange,
)
from authserver.tokens.grants.entry import Grant, GrantEntry, GrantParts

GRANTS: Mapping[str, GrantEntry] = {
    entry.grant_type: entry
    for entry in (
        authorization_code.ENTRY,
        refresh_token.ENTRY,
        client_credentials.ENTRY,
        token_exchange.ENTRY,
        jwt_bearer.ENTRY,
        device_code.ENTRY,
    )
}
"""In the order of the metadata."""

_VARIABLES = {declared.path: declared.key.env for declared in declared_keys(Config)}

ENABLING_VARIABLES: Mapping[str, str] = {
    name: _VARIABLES[entry.switch.key] or "" for name, entry in GRANTS.items() if entry.switch is not None
}
"""The environment variable that switches a grant on; grants that are not here are always on."""

METRIC_LABELS = {TOKEN_EXCHANGE: "token_exchange"}
"""Where the label of the metrics is shorter than the grant's name."""


def served_grants(config: Config) -> tuple[str, ...]:
    """Return the grants that are on: what metadata advertises and clients may register for."""
    return tuple(name for name, entry in GRANTS.items() if entry.is_on(config))


def build_grants(parts: GrantParts) -> Mapping[str, Grant]:
    """Return the handlers of the grants that are on, with their metrics at zero."""
    grants = {name: entry.build(parts) for name, entry in GRANTS.items() if entry.is_on(parts.config)}
    for name in grants:
        label = METRIC_LABELS.get(name, name)
        TOKEN_ISSUANCE_DURATION.child(label)
        if name != REFRESH_TOKEN:
            TOKENS_ISSUED.child(label)
    return grants
