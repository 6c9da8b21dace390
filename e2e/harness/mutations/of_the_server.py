"""Mutations of settings and signing keys, and what looks like one and is none."""

from typing import Any

import jwt

from e2e.harness.mutations.mutation import Again, Case, Mutation, Row, said
from e2e.harness.mutations.world import MACHINE, World

DCR, KEYS = "/admin/settings/dcr", "/admin/keys"
MOST_MOMENTS = 600


async def close_registration(world: World) -> Case:
    await world.do("PATCH", DCR, {"mode": "open"})
    await world.settle()
    document = {"client_name": "Anybody", "redirect_uris": ["https://client.example/cb"]}

    async def is_closed(_answer: Any) -> bool:
        return (await world.there.post("/oauth/register", json=document)).status_code == 403

    return Case(
        path=DCR,
        body={"mode": "admin_only"},
        rows=said(Row("dcr.mode_updated", "", "dcr mode changed from open to admin_only")),
        effect=is_closed,
    )


async def rotate(world: World) -> Case:
    async def is_published(answer: Any) -> bool:
        return answer["kid"] in await world.kids()

    return Case(
        path=f"{KEYS}/rotate",
        rows=lambda answer: [Row("key.rotated", "", f"admin rotated signing key: kid={answer['kid']}")],
        effect=is_published,
        is_new=True,
    )


async def retire(world: World) -> Case:
    old = (await world.kids(here=True))[0]
    new = (await world.do("POST", f"{KEYS}/rotate"))["kid"]
    for _ in range(MOST_MOMENTS):
        if jwt.get_unverified_header(await world.machine_token(world.reader))["kid"] == new:
            break
        await world.pass_time()
    else:
        raise AssertionError(f"{new} does not sign")
    await world.settle()

    async def is_gone(_answer: Any) -> bool:
        return old not in await world.kids()

    return Case(path=f"{KEYS}/{old}/retire", rows=said(Row("key.retired", "", f"kid={old}")), effect=is_gone)


async def verify_key(world: World) -> Case:
    return Case(path="/admin/auth/verify", rows=said(Row("admin.ui.login", "", "api_key_verified")))


async def simulate(world: World) -> Case:
    body = {"client_id": world.reader.id, "grant_type": MACHINE, "resource": world.resource.uri, "scope": "read"}
    return Case(path="/admin/tools/simulate", body=body, rows=said())


async def inspect(world: World) -> Case:
    body = {"token": await world.machine_token(world.reader)}
    return Case(path="/admin/tools/token-inspect", body=body, rows=said())


MUTATIONS = (
    Mutation(
        name="close registration", endpoint="PATCH /admin/settings/dcr", again=Again.SAME, prepare=close_registration
    ),
    Mutation(name="rotate the key", endpoint="POST /admin/keys/rotate", again=Again.ANEW, prepare=rotate),
    # First: what it signed counts for nothing afterwards.
    Mutation(name="retire a key", endpoint="POST /admin/keys/{kid}/retire", again=404, prepare=retire, is_first=True),
    Mutation(
        name="verify the key", endpoint="POST /admin/auth/verify", again=Again.ANEW, prepare=verify_key, is_shown=False
    ),
    Mutation(
        name="simulate a request",
        endpoint="POST /admin/tools/simulate",
        again=Again.SAME,
        prepare=simulate,
        is_shown=False,
    ),
    Mutation(
        name="inspect a token",
        endpoint="POST /admin/tools/token-inspect",
        again=Again.SAME,
        prepare=inspect,
        is_shown=False,
    ),
)
