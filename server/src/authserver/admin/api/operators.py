"""``/admin/operators``: who else may use this API (decision 0028)."""

from pydantic import AwareDatetime

from authserver.admin.endpoint import Call, Query, StrictBody, endpoint
from authserver.admin.operators import NewOperator
from authserver.admin.records import Role
from authserver.admin.store import list_operators
from authserver.admin.views import OperatorView, build_operator
from authserver.protocol.operator_errors import Invalid

_PAGE, _LONGEST_PAGE = 100, 500
_MOST_OFFSET = 100_000


class OperatorBody(StrictBody):
    """Whom to let in; ``expires_in`` is in seconds from now, instead of ``expires_at``."""

    name: str
    role: str
    resources: list[str] | None = None
    expires_at: AwareDatetime | None = None
    expires_in: int | None = None


class CreatedOperator(OperatorView):
    """An operator and its key, which is shown here alone."""

    key: str


@endpoint("GET", "/admin/operators", role=Role.OWNER, query={"limit": Query.NUMBER, "offset": Query.NUMBER})
async def list_all_operators(call: Call[None]) -> list[OperatorView]:
    """List operators by name, revoked ones included."""
    records = await list_operators(
        call.parts.db,
        limit=call.number("limit", default=_PAGE, least=1, most=_LONGEST_PAGE),
        offset=call.number("offset", default=0, least=0, most=_MOST_OFFSET),
    )
    return [build_operator(record) for record in records]


@endpoint("POST", "/admin/operators", role=Role.OWNER, status=201, refusals=(409,))
async def create_operator(call: Call[OperatorBody]) -> CreatedOperator:
    """Create an operator; its key is answered once."""
    body = call.body
    new = NewOperator(name=body.name, role=body.role, resources=body.resources, expires_at=_expiry(body, call.now))
    record, key = await call.parts.operators.create(new, now=call.now)
    return CreatedOperator(**build_operator(record), key=key)


@endpoint("DELETE", "/admin/operators/{name}", role=Role.OWNER, status=204, refusals=(404,))
async def revoke_an_operator(call: Call[None]) -> None:
    """Refuse an operator's key from now on; the name stays taken. May be repeated."""
    await call.parts.operators.revoke(call.path["name"], now=call.now)


def _expiry(body: OperatorBody, now: int) -> int | None:
    if body.expires_in is not None and body.expires_at is not None:
        raise Invalid("expires_at and expires_in exclude each other")
    if body.expires_in is not None:
        return now + body.expires_in
    return None if body.expires_at is None else int(body.expires_at.timestamp())


ENDPOINTS = (list_all_operators, create_operator, revoke_an_operator)
