"""``/admin/issuances`` (admin API, 11)."""

from typing_extensions import TypedDict

from authserver.admin.endpoint import Call, Query, endpoint
from authserver.admin.records import Role
from authserver.protocol.times import spell_time
from authserver.tokens.administration import LISTED, MOST_LISTED, SINCE
from authserver.tokens.records import IssuanceFilter
from authserver.tokens.views import IssuanceView, build_issuance

_ZERO = "0001-01-01T00:00:00Z"


class Issuances(TypedDict):
    """Tokens, newest first, and since when."""

    issuances: list[IssuanceView]
    since: str
    count: int


class Lineage(TypedDict):
    """A token, what it was exchanged from up to the root, and what was exchanged from it down to the leaves."""

    issuance: IssuanceView
    ancestors: list[IssuanceView]
    descendants: list[IssuanceView]


@endpoint(
    "GET",
    "/admin/issuances",
    role=Role.AUDITOR,
    query={
        "user": Query.TEXT,
        "client": Query.TEXT,
        "resource": Query.TEXT,
        "jti": Query.TEXT,
        "since": Query.TIME,
        "limit": Query.NUMBER,
    },
)
async def list_all_issuances(call: Call[None]) -> Issuances:
    """List what was issued to a user, by a client, for a resource, or one token."""
    wanted = IssuanceFilter(
        user_id=call.query.get("user") or None,
        client_id=call.query.get("client") or None,
        resource_id=call.query.get("resource") or None,
        jti=call.query.get("jti") or None,
    )
    since, limit = call.now - SINCE, LISTED
    if wanted.jti is None:
        stated = call.time("since")
        since = since if stated is None else stated
        limit = call.number("limit", default=LISTED, least=1, most=MOST_LISTED)
    found = await call.parts.issuances.list_issuances(wanted, since=since, limit=limit, now=call.now)
    return Issuances(
        issuances=[build_issuance(issuance) for issuance in found],
        since=spell_time(since) if wanted.jti is None else _ZERO,
        count=len(found),
    )


@endpoint("GET", "/admin/issuances/{id}", role=Role.AUDITOR, refusals=(404,))
async def get_issuance(call: Call[None]) -> IssuanceView:
    """Show one token: who it is about, of which client, for what."""
    return build_issuance(await call.parts.issuances.get_issuance(call.path["id"]))


@endpoint("GET", "/admin/issuances/{id}/lineage", role=Role.AUDITOR, refusals=(404,))
async def get_lineage(call: Call[None]) -> Lineage:
    """Show what a token was exchanged from, root first, and what was exchanged from it, oldest first."""
    lineage = await call.parts.issuances.get_lineage(call.path["id"])
    return Lineage(
        issuance=build_issuance(lineage.issuance),
        ancestors=[build_issuance(issuance) for issuance in lineage.ancestors],
        descendants=[build_issuance(issuance) for issuance in lineage.descendants],
    )


@endpoint("DELETE", "/admin/issuances/{id}", role=Role.OPERATOR, status=204, query={"cascade": Query.FLAG})
async def revoke_issuance(call: Call[None]) -> None:
    """Revoke one token; with ``cascade``, what was exchanged from it, too. May be repeated."""
    await call.parts.issuances.revoke(call.path["id"], cascade=call.flag("cascade"), now=call.now)


ENDPOINTS = (list_all_issuances, get_issuance, get_lineage, revoke_issuance)
