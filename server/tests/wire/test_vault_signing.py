"""The token endpoint while Vault signs, hangs, or refuses (key-management, acceptance check 9)."""

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import jwt
import pytest

from authserver.app import build_server
from authserver.audit.events import Action
from authserver.config.model import Config
from authserver.config.secret import Secret
from authserver.config.sections.storage import SigningConfig, VaultTransitConfig
from authserver.telemetry import metrics
from authserver.telemetry.spans import Span
from authserver.telemetry.tracing import Tracer
from server.tests.wire.exchanging import a_client, a_resource, exchange, user_token
from server.tests.wire.harness import RESOURCE, Wire

pytestmark = pytest.mark.anyio

TIMEOUT_SECONDS = 8.0


@pytest.fixture
def config(config: Config, openbao: Any) -> Config:
    """Keys in Vault."""
    vault = VaultTransitConfig(
        address=openbao.address,
        token=Secret("root"),
        key_name=f"signing-{uuid.uuid4().hex[:8]}",
        timeout=TIMEOUT_SECONDS,
    )
    return replace(config, signing=SigningConfig(key_store="vault_transit", vault_transit=vault))


async def refresh_token(wire: Wire) -> tuple[str, dict[str, Any]]:
    client = await wire.register()
    return client["client_id"], await wire.tokens(client["client_id"])


async def test_what_vault_signs_verifies_with_what_is_published(wire: Wire, config: Config) -> None:
    _, tokens = await refresh_token(wire)
    document = (await wire.http.get("/.well-known/jwks.json")).json()
    header = jwt.get_unverified_header(tokens["access_token"])
    assert header == {"typ": "at+jwt", "alg": "ES256", "kid": f"{config.signing.vault_transit.key_name}-v1"}
    key = jwt.PyJWKSet.from_dict(document).keys[0]
    claims = jwt.decode(
        tokens["access_token"], key, audience=RESOURCE, options={"verify_exp": False, "verify_iat": False}
    )
    assert claims["scope"] == "notes:read"


async def test_a_vault_that_hangs_holds_up_nobody_else_and_nothing_is_spent(wire: Wire, openbao: Any) -> None:
    client_id, tokens = await refresh_token(wire)
    openbao.freeze()
    try:
        waiting = asyncio.create_task(wire.refresh(client_id, tokens["refresh_token"]))
        assert (await wire.http.get("/livez")).status_code == 200
        assert (await wire.http.get("/.well-known/jwks.json")).status_code == 200
        assert (await wire.introspect(tokens["access_token"]))["active"] is True
        assert not waiting.done()
        refused = await waiting
    finally:
        openbao.thaw()
    body = refused.json()
    assert (refused.status_code, body["error"], refused.headers["retry-after"]) == (503, "server_error", "1")
    assert body["request_id"]
    assert "vault" not in refused.text.lower()
    assert [row for row in await wire.audit() if row[0] == "token.refresh_denied"] == [
        ("token.refresh_denied", "reason=server_error")
    ]
    # Neither the refresh token nor its retry was used up.
    again = await wire.refresh(client_id, tokens["refresh_token"])
    assert again.status_code == 200, again.text
    assert again.json()["refresh_token"] != tokens["refresh_token"]


async def test_a_code_is_not_spent_when_vault_does_not_sign(wire: Wire, openbao: Any, config: Config) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    sign = f"transit/keys/{config.signing.vault_transit.key_name}"
    openbao.call("POST", f"{sign}/config", {"deletion_allowed": True})
    openbao.call("DELETE", sign)
    refused = await wire.redeem(client_id, code)
    assert (refused.status_code, refused.json()["error"]) == (503, "server_error")
    # A key made anew is another one, whatever its name: its signatures are not believed.
    openbao.call("POST", sign, {"type": "ecdsa-p256"})
    assert (await wire.redeem(client_id, code)).status_code == 503
    await wire.keyring.reload(wire.clock.seconds)
    assert (await wire.redeem(client_id, code)).status_code == 200


async def test_a_token_of_a_retired_key_is_inactive(wire: Wire) -> None:
    _, tokens = await refresh_token(wire)
    (old,) = [key.kid for key in wire.keys.list_keys(now=wire.clock.seconds)]
    before = metrics.REGISTRY.get_sample_value("authserver_key_rotation_total") or 0
    await wire.keys.rotate(now=wire.clock.seconds)
    assert metrics.REGISTRY.get_sample_value("authserver_key_rotation_total") == before + 1
    wire.clock.seconds += 10
    assert (await wire.introspect(tokens["access_token"]))["active"] is True
    await wire.keys.retire(old, now=wire.clock.seconds)
    assert (await wire.introspect(tokens["access_token"]))["active"] is False


async def test_an_exchange_that_vault_does_not_sign_has_the_reason_of_that_step(
    wire: Wire, openbao: Any, config: Config
) -> None:
    agent = await a_client(wire, "agent")
    await a_resource(wire, "mail", "mail:read")
    await user_token(wire, agent, resource="mail", scope="mail:read")
    identity = await user_token(wire, agent, resource=None, scope="mail:read")
    sign = f"transit/keys/{config.signing.vault_transit.key_name}"
    openbao.call("POST", f"{sign}/config", {"deletion_allowed": True})
    openbao.call("DELETE", sign)
    refused = await exchange(wire, agent, identity, resource="mail", scope="mail:read")
    assert (refused.status_code, refused.json()["error"], refused.headers["retry-after"]) == (503, "server_error", "1")
    denied = [detail for action, detail in await wire.audit() if action == Action.TOKEN_EXCHANGE_DENIED]
    assert denied == ["reason=mint_issue_failed"]


async def test_what_vault_signs_is_part_of_the_request_s_trace(wire: Wire, config: Config) -> None:
    spans: list[Span] = []
    wire.server = await build_server(
        wire.core, wire.keyring, tracer=Tracer(sample_rate=1, put=spans.append, monotonic=lambda: 0.0)
    )
    wire.http = wire.new_browser()
    await refresh_token(wire)
    (signing,) = [span for span in spans if span.name == "VaultClient.Sign"]
    (serving,) = [span for span in spans if span.name == "TokenService.ExchangeCode"]
    assert (signing.parent_id, signing.context.trace_id) == (serving.span_id, serving.context.trace_id)
    assert signing.attributes == {
        "vault.key_name": config.signing.vault_transit.key_name,
        "vault.hash_algorithm": "sha2-256",
        "vault.key_version": 1,
        "outcome": "success",
    }
    await wire.server.traces.close()
