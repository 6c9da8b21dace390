"""``/admin/traces``: why requests were refused."""

from authserver.admin.endpoint import Call, Query, endpoint
from authserver.admin.records import Role
from authserver.traces.explaining import TraceView, explain

_PAGE, _LONGEST_PAGE = 20, 1000


@endpoint(
    "GET",
    "/admin/traces",
    role=Role.AUDITOR,
    query={"client_id": Query.TEXT, "error": Query.TEXT, "limit": Query.NUMBER},
)
async def list_refusals(call: Call[None]) -> list[TraceView]:
    """List the newest refusals, with the decision step by step."""
    found = await call.parts.traces.newest(
        limit=call.number("limit", default=_PAGE, least=1, most=_LONGEST_PAGE),
        client_id=call.query.get("client_id") or "",
        error=call.query.get("error") or "",
        now=call.now,
    )
    return [explain(trace) for trace in found]


@endpoint("GET", "/admin/traces/{reference}", role=Role.AUDITOR, refusals=(404,))
async def get_refusal(call: Call[None]) -> TraceView:
    """Explain a refusal by the reference id that its sender was given."""
    return explain(await call.parts.traces.find(call.path["reference"], now=call.now))


ENDPOINTS = (list_refusals, get_refusal)
