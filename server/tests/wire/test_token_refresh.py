"""``POST /oauth/token`` with a refresh token (public API §10)."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from authserver.clients.store import find_client, update_client
from authserver.config.model import Config
from authserver.config.sections.grants import OAuthConfig
from server.tests.wire.harness import RESOURCE, Wire, claims_of

pytestmark = pytest.mark.anyio

REUSED = "token family revoked due to reuse detection"


async def _session(wire: Wire, **parameters: str | None) -> tuple[str, dict[str, Any]]:
    client_id = (await wire.register())["client_id"]
    return client_id, await wire.tokens(client_id, **parameters)


async def test_a_refresh_gives_a_successor_and_a_new_access_token(wire: Wire, now: int) -> None:
    client_id, tokens = await _session(wire)
    wire.clock.seconds += 800
    answer = (await wire.refresh(client_id, tokens["refresh_token"])).json()
    assert answer["refresh_token"] != tokens["refresh_token"]
    assert answer["scope"] == "notes:read"
    claims = claims_of(answer["access_token"])
    assert (claims["iat"], claims["aud"], claims["sub"]) == (now + 800, [RESOURCE], wire.user.id)
    assert ("token.refreshed") in dict(await wire.audit())
    assert (await wire.refresh(client_id, answer["refresh_token"])).status_code == 200


async def test_a_lost_answer_can_be_asked_for_again(wire: Wire) -> None:
    client_id, tokens = await _session(wire)
    first = await wire.refresh(client_id, tokens["refresh_token"])
    wire.clock.seconds += 30
    again = await wire.refresh(client_id, tokens["refresh_token"])
    assert (again.status_code, again.content) == (200, first.content)
    actions = [action for action, _ in await wire.audit()]
    assert actions.count("token.refreshed") == 1
    assert actions.count("token.refresh_retried") == 1
    assert len(await wire.core.db.fetch_all("SELECT id FROM issuances")) == 2
    assert (await wire.refresh(client_id, first.json()["refresh_token"])).status_code == 200


@pytest.mark.parametrize(
    "case", ["too late", "another scope", "another resource", "another generation", "malformed scope"]
)
async def test_anything_but_the_same_request_in_time_is_reuse(wire: Wire, case: str) -> None:
    client_id, tokens = await _session(wire)
    successor = (await wire.refresh(client_id, tokens["refresh_token"])).json()
    form: dict[str, str] = {}
    match case:
        case "too late":
            wire.clock.seconds += 31
        case "another scope":
            form["scope"] = "notes:read"
        case "another resource":
            form["resource"] = RESOURCE
        case "malformed scope":
            form["scope"] = 'a"b'
        case _:
            successor = (await wire.refresh(client_id, successor["refresh_token"])).json()
    refused = await wire.refresh(client_id, tokens["refresh_token"], **form)
    assert refused.status_code == 400
    assert refused.json()["error_description"].startswith(REUSED)
    ended = await wire.refresh(client_id, successor["refresh_token"])
    assert ended.json()["error_description"].startswith(REUSED)
    assert await wire.introspect(successor["access_token"]) == {"active": False}
    assert dict(await wire.audit())["family.revoked"].startswith("reuse_detection family=")


async def test_the_stored_answer_is_sealed_and_gone_after_the_next_rotation_or_revocation(wire: Wire) -> None:
    client_id, tokens = await _session(wire)
    first = (await wire.refresh(client_id, tokens["refresh_token"])).json()
    (row,) = await wire.core.db.fetch_all("SELECT retry_response FROM authorizations")
    assert first["access_token"].encode() not in row["retry_response"]
    await wire.http.post("/oauth/revoke", data={"client_id": client_id, "token": first["refresh_token"]})
    (row,) = await wire.core.db.fetch_all("SELECT retry_response FROM authorizations")
    assert row["retry_response"] is None


async def test_fifty_equal_refreshes_at_once_are_one_rotation(wire: Wire) -> None:
    client_id, tokens = await _session(wire)
    answers = await asyncio.gather(*(wire.refresh(client_id, tokens["refresh_token"]) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    rows = await wire.core.db.fetch_all("SELECT consumed_at FROM refresh_tokens")
    assert sorted(row["consumed_at"] is None for row in rows) == [False, True]


class TestStrict:
    """With ``oauth.refresh_grace: 0s``."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return replace(config, oauth=OAuthConfig(refresh_grace=0))

    async def test_fifty_refreshes_at_once_leave_no_family(self, wire: Wire) -> None:
        client_id, tokens = await _session(wire)
        answers = await asyncio.gather(*(wire.refresh(client_id, tokens["refresh_token"]) for _ in range(50)))
        assert sum(answer.status_code == 200 for answer in answers) <= 1
        (row,) = await wire.core.db.fetch_all("SELECT revoked_at, retry_response FROM authorizations")
        assert row["revoked_at"] is not None
        assert row["retry_response"] is None


class TestMaxLifetime:
    """With ``oauth.refresh_max_lifetime``."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return replace(config, oauth=OAuthConfig(refresh_max_lifetime=1000))

    async def test_a_family_ends_at_its_absolute_age(self, wire: Wire, now: int) -> None:
        client_id, tokens = await _session(wire)
        wire.clock.seconds += 900
        successor = (await wire.refresh(client_id, tokens["refresh_token"])).json()
        rows = await wire.core.db.fetch_all("SELECT expires_at FROM refresh_tokens ORDER BY expires_at")
        assert rows[0]["expires_at"] == now + 1000
        wire.clock.seconds += 100
        assert (await wire.refresh(client_id, successor["refresh_token"])).json()["error"] == "invalid_grant"


async def test_narrowing_keeps_the_family_as_it_was(wire: Wire) -> None:
    client_id, tokens = await _session(wire, scope="notes:write notes:read")
    assert tokens["scope"] == "notes:write notes:read"
    narrowed = (await wire.refresh(client_id, tokens["refresh_token"], scope="notes:read")).json()
    assert narrowed["scope"] == "notes:read"
    full = (await wire.refresh(client_id, narrowed["refresh_token"])).json()
    assert full["scope"] == "notes:write notes:read"


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"scope": "notes:write"}, "invalid_scope"),
        ({"resource": "https://mcp.example.com/other"}, "invalid_target"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"refresh_token": ""}, "invalid_request"),
        ({"refresh_token": "x" * 43}, "invalid_grant"),
    ],
)
async def test_a_refused_refresh_spends_nothing(wire: Wire, form: dict[str, str], error: str) -> None:
    client_id, tokens = await _session(wire)
    refused = await wire.token(
        **({"grant_type": "refresh_token", "client_id": client_id, "refresh_token": tokens["refresh_token"]} | form)
    )
    assert refused.json()["error"] == error
    assert (await wire.refresh(client_id, tokens["refresh_token"])).status_code == 200


async def test_another_client_cannot_spend_or_end_a_family(wire: Wire) -> None:
    client_id, tokens = await _session(wire)
    stranger = (await wire.register())["client_id"]
    await wire.refresh(client_id, tokens["refresh_token"])
    wire.clock.seconds += 60
    assert (await wire.refresh(stranger, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    (row,) = await wire.core.db.fetch_all("SELECT revoked_at FROM authorizations")
    assert row["revoked_at"] is None


async def test_a_client_that_lost_the_grant_is_unauthorized(wire: Wire) -> None:
    client_id, tokens = await _session(wire)
    client = await find_client(wire.core.db, client_id)
    assert client is not None
    await wire.core.db.write(lambda tx: update_client(tx, replace(client, grant_types=("authorization_code",))))
    assert (await wire.refresh(client_id, tokens["refresh_token"])).json()["error"] == "unauthorized_client"


async def test_a_disabled_user_cannot_refresh(wire: Wire, now: int) -> None:
    client_id, tokens = await _session(wire)
    await wire.core.accounts.disable_user(wire.user.id, now=now)
    assert (await wire.refresh(client_id, tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_an_expired_token_is_no_reuse(wire: Wire) -> None:
    client_id, tokens = await _session(wire)
    await wire.refresh(client_id, tokens["refresh_token"])
    wire.clock.seconds += 168 * 3600
    await wire.refresh(client_id, tokens["refresh_token"])
    assert "family.revoked" not in dict(await wire.audit())


async def test_a_force_logout_ends_families_and_tokens(wire: Wire, now: int) -> None:
    client_id, tokens = await _session(wire)
    assert await wire.core.accounts.force_logout(wire.user.id, now=now) == 1
    assert (await wire.refresh(client_id, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert await wire.introspect(tokens["access_token"]) == {"active": False}
