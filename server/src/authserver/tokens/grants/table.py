"""The table of grants. Adding one is a line here, its module, and its section in the configuration."""

from collections.abc import Mapping

from authserver.config.model import Config
from authserver.protocol.grant_types import TOKEN_EXCHANGE
from authserver.tokens.grants import authorization_code, client_credentials, jwt_bearer, refresh_token
from authserver.tokens.grants.entry import Grant, GrantEntry, GrantParts, Switch

GRANTS: Mapping[str, GrantEntry] = {
    entry.grant_type: entry
    for entry in (
        authorization_code.ENTRY,
        refresh_token.ENTRY,
        client_credentials.ENTRY,
        GrantEntry(
            grant_type=TOKEN_EXCHANGE,
            build=None,
            switch=Switch(
                feature="token_exchange",
                key="token_exchange.enabled",
                is_on=lambda config: config.token_exchange.enabled,
            ),
        ),
        jwt_bearer.ENTRY,
    )
}
"""In the order of the metadata."""


def served_grants(config: Config) -> tuple[str, ...]:
    """Return the grants that are on: what metadata advertises and clients may register for."""
    return tuple(name for name, entry in GRANTS.items() if entry.is_on(config))


def build_grants(parts: GrantParts) -> Mapping[str, Grant]:
    """Return the handlers of the grants that are on."""
    return {
        name: entry.build(parts)
        for name, entry in GRANTS.items()
        if entry.build is not None and entry.is_on(parts.config)
    }
