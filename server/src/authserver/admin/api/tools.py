"""``/admin/tools``: what explains a failure before or after it happened (admin API, 19)."""

from typing import Any, cast

from typing_extensions import TypedDict

from authserver.admin.endpoint import Body, Call, endpoint
from authserver.admin.records import Role
from authserver.admin.simulation import Question
from authserver.admin.token_inspection import TokenInspector
from authserver.protocol.grant_types import AUTHORIZATION_CODE
from authserver.tokens.views import IssuanceView, build_issuance


class SimulationBody(Body):
    """May a client, for a user, get scopes at a resource? The client is required; the grant is the code grant."""

    client_id: str | None = None
    grant_type: str | None = None
    user_id: str | None = None
    resource: str | None = None
    scope: str | None = None


class RefusalView(TypedDict):
    """The refusal that the client would get, and what it means."""

    error: str
    status: int
    reason: str
    description: str
    meaning: str
    fix: str


class VerdictView(TypedDict):
    """``allowed``, ``user_is_asked`` or ``refused``, and what was looked at; in a refusal the last step says no."""

    outcome: str
    scopes: list[str]
    resource_id: str
    steps: list[dict[str, Any]]
    refusal: RefusalView | None


class TokenBody(Body):
    """A token; required."""

    token: str | None = None


class InspectionView(TypedDict):
    """What a token says, whether it is ours, and why it does not count if it does not."""

    header: dict[str, Any]
    claims: dict[str, Any]
    ours: bool
    active: bool
    reasons: list[str]
    issuance: IssuanceView | None


@endpoint("POST", "/admin/tools/simulate", role=Role.AUDITOR)
async def simulate(call: Call[SimulationBody]) -> VerdictView:
    """Tell what would come of a request, and which step says no; nothing is issued."""
    body = call.body
    question = Question(
        grant_type=body.grant_type or AUTHORIZATION_CODE,
        client_id=body.client_id or "",
        user_id=body.user_id or "",
        resource=body.resource or "",
        scope=body.scope,
    )
    verdict = await call.parts.simulator().simulate(question, now=call.now)
    return VerdictView(
        outcome=verdict.outcome,
        scopes=list(verdict.scopes),
        resource_id=verdict.resource_id or "",
        steps=[dict(step) for step in verdict.steps],
        refusal=None if verdict.refusal is None else cast("RefusalView", dict(verdict.refusal)),
    )


@endpoint("POST", "/admin/tools/token-inspect", role=Role.AUDITOR)
async def inspect_token(call: Call[TokenBody]) -> InspectionView:
    """Take an access token apart."""
    parts = call.parts
    keyring = (await parts.keys()).keyring
    inspector = TokenInspector(db=parts.db, keyring=keyring, issuer=parts.config.server.issuer)
    found = await inspector.inspect(call.body.token or "", now=call.now)
    return InspectionView(
        header=found.header,
        claims=found.claims,
        ours=found.is_ours,
        active=found.is_active,
        reasons=found.reasons,
        issuance=None if found.issuance is None else build_issuance(found.issuance),
    )


ENDPOINTS = (simulate, inspect_token)
