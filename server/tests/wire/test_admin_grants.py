"""What users allowed and what was issued, over HTTP (admin API, 10 and 11)."""

from typing import Any

import pytest

from server.tests.wire.exchanging import Party, a_client, a_resource, exchanged, user_token
from server.tests.wire.harness import Wire, claims_of
from server.tests.wire.operating import PEER, Admin, check_shape, rows

pytestmark = pytest.mark.anyio

ISSUANCES = "/admin/issuances"


async def a_chain(wire: Wire) -> tuple[Party, list[str]]:
    """Have a user allow a client, which exchanges the token twice; return the ids of the three."""
    party = await a_client(wire, "gateway")
    await a_resource(wire, "first", "read")
    await a_resource(wire, "second", "read")
    for slug in ("second", "first"):
        token = await user_token(wire, party, resource=f"https://{slug}.example.com", scope="read")
    ids = [claims_of(token)["jti"]]
    for slug in ("second", "first"):
        token = (await exchanged(wire, party, token, resource=slug))["access_token"]
        ids.append(claims_of(token)["jti"])
    return party, ids


async def issuance(admin: Admin, jti: str) -> dict[str, Any]:
    view = await admin.do("GET", f"{ISSUANCES}/{jti}")
    check_shape("GET", ISSUANCES + "/{id}", view)
    return dict(view)


async def test_a_consent_is_listed_and_taken_back_with_all_that_rests_on_it(wire: Wire, admin: Admin) -> None:
    party, ids = await a_chain(wire)
    user_id = wire.user.id
    grants = await admin.do("GET", f"/admin/users/{user_id}/grants")
    check_shape("GET", "/admin/users/{id}/grants", grants)
    assert grants["broker_grants"] == []
    first, second = grants["consent_grants"]
    assert {each["client_id"] for each in (first, second)} == {party.id}
    root = await issuance(admin, ids[0])
    (consent,) = [each for each in (first, second) if each["resource_id"] == root["resource_id"]]
    assert consent["scopes"] == ["read"]

    for _ in range(2):
        await admin.do("DELETE", f"/admin/grants/consent/{consent['id']}", expect=204)
    await admin.do("DELETE", "/admin/grants/consent/unknown", expect=204)

    assert ["revoked_at" in await issuance(admin, jti) for jti in ids] == [True] * 3
    grants = await admin.do("GET", f"/admin/users/{user_id}/grants")
    assert [each["id"] for each in grants["consent_grants"] if "revoked_at" in each] == [consent["id"]]
    told = await rows(wire, "consent_grant.revoked_admin")
    assert {(row["actor_id"], row["ip"]) for row in told} == {("admin", PEER)}
    # The second time it found nothing left.
    assert [row["detail"].partition(" revoked_")[2] for row in told] == ["issuances=3 revoked_families=1"]


async def test_of_somebody_unknown_there_are_no_grants(admin: Admin) -> None:
    assert await admin.do("GET", "/admin/users/nobody/grants") == {"consent_grants": [], "broker_grants": []}


async def test_tokens_are_found_by_what_they_are_about(wire: Wire, admin: Admin) -> None:
    party, ids = await a_chain(wire)
    by_client = await admin.do("GET", ISSUANCES, client=party.id)
    check_shape("GET", ISSUANCES, by_client)
    assert by_client["count"] == len(by_client["issuances"]) == 4
    assert by_client["since"] == "2026-09-20T14:13:20Z"
    last = await issuance(admin, ids[2])
    both = await admin.do("GET", ISSUANCES, user=wire.user.id, resource=last["resource_id"])
    assert {each["id"] for each in both["issuances"]} >= {ids[0], ids[2]}
    assert (await admin.do("GET", ISSUANCES, client=party.id, limit=1))["count"] == 1
    assert (await admin.do("GET", ISSUANCES, client=party.id, since="2030-01-01T00:00:00Z"))["issuances"] == []
    one = await admin.do("GET", ISSUANCES, jti=ids[1], since="never", limit=0)
    assert ([each["jti"] for each in one["issuances"]], one["since"]) == ([ids[1]], "0001-01-01T00:00:00Z")
    assert (await admin.do("GET", ISSUANCES, jti=ids[1], client="other"))["count"] == 0
    assert (await admin.do("GET", ISSUANCES, jti="unknown"))["issuances"] == []
    for query, told in (
        ({}, "at least one of"),
        ({"client": ""}, "at least one of"),
        ({"client": party.id, "limit": 0}, "limit must be 1..5000"),
        ({"client": party.id, "limit": 5001}, "limit must be 1..5000"),
        ({"client": party.id, "since": "yesterday"}, "since"),
        ({"client": party.id, "since": "9999-12-31T23:59:59-23:59"}, "since must be a time"),
        ({"client": party.id, "since": "2026-08-01T00:00:00Z"}, "30 days"),
    ):
        assert told in await admin.refused(400, "GET", ISSUANCES, **query)
    await admin.refused(404, "GET", f"{ISSUANCES}/unknown")


async def test_a_lineage_leads_to_the_root_and_to_the_leaves(wire: Wire, admin: Admin) -> None:
    _, ids = await a_chain(wire)
    lineage = await admin.do("GET", f"{ISSUANCES}/{ids[1]}/lineage")
    check_shape("GET", ISSUANCES + "/{id}/lineage", lineage)
    assert lineage["issuance"]["id"] == ids[1]
    assert [each["id"] for each in lineage["ancestors"]] == [ids[0]]
    assert [each["id"] for each in lineage["descendants"]] == [ids[2]]
    assert lineage["descendants"][0]["parent_jti"] == ids[1]
    whole = await admin.do("GET", f"{ISSUANCES}/{ids[0]}/lineage")
    assert ({each["id"] for each in whole["descendants"]}, whole["ancestors"]) == (set(ids[1:]), [])
    await admin.refused(404, "GET", f"{ISSUANCES}/unknown/lineage")


async def test_one_token_is_revoked_or_all_that_came_of_it(wire: Wire, admin: Admin) -> None:
    _, ids = await a_chain(wire)
    await admin.do("DELETE", f"{ISSUANCES}/{ids[0]}", expect=204)
    assert ["revoked_at" in await issuance(admin, jti) for jti in ids] == [True, False, False]
    for _ in range(2):
        await admin.do("DELETE", f"{ISSUANCES}/{ids[0]}", expect=204, cascade="true")
    await admin.do("DELETE", f"{ISSUANCES}/unknown", expect=204)
    assert ["revoked_at" in await issuance(admin, jti) for jti in ids] == [True, True, True]
    told = await rows(wire, "issuance.revoked_admin")
    assert sorted(row["detail"].rpartition("resource_id=")[2].partition(" ")[2] for row in told) == [
        "",
        "revoked_descendants=2",
    ]
    assert {(row["actor_id"], row["ip"]) for row in told} == {("admin", PEER)}
