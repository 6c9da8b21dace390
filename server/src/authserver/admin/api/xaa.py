"""``/admin/idps`` and ``/admin/xaa`` (admin API, 14)."""

from authserver.admin.endpoint import Body, Call, Query, endpoint
from authserver.admin.long_lists import answer_list, read_pages
from authserver.admin.records import Role
from authserver.admin.views import Status
from authserver.protocol.operator_errors import Invalid
from authserver.web.http import HttpResponse
from authserver.xaa.administration import IdpDraft
from authserver.xaa.policy_administration import UNCHANGED, PolicyPatch
from authserver.xaa.views import IdpView, MappingView, PolicyView, build_idp, build_mapping, build_policy


class IdpBody(Body):
    """What a provider is registered with; name and issuer are required."""

    name: str | None = None
    issuer: str | None = None
    jwks_uri: str | None = None
    audience: str | None = None


class IdpChange(Body):
    """What may change."""

    name: str | None = None
    enabled: bool | None = None


class PolicyBody(Body):
    """A policy; name and provider are required. Scopes: absent is no bound, empty is nothing at all."""

    name: str | None = None
    idp_id: str | None = None
    client_ids: list[str] | None = None
    scopes: list[str] | None = None
    resources: list[str] | None = None


class PolicyChange(Body):
    """What may change; lists are replaced whole."""

    name: str | None = None
    client_ids: list[str] | None = None
    scopes: list[str] | None = None
    scopes_unrestricted: bool | None = None
    resources: list[str] | None = None
    enabled: bool | None = None


class MappingBody(Body):
    """Who a provider's user is here; provider and subject are required."""

    idp_id: str | None = None
    idp_subject: str | None = None
    local_user_id: str | None = None


@endpoint("POST", "/admin/idps", role=Role.OPERATOR, status=201)
async def register_idp(call: Call[IdpBody]) -> IdpView:
    """Trust a provider."""
    body = call.body
    draft = IdpDraft(
        name=body.name or "", issuer=body.issuer or "", jwks_uri=body.jwks_uri or "", audience=body.audience or ""
    )
    return build_idp(await call.parts.idps.register(draft, now=call.now))


@endpoint("GET", "/admin/idps", role=Role.READ_ONLY)
async def list_idps(call: Call[None]) -> list[IdpView]:
    """List trusted providers, oldest first."""
    return [build_idp(idp) for idp in await call.parts.idps.every()]


@endpoint("GET", "/admin/idps/{id}", role=Role.READ_ONLY, refusals=(404,))
async def get_idp(call: Call[None]) -> IdpView:
    """Show a trusted provider."""
    return build_idp(await call.parts.idps.get(call.path["id"]))


@endpoint("PUT", "/admin/idps/{id}", role=Role.OPERATOR, refusals=(404,))
async def update_idp(call: Call[IdpChange]) -> IdpView:
    """Rename a provider, or switch it on or off."""
    body = call.body
    return build_idp(await call.parts.idps.update(call.path["id"], name=body.name, enabled=body.enabled, now=call.now))


@endpoint("DELETE", "/admin/idps/{id}", role=Role.OPERATOR, status=204, refusals=(404,))
async def delete_idp(call: Call[None]) -> None:
    """Trust a provider no longer; its policies and mappings go with it."""
    await call.parts.idps.delete(call.path["id"], now=call.now)


@endpoint("POST", "/admin/idps/{id}/refresh-keys", role=Role.OPERATOR, refusals=(404, 502))
async def refresh_keys(call: Call[None]) -> Status:
    """Forget a provider's keys and fetch them anew."""
    await call.parts.idps.refresh_keys(call.path["id"], now=call.now)
    return Status(status="refreshed")


@endpoint("POST", "/admin/xaa/policies", role=Role.OPERATOR, status=201, refusals=(404,))
async def create_policy(call: Call[PolicyBody]) -> PolicyView:
    """Let assertions of a provider through."""
    body = call.body
    policy = await call.parts.xaa_policies.create(
        name=body.name or "",
        idp_id=_required("idp_id", body.idp_id),
        client_ids=tuple(body.client_ids or ()),
        scopes=None if body.scopes is None else tuple(body.scopes),
        resources=tuple(body.resources or ()),
        now=call.now,
    )
    return build_policy(policy)


@endpoint("GET", "/admin/xaa/policies", role=Role.READ_ONLY, query={"idp_id": Query.TEXT})
async def list_policies(call: Call[None]) -> list[PolicyView]:
    """List policies in the order in which they are tried."""
    return [build_policy(policy) for policy in await call.parts.xaa_policies.every(idp_id=call.query.get("idp_id"))]


@endpoint("GET", "/admin/xaa/policies/{id}", role=Role.READ_ONLY, refusals=(404,))
async def get_policy(call: Call[None]) -> PolicyView:
    """Show a policy."""
    return build_policy(await call.parts.xaa_policies.get(call.path["id"]))


@endpoint("PUT", "/admin/xaa/policies/{id}", role=Role.OPERATOR, refusals=(404,))
async def update_policy(call: Call[PolicyChange]) -> PolicyView:
    """Change a policy; an empty change writes nothing."""
    body = call.body
    if body.scopes_unrestricted and body.scopes is not None:
        raise Invalid("scopes and scopes_unrestricted exclude each other")
    unbounded = None if body.scopes_unrestricted else UNCHANGED
    patch = PolicyPatch(
        name=body.name,
        client_ids=None if body.client_ids is None else tuple(body.client_ids),
        scopes=unbounded if body.scopes is None else tuple(body.scopes),
        resources=None if body.resources is None else tuple(body.resources),
        enabled=body.enabled,
    )
    return build_policy(await call.parts.xaa_policies.update(call.path["id"], patch, now=call.now))


@endpoint("DELETE", "/admin/xaa/policies/{id}", role=Role.OPERATOR, status=204, refusals=(404,))
async def delete_policy(call: Call[None]) -> None:
    """Delete a policy."""
    await call.parts.xaa_policies.delete(call.path["id"], now=call.now)


@endpoint("POST", "/admin/xaa/subject-mappings", role=Role.OPERATOR, status=201, refusals=(404,))
async def create_mapping(call: Call[MappingBody]) -> MappingView:
    """Say who a provider's user is here."""
    body = call.body
    mapping = await call.parts.subject_mappings.create(
        idp_id=_required("idp_id", body.idp_id),
        idp_subject=_required("idp_subject", body.idp_subject),
        local_user_id=body.local_user_id,
        now=call.now,
    )
    return build_mapping(mapping)


@endpoint("GET", "/admin/xaa/subject-mappings", role=Role.AUDITOR, query={"idp_id": Query.TEXT})
async def list_mappings(call: Call[None]) -> list[MappingView] | HttpResponse:
    """List mappings."""
    mappings, idp_id = call.parts.subject_mappings, call.query.get("idp_id")
    pages = read_pages(lambda size, last: mappings.page(limit=size, idp_id=idp_id, after=last))
    return await answer_list(pages, build_mapping)


@endpoint("DELETE", "/admin/xaa/subject-mappings/{id}", role=Role.OPERATOR, status=204, refusals=(404,))
async def delete_mapping(call: Call[None]) -> None:
    """Delete a mapping."""
    await call.parts.subject_mappings.delete(call.path["id"], now=call.now)


def _required(name: str, value: str | None) -> str:
    if not value:
        raise Invalid(f"{name} is required")
    return value


ENDPOINTS = (
    register_idp,
    list_idps,
    get_idp,
    update_idp,
    delete_idp,
    refresh_keys,
    create_policy,
    list_policies,
    get_policy,
    update_policy,
    delete_policy,
    create_mapping,
    list_mappings,
    delete_mapping,
)
