"""Mutations of the token vault: providers, and the credentials that operators set. The public listener shows nothing of them."""

from typing import Any

from e2e.harness.mutations.mutation import Again, Case, Mutation, Row, said
from e2e.harness.mutations.world import BROKER_PROVIDERS, World, unique

GRANTS = "/admin/grants/broker"


async def create(world: World) -> Case:
    slug = unique("provider")
    return Case(
        path=BROKER_PROVIDERS,
        body={"slug": slug, "display_name": "Search", "protocol": "api_key"},
        rows=lambda answer: [Row("broker_provider.created", "", f"id={answer['id']} slug={slug}")],
    )


async def patch(world: World) -> Case:
    provider = await world.broker_provider()
    about = f"id={provider['id']} slug={provider['slug']} fields=display_name"
    return Case(
        path=f"{BROKER_PROVIDERS}/{provider['id']}",
        body={"display_name": "Another"},
        rows=said(Row("broker_provider.patched", "", about)),
    )


async def delete(world: World) -> Case:
    provider = await world.broker_provider()
    return Case(
        path=f"{BROKER_PROVIDERS}/{provider['id']}",
        rows=said(Row("broker_provider.deleted", "", f"id={provider['id']}")),
    )


async def _credential(world: World) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give somebody a credential; return what was sent and what was answered."""
    user, provider = await world.account(), await world.broker_provider()
    body = {"user_id": user.id, "broker_provider_id": provider["id"], "credential": {"api_key": unique("key")}}
    return body, await world.do("POST", GRANTS, body)


def _about(grant: Any) -> str:
    return f"id={grant['id']} user_id={grant['user_id']} broker_provider_id={grant['broker_provider_id']}"


async def replace(world: World) -> Case:
    body, _ = await _credential(world)
    return Case(
        path=GRANTS,
        body=body,
        rows=lambda answer: [Row("broker_grant.created_admin", "", f"{_about(answer)} version={answer['version']}")],
    )


async def revoke(world: World) -> Case:
    _, grant = await _credential(world)
    return Case(path=f"{GRANTS}/{grant['id']}", rows=said(Row("broker_grant.revoked_admin", "", _about(grant))))


_PROVIDER = "/admin/broker-providers/{id}"

MUTATIONS = (
    Mutation(
        name="create a broker provider",
        endpoint="POST /admin/broker-providers",
        again=409,
        prepare=create,
        is_shown=False,
    ),
    Mutation(
        name="patch a broker provider", endpoint=f"PATCH {_PROVIDER}", again=Again.SAME, prepare=patch, is_shown=False
    ),
    Mutation(
        name="delete a broker provider", endpoint=f"DELETE {_PROVIDER}", again=404, prepare=delete, is_shown=False
    ),
    Mutation(
        name="replace a credential",
        endpoint="POST /admin/grants/broker",
        again=Again.ANEW,
        prepare=replace,
        is_shown=False,
    ),
    Mutation(
        name="revoke a credential",
        endpoint="DELETE /admin/grants/broker/{id}",
        again=Again.SAME,
        prepare=revoke,
        is_shown=False,
    ),
)
