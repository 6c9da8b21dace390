"""Agents: their claims (tokens.md §5), how they register, and their list in the public key set (public API §18)."""

from dataclasses import replace
from typing import Any

import pytest

from authserver.clients import agents as agents_module
from authserver.clients.administration import NewClient
from authserver.config.model import Config
from authserver.config.sections.clients import AgentsConfig
from authserver.telemetry.metrics import scrape
from server.tests.wire.harness import REDIRECT, RESOURCE, Wire, claims_of

pytestmark = pytest.mark.anyio

KEYS = "/.well-known/jwks.json"


async def create(wire: Wire, **members: Any) -> tuple[str, str]:
    """Create a client that is an agent, as an operator; return its id and secret."""
    new: dict[str, Any] = {
        "name": "planner",
        "redirect_uris": (REDIRECT,),
        "grant_types": ("authorization_code", "refresh_token", "client_credentials"),
        "auth_method": "client_secret_post",
        "scope": "notes:read",
        "is_agent": True,
    }
    created = await wire.core.clients.create(NewClient(**(new | members)), now=wire.clock.seconds)
    return created.client.id, created.client_secret or ""


def counted() -> float:
    series = 'authplane_agent_tokens_issued_total{has_chain="false"}'
    return next(float(line.split()[-1]) for line in scrape().decode().splitlines() if line.startswith(series))


@pytest.mark.parametrize("is_agent", [True, False])
async def test_first_hop_tokens_of_an_agent_name_it_and_have_no_chain(wire: Wire, *, is_agent: bool) -> None:
    client_id, secret = await create(wire, is_agent=is_agent)
    before = counted()
    code = await wire.code(client_id)
    redeemed = (await wire.redeem(client_id, code, client_secret=secret)).json()
    refreshed = (await wire.refresh(client_id, redeemed["refresh_token"], client_secret=secret)).json()
    own = await wire.token(
        grant_type="client_credentials", client_id=client_id, client_secret=secret, resource=RESOURCE
    )
    for tokens in (redeemed, refreshed, own.json()):
        claims = claims_of(tokens["access_token"])
        assert claims.get("agent_id") == (client_id if is_agent else None)
        assert not {"agent_chain", "act"} & set(claims)
        told = await wire.introspect(tokens["access_token"])
        assert told.get("agent_id") == (client_id if is_agent else None)
    assert counted() - before == (3 if is_agent else 0)
    rows = await wire.core.db.fetch_all("SELECT agent_id, agent_chain FROM issuances")
    assert [(row["agent_id"], row["agent_chain"]) for row in rows] == [(client_id if is_agent else None, None)] * 3


async def test_an_agent_registers_itself_and_is_one_for_ever(wire: Wire, now: int) -> None:
    answer = await wire.register(agent=True, agent_description="Plans your day")
    assert (answer["agent"], answer["agent_description"]) == (True, "Plans your day")
    assert not {"agent", "agent_description"} & set(await wire.register())
    refused = await wire.http.post(
        "/oauth/register",
        json={"client_name": "x", "redirect_uris": [REDIRECT], "agent": True, "agent_description": "x" * 256},
    )
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")
    await wire.core.clients.suspend(answer["client_id"], now=now)
    client = await wire.core.clients.reactivate(answer["client_id"], now=now)
    assert (client.is_agent, client.agent_description) == (True, "Plans your day")


async def test_agents_are_not_listed_unless_asked_for(wire: Wire) -> None:
    await create(wire)
    assert set((await wire.http.get(KEYS)).json()) == {"keys"}
    metadata = (await wire.http.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["authplane_agent_identity_supported"] is True


class TestListing:
    """With ``agents.enable_jwks_listing: true``."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return replace(config, agents=AgentsConfig(enable_jwks_listing=True))

    async def listed(self, wire: Wire) -> list[dict[str, str]] | None:
        """Obey what was announced, and return the list; None when the document has none."""
        await wire.server.watcher.poll()
        answer = await wire.http.get(KEYS)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=300"
        assert len(answer.json()["keys"]) == 1
        found: list[dict[str, str]] | None = answer.json().get("agents")
        return found

    async def test_the_list_follows_the_agents(self, wire: Wire, now: int) -> None:
        assert await self.listed(wire) is None
        first, _ = await create(wire, agent_description="Plans")
        assert await self.listed(wire) == [{"client_id": first, "description": "Plans"}]
        wire.clock.seconds += 1
        second = (await wire.register(agent=True))["client_id"]
        await wire.register()
        both = [{"client_id": first, "description": "Plans"}, {"client_id": second}]
        assert await self.listed(wire) == both
        await wire.core.clients.suspend(first, now=now)
        assert await self.listed(wire) == [{"client_id": second}]
        await wire.core.clients.reactivate(first, now=now)
        assert await self.listed(wire) == both
        await wire.core.clients.revoke(first, now=now)
        await wire.core.clients.delete(second, now=now)
        assert await self.listed(wire) is None

    async def test_its_tag_changes_with_keys_and_agents_and_with_nothing_else(self, wire: Wire) -> None:
        tags = []
        for change in (None, None, create(wire), None, wire.keys.rotate(now=wire.clock.seconds), None):
            if change is not None:
                await change
            await wire.server.watcher.poll()
            tags.append((await wire.http.get(KEYS)).headers["etag"])
        assert tags == [tags[0], tags[0], tags[2], tags[2], tags[4], tags[4]]
        assert len(set(tags)) == 3
        same = await wire.http.get(KEYS, headers={"if-none-match": tags[4]})
        assert (same.status_code, same.content) == (304, b"")

    async def test_a_flood_of_agents_takes_nobodys_place(self, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
        first, _ = await create(wire)
        for number in range(4):
            wire.clock.seconds += 1
            await wire.register(agent=True, agent_description=str(number) * 255)
        monkeypatch.setattr(agents_module, "MOST_BYTES", 700)
        listed = await self.listed(wire)
        assert listed is not None
        assert [entry.get("description", "")[:1] for entry in listed] == ["", "0", "1"]
        assert listed[0] == {"client_id": first}
        monkeypatch.setattr(agents_module, "MOST_AGENTS", 1)
        await create(wire)
        assert await self.listed(wire) == [{"client_id": first}]

    async def test_a_database_that_is_away_takes_neither_keys_nor_agents_away(self, wire: Wire) -> None:
        first, _ = await create(wire)
        listed = await self.listed(wire)
        await wire.core.db.close()
        assert (await wire.http.get(KEYS)).json()["agents"] == listed == [{"client_id": first}]

    async def test_keys_are_served_when_agents_were_never_read(self, wire: Wire) -> None:
        await wire.core.db.close()
        answer = await wire.http.get(KEYS)
        assert (answer.status_code, set(answer.json())) == (200, {"keys"})
