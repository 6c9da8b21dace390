"""The token vault as operators see it over HTTP: providers, broker resources, credentials."""

from dataclasses import replace
from typing import Any

import pytest

from authserver.broker.grant_administration import credential_context
from authserver.broker.records import Sealed
from authserver.broker.store import find_grant, find_provider
from authserver.config.model import Config
from authserver.config.sections.storage import AesMasterConfig, DataEncryptionConfig
from server.tests.wire.harness import Wire
from server.tests.wire.operating import Admin, check_shape

PROVIDERS = "/admin/broker-providers"
GRANTS = "/admin/grants/broker"
KEY_VARIABLE = "AUTHPLANE_TEST_MASTER_KEY"
SECRET = "upstream-client-secret-Zq8"
PEM = "-----BEGIN PRIVATE KEY-----\nZq8\n-----END PRIVATE KEY-----\n"
API_KEY = "users-upstream-key-Zq8"

GITHUB = {
    "slug": "GitHub",
    "display_name": "GitHub",
    "protocol": "oauth",
    "config_data": {
        "client_id": "abc",
        "client_secret_ref": "CONNECTOR_GITHUB_SECRET",
        "authorize_url": "https://github.com/login/oauth/authorize",
        "token_url": "https://github.com/login/oauth/access_token",
        "extra_auth_params": {"prompt": "consent"},
    },
}
SEARCH = {
    "slug": "search",
    "display_name": "Search",
    "protocol": "api_key",
    "config_data": {"header_name": "X-Api-Key"},
}
ROBOT = {
    "slug": "robot",
    "display_name": "Robot",
    "protocol": "service_account",
    "config_data": {"token_url": "https://robot.example/token", "sa_email": "robot@robot.example"},
}
REPOS = {
    "slug": "repos",
    "backend_kind": "broker",
    "scopes": [
        {"name": "read", "upstream": "repo:read"},
        {"name": "write", "upstream": "repo:write"},
        {"name": "bare"},
    ],
    "policy": {"connect": {"allowed_return_urls": ["https://app.example/done"]}},
}


def encrypting(config: Config, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Return the configuration with a key that secrets are encrypted under."""
    monkeypatch.setenv(KEY_VARIABLE, "5e" * 32)
    encryption = DataEncryptionConfig(driver="aes_master", aes_master=AesMasterConfig(key_env=KEY_VARIABLE))
    return replace(config, data_encryption=encryption)


async def a_provider(admin: Admin, body: dict[str, Any] = GITHUB, **members: Any) -> dict[str, Any]:
    created = await admin.do("POST", PROVIDERS, expect=201, body=body | members)
    check_shape("POST", PROVIDERS, created)
    return dict(created)


async def a_broker_resource(admin: Admin, **members: Any) -> dict[str, Any]:
    return dict(await admin.do("POST", "/admin/resources", expect=201, body=REPOS | members))


async def stored(wire: Wire, provider_id: str) -> tuple[dict[str, Any], Sealed | None]:
    """Return what the database has of a provider: its configuration, and its sealed secret."""
    provider = await find_provider(wire.core.db, provider_id)
    assert provider is not None
    return dict(provider.config_data), provider.secret


async def opened(wire: Wire, sealed: Sealed | None, context: str) -> str:
    assert sealed is not None
    assert wire.core.encryptor is not None
    assert sealed.backend == "aes_master"
    return (await wire.core.encryptor.open(sealed.ciphertext, context=context)).decode()


def credential_for(wire: Wire, provider: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "user_id": wire.user.id,
        "broker_provider_id": provider["id"],
        "credential": {"api_key": API_KEY},
    } | members


async def a_grant(
    wire: Wire, admin: Admin, provider: dict[str, Any], *, expect: int = 201, **members: Any
) -> dict[str, Any]:
    grant = await admin.do("POST", GRANTS, expect=expect, body=credential_for(wire, provider, **members))
    check_shape("POST", GRANTS, grant)
    return dict(grant)


async def credential_of(wire: Wire, provider_id: str) -> str:
    grant = await find_grant(wire.core.db, user_id=wire.user.id, provider_id=provider_id)
    assert grant is not None
    return await opened(wire, grant.credential, credential_context(wire.user.id, provider_id))
