"""``/admin/users/{id}/grants`` and ``/admin/grants`` (admin API, 10)."""

from typing import Any

import orjson
from typing_extensions import TypedDict

from authserver.admin.endpoint import Call, StrictBody, endpoint
from authserver.admin.long_lists import answer_list, read_pages
from authserver.admin.records import Role
from authserver.authorization.consent_store import list_consents
from authserver.authorization.records import ConsentGrant
from authserver.authorization.views import ConsentView, build_consent
from authserver.broker.grant_administration import NewCredential
from authserver.broker.views import BrokerGrantView, build_grant
from authserver.protocol.operator_errors import Invalid
from authserver.web.http import HttpResponse

_OK = 200


class BrokerGrantBody(StrictBody):
    """A user's credential at a provider, which is named by id or by slug; without scopes it is good for all there are."""

    user_id: str | None = None
    broker_provider_id: str | None = None
    broker_provider_slug: str | None = None
    credential: dict[str, Any] | None = None
    scopes_granted: list[str] | None = None


class GrantsOfUser(TypedDict):
    """What a user allowed, and the credentials that the user has elsewhere, revoked or not."""

    consent_grants: list[ConsentView]
    broker_grants: list[BrokerGrantView]


@endpoint("GET", "/admin/users/{id}/grants", role=Role.AUDITOR)
async def list_grants_of_user(call: Call[None]) -> GrantsOfUser | HttpResponse:
    """List what a user allowed, newest first; a user who is not known allowed nothing."""

    async def read(size: int, last: ConsentGrant | None) -> list[ConsentGrant]:
        before = None if last is None else last.id
        return await list_consents(call.parts.db, call.path["id"], limit=size, before=before)

    # One for each provider at most: these are few.
    grants = orjson.dumps([build_grant(grant) for grant in await call.parts.broker_grants.of_user(call.path["id"])])
    return await answer_list(
        read_pages(read), build_consent, before=b'{"consent_grants":[', behind=b'],"broker_grants":' + grants + b"}"
    )


@endpoint("DELETE", "/admin/grants/consent/{id}", role=Role.OPERATOR, status=204)
async def revoke_consent(call: Call[None]) -> None:
    """Take a consent back, with every family and token that rests on it; may be repeated."""
    await call.parts.consents.revoke(call.path["id"], now=call.now)


@endpoint("POST", "/admin/grants/broker", role=Role.OPERATOR, status=201, also=(200,), refusals=(404, 409))
async def set_broker_grant(call: Call[BrokerGrantBody]) -> BrokerGrantView:
    """Give a user a credential at a provider that no browser connects to; 200 when it takes the place of another."""
    body = call.body
    if (body.broker_provider_id is None) == (body.broker_provider_slug is None):
        raise Invalid("exactly one of broker_provider_id and broker_provider_slug is required")
    provider_id = await call.parts.broker_providers.get_id(
        provider_id=body.broker_provider_id or "", slug=body.broker_provider_slug or ""
    )
    grant = await call.parts.broker_grants.set(
        NewCredential(
            user_id=body.user_id or "",
            provider_id=provider_id,
            credential=body.credential or {},
            scopes=body.scopes_granted,
        ),
        now=call.now,
    )
    if grant.version > 1:
        call.status = _OK
    return build_grant(grant)


@endpoint("DELETE", "/admin/grants/broker/{id}", role=Role.OPERATOR, status=204)
async def revoke_broker_grant(call: Call[None]) -> None:
    """Revoke a credential, so that nothing more is vended for it; may be repeated."""
    await call.parts.broker_grants.revoke(call.path["id"], now=call.now)


ENDPOINTS = (list_grants_of_user, revoke_consent, set_broker_grant, revoke_broker_grant)
