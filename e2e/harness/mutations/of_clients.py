"""Mutations of clients and of what was handed out to them."""

from typing import Any

from e2e.harness.mutations.mutation import Again, Case, Mutation, Row, said
from e2e.harness.mutations.world import MACHINE, Party, World, claims_of, unique

CLIENTS = "/admin/clients"


async def create(world: World) -> Case:
    name = unique("machine")
    body = {
        "client_name": name,
        "grant_types": [MACHINE],
        "token_endpoint_auth_method": "client_secret_post",
        "scope": "read",
    }

    async def acts(answer: Any) -> bool:
        return not await world.outcome(Party(answer["client_id"], answer["client_secret"]), scope="read")

    return Case(
        path=CLIENTS,
        body=body,
        rows=lambda answer: [Row("client.created_admin", answer["client_id"], f"name={name}")],
        effect=acts,
        is_new=True,
        at_once=True,
    )


async def narrow(world: World) -> Case:
    party = await world.party()

    async def is_narrower(_answer: Any) -> bool:
        return await world.outcome(party, scope="write") == "invalid_scope"

    return Case(
        path=f"{CLIENTS}/{party.id}",
        body={"scope": "read"},
        rows=said(Row("client.updated", party.id, "")),
        effect=is_narrower,
        at_once=True,
    )


async def rotate_secret(world: World) -> Case:
    party = await world.party()

    async def is_the_only_one(answer: Any) -> bool:
        if await world.outcome(party, scope="read") != "invalid_client":
            return False
        return not await world.outcome(Party(party.id, answer["client_secret"]), scope="read")

    return Case(
        path=f"{CLIENTS}/{party.id}/rotate-secret",
        rows=said(Row("client.secret_rotated", party.id, "")),
        effect=is_the_only_one,
        at_once=True,
    )


async def _stop(world: World, party: Party, verb: str, action: str) -> Case:
    token = await world.machine_token(party)

    async def is_stopped(_answer: Any) -> bool:
        return await world.outcome(party, scope="read") == "invalid_client" and not await world.is_active(token)

    return Case(
        path=f"{CLIENTS}/{party.id}/{verb}",
        rows=said(Row(action, party.id, "")),
        effect=is_stopped,
        at_once=True,
    )


async def suspend(world: World) -> Case:
    return await _stop(world, await world.party(), "suspend", "client.suspended")


async def revoke(world: World) -> Case:
    return await _stop(world, await world.party(), "revoke", "client.revoked")


async def reactivate(world: World) -> Case:
    party = await world.party()
    token = await world.machine_token(party)
    await world.do("PATCH", f"{CLIENTS}/{party.id}/suspend")

    async def acts(_answer: Any) -> bool:
        return not await world.outcome(party, scope="read") and await world.is_active(token)

    return Case(
        path=f"{CLIENTS}/{party.id}/reactivate",
        rows=said(Row("client.reactivated", party.id, "")),
        effect=acts,
        at_once=True,
    )


async def delete(world: World) -> Case:
    party = await world.party()
    token = await world.user_token(party)

    async def is_gone(_answer: Any) -> bool:
        return await world.outcome(party, scope="read") == "invalid_client" and not await world.is_active(token)

    return Case(
        path=f"{CLIENTS}/{party.id}",
        query={"force": "true"},
        rows=said(Row("client.deleted", party.id, "force=true")),
        effect=is_gone,
        at_once=True,
    )


async def _inactive(world: World, token: str, path: str, row: Row, **query: str) -> Case:
    async def is_inactive(_answer: Any) -> bool:
        return not await world.is_active(token)

    return Case(path=path, query=query, rows=said(row), effect=is_inactive, at_once=True)


async def revoke_machine_token(world: World) -> Case:
    party = await world.party()
    token = await world.machine_token(party)
    jti = claims_of(token)["jti"]
    return await _inactive(world, token, f"/admin/tokens/{jti}", Row("token.revoked", party.id, f"machine_jti={jti}"))


async def revoke_family(world: World) -> Case:
    party = await world.party()
    token = await world.user_token(party)
    (family,) = (await world.do("GET", "/admin/tokens", client_id=party.id))["tokens"]
    row = Row("token.revoked", party.id, f"family={family['jti']}")
    return await _inactive(world, token, f"/admin/tokens/{family['jti']}", row)


async def revoke_consent(world: World) -> Case:
    party = await world.party()
    token = await world.user_token(party)
    person = await world.person()
    grants = await world.do("GET", f"/admin/users/{person.id}/grants")
    (consent,) = [each for each in grants["consent_grants"] if each["client_id"] == party.id]
    who = f"user_id={person.id} client_id={party.id} resource_id={world.resource.id}"
    said_so = f"id={consent['id']} {who} revoked_issuances=1 revoked_families=1"
    row = Row("consent_grant.revoked_admin", "", said_so)
    return await _inactive(world, token, f"/admin/grants/consent/{consent['id']}", row)


async def revoke_issuance(world: World) -> Case:
    party = await world.party()
    token = await world.user_token(party)
    jti, person = claims_of(token)["jti"], await world.person()
    who = f"subject_user_id={person.id} client_id={party.id} resource_id={world.resource.id}"
    row = Row("issuance.revoked_admin", "", f"id={jti} {who}")
    return await _inactive(world, token, f"/admin/issuances/{jti}", row)


async def revoke_issuance_with_descendants(world: World) -> Case:
    party = await world.party()
    token = await world.user_token(party)
    jti, person = claims_of(token)["jti"], await world.person()
    who = f"subject_user_id={person.id} client_id={party.id} resource_id={world.resource.id}"
    row = Row("issuance.revoked_admin", "", f"id={jti} {who} revoked_descendants=0")
    return await _inactive(world, token, f"/admin/issuances/{jti}", row, cascade="true")


MUTATIONS = (
    Mutation(name="create a client", endpoint="POST /admin/clients", again=Again.ANEW, prepare=create),
    Mutation(name="narrow a client", endpoint="PATCH /admin/clients/{id}", again=Again.SAME, prepare=narrow),
    Mutation(
        name="rotate a secret",
        endpoint="POST /admin/clients/{id}/rotate-secret",
        again=Again.ANEW,
        prepare=rotate_secret,
    ),
    Mutation(name="suspend a client", endpoint="PATCH /admin/clients/{id}/suspend", again=409, prepare=suspend),
    Mutation(name="revoke a client", endpoint="PATCH /admin/clients/{id}/revoke", again=Again.SAME, prepare=revoke),
    Mutation(
        name="reactivate a client", endpoint="PATCH /admin/clients/{id}/reactivate", again=409, prepare=reactivate
    ),
    Mutation(name="delete a client", endpoint="DELETE /admin/clients/{id}", again=400, prepare=delete),
    Mutation(
        name="revoke a machine token",
        endpoint="DELETE /admin/tokens/{jti}",
        again=Again.SAME,
        prepare=revoke_machine_token,
    ),
    Mutation(name="revoke a family", endpoint="DELETE /admin/tokens/{jti}", again=Again.SAME, prepare=revoke_family),
    Mutation(
        name="revoke a consent",
        endpoint="DELETE /admin/grants/consent/{id}",
        again=Again.SAME,
        prepare=revoke_consent,
    ),
    Mutation(
        name="revoke an issuance", endpoint="DELETE /admin/issuances/{id}", again=Again.SAME, prepare=revoke_issuance
    ),
    Mutation(
        name="revoke an issuance and what came of it",
        endpoint="DELETE /admin/issuances/{id}",
        again=Again.SAME,
        prepare=revoke_issuance_with_descendants,
    ),
)
