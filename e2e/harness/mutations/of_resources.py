"""Mutations of resources, of the lists of their policies, and of fronting links."""

from collections.abc import Awaitable, Callable
from typing import Any

from e2e.harness.mutations.mutation import Again, Case, Mutation, Row, said
from e2e.harness.mutations.world import Resource, World, unique

RESOURCES, FRONTING = "/admin/resources", "/admin/fronting"
URL = "https://app.example/done"
ALLOWED, RUNTIME, RETURNS = "exchange/allowed-clients", "runtime/client-ids", "connect/allowed-return-urls"

Effect = Callable[[Any], Awaitable[bool]]


async def create(world: World) -> Case:
    slug = unique("new")

    async def is_published(_answer: Any) -> bool:
        return bool(await world.published(slug))

    return Case(
        path=RESOURCES,
        body={"slug": slug, "backend_kind": "mint", "uri": f"https://{slug}.example.com"},
        rows=lambda answer: [Row("resource.created", "", f"id={answer['id']} slug={slug}")],
        effect=is_published,
    )


async def patch(world: World) -> Case:
    resource = await world.new_resource()
    await world.settle()

    async def has_fewer_scopes(_answer: Any) -> bool:
        return bool((await world.published(resource.slug))["scopes_supported"] == ["read"])

    return Case(
        path=f"{RESOURCES}/{resource.id}",
        body={"scopes": [{"name": "read"}]},
        rows=said(Row("resource.patched", "", f"id={resource.id} slug={resource.slug} fields=scopes")),
        effect=has_fewer_scopes,
    )


def _gone(world: World, resource: Resource) -> Effect:
    async def is_gone(_answer: Any) -> bool:
        # Not for a scope that there is: a token would stand against the deletion.
        return await world.outcome(world.reader, scope="none", resource=resource.uri) == "invalid_target"

    return is_gone


async def delete(world: World) -> Case:
    resource = await world.new_resource()
    await world.settle()
    return Case(
        path=f"{RESOURCES}/{resource.id}",
        rows=said(Row("resource.deleted", "", f"id={resource.id} slug={resource.slug}")),
        effect=_gone(world, resource),
    )


async def delete_with_links(world: World) -> Case:
    source, target = await world.new_resource(), await world.new_resource()
    await _link(world, source, target)
    await world.settle()
    return Case(
        path=f"{RESOURCES}/{source.id}",
        query={"cascade": "true"},
        rows=said(
            Row("fronting_link.deleted", "", f"source={source.slug} target={target.slug} reason=resource_cascade"),
            Row("resource.deleted", "", f"id={source.id} slug={source.slug} cascaded_links=1"),
        ),
        effect=_gone(world, source),
    )


async def allow_client(world: World) -> Case:
    return await _exchanging(world, is_allowed=False)


async def disallow_client(world: World) -> Case:
    return await _exchanging(world, is_allowed=True)


async def _exchanging(world: World, *, is_allowed: bool) -> Case:
    """Put a client on the list of those that may exchange, or take it off."""
    agent, caller = await world.party(), await world.party()
    resource = await world.new_resource(may_exchange=caller if is_allowed else None)
    await world.settle()
    token = await world.user_token(agent, resource)

    async def is_let_through(_answer: Any) -> bool:
        return not await world.exchange(caller, token, resource)

    async def is_refused(_answer: Any) -> bool:
        return await world.exchange(caller, token, resource) == "access_denied"

    return _entry(
        resource, ALLOWED, caller.id, is_there=is_allowed, effect=is_refused if is_allowed else is_let_through
    )


async def let_act(world: World) -> Case:
    return await _acting(world, is_allowed=False)


async def let_act_no_more(world: World) -> Case:
    return await _acting(world, is_allowed=True)


async def _acting(world: World, *, is_allowed: bool) -> Case:
    """Put a client on the list of those that act as a resource, or take it off."""
    agent, server = await world.party(), await world.party()
    resource = await world.new_resource(runtime=server if is_allowed else None)
    await world.settle()
    token = await world.user_token(agent, resource)

    async def is_told(_answer: Any) -> bool:
        return await world.is_active(token, server)

    async def is_not_told(_answer: Any) -> bool:
        return not await world.is_active(token, server)

    return _entry(resource, RUNTIME, server.id, is_there=is_allowed, effect=is_not_told if is_allowed else is_told)


def _entry(resource: Resource, which: str, client_id: str, *, is_there: bool, effect: Effect) -> Case:
    action = "exchange.allowed_client" if which == ALLOWED else "runtime.client"
    verb = "removed" if is_there else "added"
    row = Row(f"resource.policy.{action}.{verb}", client_id, f"slug={resource.slug} client_id={client_id}")
    path = f"{RESOURCES}/{resource.slug}/policy/{which}"
    if is_there:
        return Case(path=f"{path}/{client_id}", rows=said(row), effect=effect)
    return Case(path=path, body={"client_id": client_id}, rows=said(row), effect=effect)


async def let_return(world: World) -> Case:
    slug = await world.broker_resource()
    row = Row("resource.policy.connect.allowed_return_url.added", "", f"slug={slug} return_url={URL}")
    return Case(path=f"{RESOURCES}/{slug}/policy/{RETURNS}", body={"url": URL}, rows=said(row))


async def let_return_no_more(world: World) -> Case:
    slug = await world.broker_resource()
    path = f"{RESOURCES}/{slug}/policy/{RETURNS}"
    await world.do("POST", path, {"url": URL})
    row = Row("resource.policy.connect.allowed_return_url.removed", "", f"slug={slug} return_url={URL}")
    return Case(path=path, query={"url": URL}, rows=said(row))


async def _link(world: World, source: Resource, target: Resource) -> None:
    body = {"source": source.slug, "target": target.slug, "scope_map": {"read": ["read"]}}
    await world.do("POST", FRONTING, body)


async def link(world: World) -> Case:
    return await _fronting(world, "created")


async def try_link(world: World) -> Case:
    source, target = await world.new_resource(), await world.new_resource()
    body = {"source": source.slug, "target": target.slug, "scope_map": {"read": ["read"]}}
    return Case(path=FRONTING, query={"dry_run": "true"}, body=body, rows=said())


async def relink(world: World) -> Case:
    return await _fronting(world, "patched")


async def unlink(world: World) -> Case:
    return await _fronting(world, "deleted")


async def _fronting(world: World, verb: str) -> Case:
    """Make a link, give it another map, or cut it; a gateway has a token to exchange along it."""
    agent, gateway = await world.party(), await world.party()
    source, target = await world.new_resource(runtime=gateway), await world.new_resource()
    if verb != "created":
        await _link(world, source, target)
    await world.settle()
    token = await world.user_token(agent, source)

    async def is_led_through(_answer: Any) -> bool:
        return not await world.exchange(gateway, token, target, "write" if verb == "patched" else "read")

    async def is_refused(_answer: Any) -> bool:
        return not await is_led_through(None)

    ends, scope_map = f"source={source.slug} target={target.slug}", {"read": ["write"]}
    path = f"{FRONTING}/{source.slug}/{target.slug}"
    match verb:
        case "created":
            body = {"source": source.slug, "target": target.slug, "scope_map": {"read": ["read"]}}
            row = Row("fronting_link.created", "", f"{ends} scopes=read->read")
            return Case(path=FRONTING, body=body, rows=said(row), effect=is_led_through)
        case "patched":
            row = Row("fronting_link.patched", "", f"{ends} scopes=read->write")
            return Case(path=path, body={"scope_map": scope_map}, rows=said(row), effect=is_led_through)
        case _:
            return Case(path=path, rows=said(Row("fronting_link.deleted", "", ends)), effect=is_refused)


_POLICY = "/admin/resources/{slug}/policy/"

MUTATIONS = (
    Mutation(name="create a resource", endpoint="POST /admin/resources", again=409, prepare=create),
    Mutation(name="patch a resource", endpoint="PATCH /admin/resources/{id}", again=Again.SAME, prepare=patch),
    Mutation(name="delete a resource", endpoint="DELETE /admin/resources/{id}", again=404, prepare=delete),
    Mutation(
        name="delete a resource with its links",
        endpoint="DELETE /admin/resources/{id}",
        again=404,
        prepare=delete_with_links,
    ),
    Mutation(name="let a client exchange", endpoint=f"POST {_POLICY}{ALLOWED}", again=Again.SAME, prepare=allow_client),
    Mutation(
        name="let a client exchange no more",
        endpoint=f"DELETE {_POLICY}{ALLOWED}/{{client_id}}",
        again=Again.SAME,
        prepare=disallow_client,
    ),
    Mutation(
        name="let a client act as a resource", endpoint=f"POST {_POLICY}{RUNTIME}", again=Again.SAME, prepare=let_act
    ),
    Mutation(
        name="let a client act as a resource no more",
        endpoint=f"DELETE {_POLICY}{RUNTIME}/{{client_id}}",
        again=Again.SAME,
        prepare=let_act_no_more,
    ),
    Mutation(
        name="let Connect return",
        endpoint=f"POST {_POLICY}{RETURNS}",
        again=Again.SAME,
        prepare=let_return,
        is_shown=False,
    ),
    Mutation(
        name="let Connect return no more",
        endpoint=f"DELETE {_POLICY}{RETURNS}",
        again=Again.SAME,
        prepare=let_return_no_more,
        is_shown=False,
    ),
    Mutation(name="link two resources", endpoint="POST /admin/fronting", again=409, prepare=link),
    Mutation(name="try a link", endpoint="POST /admin/fronting", again=Again.SAME, prepare=try_link, is_shown=False),
    Mutation(
        name="give a link another map",
        endpoint="PATCH /admin/fronting/{source}/{target}",
        again=Again.SAME,
        prepare=relink,
    ),
    Mutation(name="cut a link", endpoint="DELETE /admin/fronting/{source}/{target}", again=404, prepare=unlink),
)
