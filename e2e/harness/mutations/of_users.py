"""Mutations of users and operators."""

from typing import Any

from e2e.harness.mutations.mutation import Again, Case, Mutation, Row, said
from e2e.harness.mutations.world import PASSWORD, Account, World, unique

USERS, OPERATORS = "/admin/users", "/admin/operators"


async def create(world: World) -> Case:
    email = f"{unique('new')}@example.com"

    async def signs_in(_answer: Any) -> bool:
        return await world.signs_in(email, PASSWORD)

    return Case(
        path=USERS,
        body={"email": email, "password": PASSWORD},
        rows=lambda answer: [Row("user.created", "", f"user={answer['id']}")],
        effect=signs_in,
        at_once=True,
    )


async def rename(world: World) -> Case:
    account, email = await world.account(), f"{unique('other')}@example.com"

    async def signs_in(_answer: Any) -> bool:
        return await world.signs_in(email, PASSWORD)

    return Case(
        path=f"{USERS}/{account.id}",
        body={"email": email, "name": "Ada"},
        rows=said(Row("user.updated", "", f"user={account.id}")),
        effect=signs_in,
        at_once=True,
    )


async def set_password(world: World) -> Case:
    account, password = await world.account(), unique("password")

    async def signs_in(_answer: Any) -> bool:
        return await world.signs_in(account.email, password)

    return Case(
        path=f"{USERS}/{account.id}/password",
        body={"password": password},
        rows=said(Row("user.password_set", "", f"user={account.id}")),
        effect=signs_in,
        at_once=True,
    )


async def _with_token(world: World) -> tuple[Account, str]:
    account = await world.account()
    return account, await world.user_token(await world.party(), account=account)


async def disable(world: World) -> Case:
    account, token = await _with_token(world)

    async def is_shut_out(_answer: Any) -> bool:
        return not await world.is_active(token)

    return Case(
        path=f"{USERS}/{account.id}/disable",
        rows=said(Row("user.disabled", "", f"user={account.id}")),
        effect=is_shut_out,
        at_once=True,
    )


async def enable(world: World) -> Case:
    account, token = await _with_token(world)
    await world.do("PATCH", f"{USERS}/{account.id}/disable")

    async def is_let_in(_answer: Any) -> bool:
        return await world.is_active(token)

    return Case(
        path=f"{USERS}/{account.id}/enable",
        rows=said(Row("user.enabled", "", f"user={account.id}")),
        effect=is_let_in,
        at_once=True,
    )


async def log_out(world: World) -> Case:
    account, token = await _with_token(world)

    async def is_logged_out(_answer: Any) -> bool:
        return not await world.is_active(token)

    return Case(
        path=f"{USERS}/{account.id}/tokens",
        rows=lambda answer: [
            Row("user.force_logout", "", f"user={account.id} revoked={answer['tokens_revoked']}"),
        ],
        effect=is_logged_out,
        at_once=True,
    )


async def delete(world: World) -> Case:
    account, token = await _with_token(world)

    async def is_gone(_answer: Any) -> bool:
        return not await world.is_active(token)

    return Case(
        path=f"{USERS}/{account.id}",
        query={"force": "true"},
        rows=said(Row("user.deleted", "", f"user={account.id} force=true")),
        effect=is_gone,
        at_once=True,
    )


async def _status_there(world: World, key: str) -> int:
    answer = await world.admin_there.get("/admin/clients", headers={"authorization": f"Bearer {key}"})
    return answer.status_code


async def create_operator(world: World) -> Case:
    name = unique("op")

    async def is_let_in(answer: Any) -> bool:
        return await _status_there(world, answer["key"]) == 200

    return Case(
        path=OPERATORS,
        body={"name": name, "role": "auditor"},
        rows=said(Row("operator.created", "", f"name={name} role=auditor")),
        effect=is_let_in,
        is_new=True,
        at_once=True,
    )


async def revoke_operator(world: World) -> Case:
    name = unique("op")
    key = (await world.do("POST", OPERATORS, {"name": name, "role": "auditor"}))["key"]

    async def is_shut_out(_answer: Any) -> bool:
        return await _status_there(world, key) == 401

    return Case(
        path=f"{OPERATORS}/{name}",
        rows=said(Row("operator.revoked", "", f"name={name}")),
        effect=is_shut_out,
        at_once=True,
    )


MUTATIONS = (
    Mutation(name="create a user", endpoint="POST /admin/users", again=409, prepare=create),
    Mutation(name="rename a user", endpoint="PATCH /admin/users/{id}", again=Again.SAME, prepare=rename),
    Mutation(name="set a password", endpoint="POST /admin/users/{id}/password", again=Again.ANEW, prepare=set_password),
    Mutation(name="disable a user", endpoint="PATCH /admin/users/{id}/disable", again=409, prepare=disable),
    Mutation(name="enable a user", endpoint="PATCH /admin/users/{id}/enable", again=409, prepare=enable),
    Mutation(name="log a user out", endpoint="DELETE /admin/users/{id}/tokens", again=Again.ANEW, prepare=log_out),
    Mutation(name="delete a user", endpoint="DELETE /admin/users/{id}", again=404, prepare=delete),
    Mutation(name="create an operator", endpoint="POST /admin/operators", again=409, prepare=create_operator),
    Mutation(
        name="revoke an operator",
        endpoint="DELETE /admin/operators/{name}",
        again=Again.SAME,
        prepare=revoke_operator,
    ),
)
