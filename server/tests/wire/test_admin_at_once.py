"""Two different mutations of one thing at once, at two instances: both are done, or one is refused; nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from authserver.config.model import Config
from authserver.outbound.client import OutboundClient
from e2e.harness.mutations.world import World, unique
from server.tests.fakes.identity_provider import IdentityProvider
from server.tests.wire.harness import Wire
from server.tests.wire.two_instances import InProcess, two_instances

pytestmark = pytest.mark.anyio

CLIENTS, USERS, RESOURCES, FRONTING = "/admin/clients", "/admin/users", "/admin/resources", "/admin/fronting"
IDPS, POLICIES, MAPPINGS = "/admin/idps", "/admin/xaa/policies", "/admin/xaa/subject-mappings"
ROUNDS = 5

Request = tuple[str, str, object]


@pytest.fixture
def outbound(provided: tuple[IdentityProvider, OutboundClient]) -> OutboundClient:
    return provided[1]


@pytest.fixture
async def world(
    wire: Wire, config: Config, provided: tuple[IdentityProvider, OutboundClient]
) -> AsyncIterator[InProcess]:
    async with two_instances(wire, config, provided) as world:
        yield world


async def at_once(world: InProcess, one: Request, other: Request) -> tuple[int, int]:
    """Send two requests, each to an instance of its own; return what they gave, which is never a fault."""

    async def send(http: httpx2.AsyncClient, request: Request) -> int:
        method, path, body = request
        answer = await http.request(method, path, json=body)
        assert answer.status_code < 500, answer.text
        return answer.status_code

    first, second = await asyncio.gather(send(world.ada[0], one), send(world.ada[1], other))
    return first, second


async def an_idp(world: World, issuer: str | None = None) -> str:
    issuer = issuer or f"https://{unique('idp')}.example"
    created = await world.do("POST", IDPS, {"name": "x", "issuer": issuer, "jwks_uri": f"{issuer}/keys"})
    return str(created["id"])


async def count(world: InProcess, table: str) -> Any:
    row = await world.wire.core.db.fetch_one(f"SELECT count(*) AS n FROM {table}")
    assert row is not None
    return row["n"]


async def test_two_changes_of_a_policy_are_both_kept(world: InProcess) -> None:
    idp = await an_idp(world)
    for _ in range(ROUNDS):
        path = f"{POLICIES}/{(await world.do('POST', POLICIES, {'name': 'old', 'idp_id': idp}))['id']}"
        assert await at_once(world, ("PUT", path, {"name": "new"}), ("PUT", path, {"enabled": False})) == (200, 200)
        policy = await world.do("GET", path)
        assert (policy["name"], policy["enabled"]) == ("new", False)


async def test_two_changes_of_a_provider_are_both_kept(world: InProcess) -> None:
    for _ in range(ROUNDS):
        path = f"{IDPS}/{await an_idp(world)}"
        assert await at_once(world, ("PUT", path, {"name": "new"}), ("PUT", path, {"enabled": False})) == (200, 200)
        idp = await world.do("GET", path)
        assert (idp["name"], idp["enabled"]) == ("new", False)


async def test_of_two_providers_that_could_pass_for_one_another_one_is_trusted(world: InProcess) -> None:
    for _ in range(ROUNDS):
        issuers = [f"https://{unique('idp')}.example"]
        issuers.append(f"{issuers[0]}:8443")
        one, other = (
            ("POST", IDPS, {"name": "x", "issuer": issuer, "jwks_uri": f"{issuers[0]}/keys"}) for issuer in issuers
        )
        assert sorted(await at_once(world, one, other)) == [201, 400]


@pytest.mark.parametrize("what", ["policy", "mapping"])
async def test_what_belongs_to_a_provider_that_is_deleted_goes_with_it_or_is_refused(
    world: InProcess, what: str
) -> None:
    path, table, body = {
        "policy": (POLICIES, "xaa_policies", {"name": "x"}),
        "mapping": (MAPPINGS, "subject_mappings", {"idp_subject": "x"}),
    }[what]
    for _ in range(ROUNDS):
        idp = await an_idp(world)
        made, deleted = await at_once(world, ("POST", path, {**body, "idp_id": idp}), ("DELETE", f"{IDPS}/{idp}", None))
        assert deleted == 204
        assert made in {201, 404}
        assert await count(world, table) == 0


async def test_a_policy_that_is_changed_while_it_is_deleted_is_deleted(world: InProcess) -> None:
    idp = await an_idp(world)
    for _ in range(ROUNDS):
        path = f"{POLICIES}/{(await world.do('POST', POLICIES, {'name': 'old', 'idp_id': idp}))['id']}"
        changed, deleted = await at_once(world, ("PUT", path, {"name": "new"}), ("DELETE", path, None))
        assert deleted == 204
        assert changed in {200, 404}
        assert await count(world, "xaa_policies") == 0


async def test_a_client_is_revoked_whatever_else_happens_to_it(world: InProcess) -> None:
    for body, path in (({"client_name": "other"}, ""), (None, "/suspend"), (None, "/rotate-secret")):
        client = f"{CLIENTS}/{(await world.party()).id}"
        method = "POST" if path == "/rotate-secret" else "PATCH"
        other, revoked = await at_once(world, (method, f"{client}{path}", body), ("PATCH", f"{client}/revoke", None))
        assert revoked == 200
        assert other in {200, 409}
        assert (await world.do("GET", client))["status"] == "revoked"


async def test_a_client_that_is_deleted_while_it_is_changed_is_deleted(world: InProcess) -> None:
    for method, path in (("PATCH", "/suspend"), ("PATCH", "/revoke"), ("POST", "/rotate-secret")):
        client = f"{CLIENTS}/{(await world.party()).id}"
        changed, deleted = await at_once(world, (method, f"{client}{path}", None), ("DELETE", client, None))
        assert deleted == 204
        assert changed in {200, 400, 409}
        assert (await world.admin.get(client)).status_code == 404


async def test_two_entries_of_one_list_and_another_change_of_its_resource_are_all_kept(world: InProcess) -> None:
    one, other = await world.party(), await world.party()
    for _ in range(ROUNDS):
        resource = await world.new_resource()
        path = f"{RESOURCES}/{resource.slug}/policy/runtime/client-ids"
        add = [("POST", path, {"client_id": party.id}) for party in (one, other)]
        named = ("PATCH", f"{RESOURCES}/{resource.id}", {"display_name": "Named"})
        both = await asyncio.gather(at_once(world, add[0], add[1]), at_once(world, named, named))
        assert list(both) == [(200, 200), (200, 200)]
        view = await world.do("GET", f"{RESOURCES}/{resource.id}")
        assert sorted(view["policy"]["runtime"]["client_ids"]) == sorted([one.id, other.id])
        assert view["display_name"] == "Named"


async def test_no_link_stays_without_its_resource(world: InProcess) -> None:
    for _ in range(ROUNDS):
        source, target = await world.new_resource(), await world.new_resource()
        body = {"source": source.slug, "target": target.slug, "scope_map": {"read": ["read"]}}
        linked, deleted = await at_once(world, ("POST", FRONTING, body), ("DELETE", f"{RESOURCES}/{target.id}", None))
        assert (linked, deleted) in {(201, 409), (400, 204)}


async def test_two_links_never_close_a_circle(world: InProcess) -> None:
    for _ in range(ROUNDS):
        one, other = (await world.new_resource()).slug, (await world.new_resource()).slug
        there, back = (
            ("POST", FRONTING, {"source": source, "target": target, "scope_map": {"read": ["read"]}})
            for source, target in ((one, other), (other, one))
        )
        assert sorted(await at_once(world, there, back)) == [201, 400]


async def test_a_slug_that_two_want_is_given_once(world: InProcess) -> None:
    for _ in range(ROUNDS):
        resource, slug = await world.new_resource(), unique("slug")
        renamed = ("PATCH", f"{RESOURCES}/{resource.id}", {"slug": slug})
        made = ("POST", RESOURCES, {"slug": slug, "backend_kind": "mint"})
        assert await at_once(world, renamed, made) in {(200, 409), (409, 201)}


async def test_a_user_who_is_disabled_while_renamed_is_disabled_or_it_is_said_that_not(world: InProcess) -> None:
    for _ in range(ROUNDS):
        path = f"{USERS}/{(await world.account()).id}"
        renamed, disabled = await at_once(world, ("PATCH", path, {"name": "Other"}), ("PATCH", f"{path}/disable", None))
        assert 200 in {renamed, disabled}
        assert {renamed, disabled} <= {200, 409}
        user = await world.do("GET", path)
        assert (user["name"] == "Other", user["status"] == "disabled") == (renamed == 200, disabled == 200)
