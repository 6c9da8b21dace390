"""Metadata, keys, protected-resource metadata, health (public API §16 to §19)."""

from dataclasses import replace

import pytest

from authserver.config.model import Config
from authserver.config.sections.listeners import ServerConfig
from authserver.protocol.grant_types import DEVICE_CODE, JWT_BEARER, TOKEN_EXCHANGE
from authserver.resources.administration import ResourceDraft
from authserver.resources.records import BackendKind, ResourceScope
from server.tests.wire.harness import ISSUER, RESOURCE, Wire

pytestmark = pytest.mark.anyio

METADATA = "/.well-known/oauth-authorization-server"


async def test_the_metadata_says_what_works_and_nothing_else(wire: Wire) -> None:
    answer = await wire.http.get(METADATA)
    assert answer.headers["cache-control"] == "public, max-age=3600"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.json() == {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/oauth/authorize",
        "token_endpoint": f"{ISSUER}/oauth/token",
        "device_authorization_endpoint": f"{ISSUER}/oauth/device_authorization",
        "registration_endpoint": f"{ISSUER}/oauth/register",
        "revocation_endpoint": f"{ISSUER}/oauth/revoke",
        "introspection_endpoint": f"{ISSUER}/oauth/introspect",
        "jwks_uri": f"{ISSUER}/.well-known/jwks.json",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [
            "authorization_code",
            "refresh_token",
            "client_credentials",
            TOKEN_EXCHANGE,
            JWT_BEARER,
            DEVICE_CODE,
        ],
        "token_endpoint_auth_methods_supported": [
            "none",
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ],
        "introspection_endpoint_auth_methods_supported": [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ],
        "revocation_endpoint_auth_methods_supported": [
            "none",
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ],
        "token_endpoint_auth_signing_alg_values_supported": ["ES256", "RS256", "PS256", "EdDSA"],
        "introspection_endpoint_auth_signing_alg_values_supported": ["ES256", "RS256", "PS256", "EdDSA"],
        "revocation_endpoint_auth_signing_alg_values_supported": ["ES256", "RS256", "PS256", "EdDSA"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["notes:read", "notes:write"],
        "resource_indicators_supported": True,
        "client_id_metadata_document_supported": True,
        "authorization_response_iss_parameter_supported": True,
        "dpop_signing_alg_values_supported": ["ES256", "RS256", "PS256"],
        "authorization_grant_profiles_supported": ["urn:ietf:params:oauth:grant-profile:id-jag"],
        "identity_assertion_supported": True,
        "authplane_agent_identity_supported": True,
    }
    assert (await wire.http.get("/.well-known/openid-configuration")).json() == answer.json()
    assert (await wire.http.head(METADATA)).content == b""


async def test_closed_registration_is_not_advertised(wire: Wire, now: int) -> None:
    await wire.core.mode.set("admin_only", actor_id="admin", now=now)
    metadata = (await wire.http.get(METADATA)).json()
    assert "registration_endpoint" not in metadata
    assert "client_id_metadata_document_supported" not in metadata
    refused = await wire.http.post("/oauth/register", json={"client_name": "x", "redirect_uris": [RESOURCE]})
    assert (refused.status_code, refused.json()["error"]) == (403, "access_denied")


async def test_the_metadata_follows_what_operators_change(wire: Wire, now: int) -> None:
    first = await wire.http.get(METADATA)
    await wire.core.mode.set("admin_only", actor_id="admin", now=now)
    closed = await wire.http.get(METADATA)
    await wire.core.mode.set("open", actor_id="admin", now=now)
    again = await wire.http.get(METADATA)
    draft = ResourceDraft(slug="mail", backend_kind=BackendKind.MINT, scopes=(ResourceScope(name="mail:send"),))
    await wire.core.resources.create_resource(draft, now=now)
    await wire.server.watcher.poll()
    more = await wire.http.get(METADATA)

    assert "registration_endpoint" not in closed.json()
    assert again.content == first.content
    assert set(more.json()["scopes_supported"]) == {*first.json()["scopes_supported"], "mail:send"}


async def test_a_forged_host_changes_nothing(wire: Wire) -> None:
    headers = {"host": "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}
    assert (await wire.http.get(METADATA, headers=headers)).json()["issuer"] == ISSUER


async def test_the_keys_are_public_and_cacheable(wire: Wire, now: int) -> None:
    answer = await wire.http.get("/.well-known/jwks.json")
    assert answer.headers["cache-control"] == "public, max-age=300"
    (key,) = answer.json()["keys"]
    assert key.keys() == {"kty", "kid", "use", "alg", "crv", "x", "y"}
    again = await wire.http.get("/.well-known/jwks.json", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304
    await wire.keys.rotate(now=now)
    assert len((await wire.http.get("/.well-known/jwks.json")).json()["keys"]) == 2


@pytest.mark.parametrize("reference", ["notes", "mcp"])
async def test_a_resource_is_described_by_slug_and_by_path(wire: Wire, reference: str) -> None:
    answer = await wire.http.get(f"/.well-known/oauth-protected-resource/{reference}")
    assert answer.json() == {
        "resource": RESOURCE,
        "authorization_servers": [ISSUER],
        "scopes_supported": ["notes:read", "notes:write"],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": ["ES256", "RS256", "PS256"],
        "resource_name": "Notes",
    }


@pytest.mark.parametrize("path", ["", "/unknown", "/mcp/", "/%ff", "/mcp%2fmore"])
async def test_an_unknown_resource_is_not_found(wire: Wire, path: str) -> None:
    assert (await wire.http.get(f"/.well-known/oauth-protected-resource{path}")).status_code == 404


async def test_the_resource_at_our_own_origin_is_described_at_the_root(wire: Wire, now: int) -> None:
    draft = ResourceDraft(slug="own", backend_kind=BackendKind.MINT, uri=ISSUER)
    await wire.core.resources.create_resource(draft, now=now)
    await wire.server.watcher.poll()
    answer = await wire.http.get("/.well-known/oauth-protected-resource")
    assert answer.json()["resource"] == ISSUER


async def test_health_is_told_by_three_routes(wire: Wire) -> None:
    time = "2026-09-21T14:13:20Z"
    assert (await wire.http.get("/livez")).json() == {"status": "ok", "time": time}
    assert (await wire.http.get("/health")).json() == {"status": "ok", "time": time, "db": "ok"}
    ready = await wire.http.get("/ready")
    assert ready.json() == {"status": "ready", "time": time, "db": "ok"}
    assert ready.headers["cache-control"] == "no-store"


class TestPathIssuer:
    """An issuer below a path."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return replace(config, server=ServerConfig(issuer=f"{ISSUER}/tenant"))

    @pytest.mark.parametrize(
        "path",
        [
            METADATA,
            f"{METADATA}/tenant",
            "/.well-known/openid-configuration",
            "/.well-known/openid-configuration/tenant",
            "/tenant/.well-known/openid-configuration",
            "/tenant/.well-known/oauth-authorization-server",
        ],
    )
    async def test_every_spelling_answers(self, wire: Wire, path: str) -> None:
        assert (await wire.http.get(path)).json()["issuer"] == f"{ISSUER}/tenant"

    async def test_redirects_and_cookies_stay_below_the_path(self, wire: Wire) -> None:
        client_id = (await wire.register())["client_id"]
        answer = await wire.http.get("/tenant/oauth/authorize", params=wire.request(client_id))
        assert answer.headers["location"].startswith("/tenant/login?redirect=%2Ftenant%2Foauth%2Fauthorize")
        login = await wire.http.get(answer.headers["location"])
        assert "Path=/tenant" in login.headers["set-cookie"]
