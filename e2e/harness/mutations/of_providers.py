"""Mutations of trusted identity providers, their policies and who their users are."""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import jwt

from e2e.harness.mutations.mutation import Again, Case, Mutation, Row, said
from e2e.harness.mutations.world import Party, SigningKey, World, claims_of, unique

IDPS, POLICIES, MAPPINGS = "/admin/idps", "/admin/xaa/policies", "/admin/xaa/subject-mappings"
DENIED, UNTRUSTED = "access_denied", "invalid_grant"


@dataclass(kw_only=True)
class Provider:
    """A provider with a key, and a client that its users use.

    Attributes:
        id: As it is registered; empty before.
    """

    world: World
    client: Party
    path: str = field(default_factory=lambda: f"/{unique('keys')}")
    key: SigningKey = field(default_factory=SigningKey)
    jwks_uri: str = ""
    id: str = ""

    @property
    def issuer(self) -> str:
        """Where its keys are is what tells it from others."""
        return f"{self.jwks_uri}/issuer"

    @property
    def body(self) -> dict[str, str]:
        return {"name": "Acme", "issuer": self.issuer, "jwks_uri": self.jwks_uri}

    def publish(self, key: SigningKey) -> None:
        self.jwks_uri = self.world.publish(self.path, key.document())

    async def register(self) -> None:
        self.id = (await self.world.do("POST", IDPS, self.body))["id"]

    async def policy(self) -> dict[str, Any]:
        """Let its assertions through."""
        created: dict[str, Any] = await self.world.do("POST", POLICIES, {"name": "all", "idp_id": self.id})
        return created

    async def map(self, user_id: str) -> str:
        """Say who its user is here; return the mapping's id."""
        body = {"idp_id": self.id, "idp_subject": "alice", "local_user_id": user_id}
        return str((await self.world.do("POST", MAPPINGS, body))["id"])

    def assertion(self) -> str:
        now = self.world.now()
        claims = {
            "iss": self.issuer,
            "sub": "alice",
            "aud": self.world.issuer,
            "client_id": self.client.id,
            "jti": uuid.uuid4().hex,
            "iat": now,
            "exp": now + 300,
        }
        header = {"typ": "oauth-id-jag+jwt", "kid": self.key.kid}
        return jwt.encode(claims, self.key.key, algorithm="ES256", headers=header)

    async def outcome(self) -> str:
        """Present a new assertion to the second instance; return the error, empty for none."""
        answer = await self.world.trade(self.client, self.assertion())
        assert answer.status_code < 500, answer.text
        return "" if answer.status_code == 200 else str(answer.json()["error"])

    async def subject(self) -> str:
        """Return as whom its user acts at the second instance."""
        answer = await self.world.trade(self.client, self.assertion())
        assert answer.status_code == 200, answer.text
        return str(claims_of(answer.json()["access_token"])["sub"])

    def gives(self, error: str) -> Callable[[Any], Awaitable[bool]]:
        """Return the effect that assertions are answered so."""

        async def is_so(_answer: Any) -> bool:
            return await self.outcome() == error

        return is_so


async def _provider(world: World) -> Provider:
    """Return a provider that nobody trusts yet."""
    provider = Provider(world=world, client=await world.party())
    provider.publish(provider.key)
    return provider


async def _trusted(world: World, *, has_policy: bool) -> Provider:
    provider = await _provider(world)
    await provider.register()
    if has_policy:
        await provider.policy()
    await world.settle()
    return provider


def _row(action: str, provider: Provider) -> Row:
    return Row(action, "", f"id={provider.id} issuer={provider.issuer}")


async def register(world: World) -> Case:
    provider = await _provider(world)
    return Case(
        path=IDPS,
        body=provider.body,
        rows=lambda answer: [Row("idp.registered", "", f"id={answer['id']} issuer={provider.issuer}")],
        effect=provider.gives(DENIED),
    )


async def switch_off(world: World) -> Case:
    provider = await _trusted(world, has_policy=True)
    return Case(
        path=f"{IDPS}/{provider.id}",
        body={"enabled": False},
        rows=said(_row("idp.updated", provider)),
        effect=provider.gives(UNTRUSTED),
    )


async def distrust(world: World) -> Case:
    provider = await _trusted(world, has_policy=True)
    return Case(
        path=f"{IDPS}/{provider.id}", rows=said(_row("idp.deleted", provider)), effect=provider.gives(UNTRUSTED)
    )


async def refresh_keys(world: World) -> Case:
    provider = await _trusted(world, has_policy=True)
    assert await provider.outcome() == ""
    # Its key is replaced, which those who hold the old one do not notice.
    provider.publish(SigningKey())
    return Case(
        path=f"{IDPS}/{provider.id}/refresh-keys",
        rows=said(_row("idp.keys_refreshed", provider)),
        effect=provider.gives(UNTRUSTED),
    )


async def create_policy(world: World) -> Case:
    provider = await _trusted(world, has_policy=False)
    return Case(
        path=POLICIES,
        body={"name": "all", "idp_id": provider.id},
        rows=lambda answer: [Row("xaa_policy.created", "", f"id={answer['id']} idp_id={provider.id} name=all")],
        effect=provider.gives(""),
    )


async def _policy(world: World, verb: str, body: object = None) -> Case:
    provider = await _trusted(world, has_policy=False)
    policy = await provider.policy()
    await world.settle()
    return Case(
        path=f"{POLICIES}/{policy['id']}",
        body=body,
        rows=said(Row(f"xaa_policy.{verb}", "", f"id={policy['id']} idp_id={provider.id} name=all")),
        effect=provider.gives(DENIED),
    )


async def switch_policy_off(world: World) -> Case:
    return await _policy(world, "updated", {"enabled": False})


async def delete_policy(world: World) -> Case:
    return await _policy(world, "deleted")


async def create_mapping(world: World) -> Case:
    provider, person = await _trusted(world, has_policy=True), await world.person()

    async def is_mapped(_answer: Any) -> bool:
        return await provider.subject() == person.id

    return Case(
        path=MAPPINGS,
        body={"idp_id": provider.id, "idp_subject": "alice", "local_user_id": person.id},
        rows=lambda answer: [Row("xaa_subject_mapping.created", "", f"id={answer['id']} idp_id={provider.id}")],
        effect=is_mapped,
        at_once=True,
    )


async def delete_mapping(world: World) -> Case:
    provider = await _trusted(world, has_policy=True)
    mapping = await provider.map((await world.person()).id)

    async def is_unmapped(_answer: Any) -> bool:
        return await provider.subject() == f"{provider.issuer}:alice"

    return Case(
        path=f"{MAPPINGS}/{mapping}",
        rows=said(Row("xaa_subject_mapping.deleted", "", f"id={mapping} idp_id={provider.id}")),
        effect=is_unmapped,
        at_once=True,
    )


MUTATIONS = (
    Mutation(name="trust a provider", endpoint="POST /admin/idps", again=400, prepare=register),
    Mutation(name="switch a provider off", endpoint="PUT /admin/idps/{id}", again=Again.SAME, prepare=switch_off),
    Mutation(name="trust a provider no longer", endpoint="DELETE /admin/idps/{id}", again=404, prepare=distrust),
    Mutation(
        name="fetch a provider's keys anew",
        endpoint="POST /admin/idps/{id}/refresh-keys",
        again=Again.ANEW,
        prepare=refresh_keys,
    ),
    Mutation(
        name="let assertions through", endpoint="POST /admin/xaa/policies", again=Again.ANEW, prepare=create_policy
    ),
    Mutation(
        name="switch a policy off",
        endpoint="PUT /admin/xaa/policies/{id}",
        again=Again.SAME,
        prepare=switch_policy_off,
    ),
    Mutation(name="delete a policy", endpoint="DELETE /admin/xaa/policies/{id}", again=404, prepare=delete_policy),
    Mutation(name="map a subject", endpoint="POST /admin/xaa/subject-mappings", again=400, prepare=create_mapping),
    Mutation(
        name="map a subject no more",
        endpoint="DELETE /admin/xaa/subject-mappings/{id}",
        again=404,
        prepare=delete_mapping,
    ),
)
