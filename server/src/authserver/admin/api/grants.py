"""``/admin/users/{id}/grants`` and ``/admin/grants`` (admin API, 10)."""

from typing_extensions import TypedDict

from authserver.admin.endpoint import Call, endpoint
from authserver.admin.long_lists import answer_list, read_pages
from authserver.admin.records import Role
from authserver.authorization.consent_store import list_consents
from authserver.authorization.records import ConsentGrant
from authserver.authorization.views import ConsentView, build_consent
from authserver.web.http import HttpResponse


class NoBrokerGrant(TypedDict):
    """There are none before there is a token vault."""


class GrantsOfUser(TypedDict):
    """What a user allowed, revoked or not."""

    consent_grants: list[ConsentView]
    broker_grants: list[NoBrokerGrant]


@endpoint("GET", "/admin/users/{id}/grants", role=Role.AUDITOR)
async def list_grants_of_user(call: Call[None]) -> GrantsOfUser | HttpResponse:
    """List what a user allowed, newest first; a user who is not known allowed nothing."""

    async def read(size: int, last: ConsentGrant | None) -> list[ConsentGrant]:
        before = None if last is None else last.id
        return await list_consents(call.parts.db, call.path["id"], limit=size, before=before)

    return await answer_list(
        read_pages(read), build_consent, before=b'{"consent_grants":[', behind=b'],"broker_grants":[]}'
    )


@endpoint("DELETE", "/admin/grants/consent/{id}", role=Role.OPERATOR, status=204)
async def revoke_consent(call: Call[None]) -> None:
    """Take a consent back, with every family and token that rests on it; may be repeated."""
    await call.parts.consents.revoke(call.path["id"], now=call.now)


ENDPOINTS = (list_grants_of_user, revoke_consent)
