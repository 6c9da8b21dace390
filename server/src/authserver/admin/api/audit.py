"""``/admin/audit`` (admin API, 15)."""

import contextlib

import orjson

from authserver.admin.endpoint import Call, Query, endpoint
from authserver.admin.records import Role
from authserver.audit.following import follow_events
from authserver.audit.reading import AuditQuestion
from authserver.audit.records import AuditRecord
from authserver.audit.views import AuditEventView, build_event
from authserver.protocol.errors import SlowDown
from authserver.protocol.identifiers import first_id, parse_id
from authserver.protocol.operator_errors import Invalid
from authserver.web.http import NO_STORE, HttpResponse
from authserver.web.streaming import Stream

FILTERS = {"action": Query.TEXT, "actor_id": Query.TEXT, "client_id": Query.TEXT, "since": Query.TIME}
_MOST_STREAMS = 32
_QUIET_SECONDS = 15
_STREAM_HEADERS = (
    (b"content-type", b"text/event-stream"),
    NO_STORE,
    # Else some proxies keep it until it is long enough for them.
    (b"x-accel-buffering", b"no"),
)
_streams: set[object] = set()


@endpoint(
    "GET",
    "/admin/audit",
    role=Role.AUDITOR,
    query={**FILTERS, "until": Query.TIME, "limit": Query.NUMBER, "offset": Query.NUMBER, "cursor": Query.TEXT},
)
async def list_audit_events(call: Call[None]) -> list[AuditEventView]:
    """List what happened, newest first: the last day, unless since says otherwise; before the event whose id cursor is."""
    cursor = call.query.get("cursor")
    before = None if cursor is None else parse_id(cursor)
    if before is None and cursor is not None:
        raise Invalid("cursor must be the id of an event")
    question = AuditQuestion(
        action=call.query.get("action"),
        actor_id=call.query.get("actor_id"),
        client_id=call.query.get("client_id"),
        since=call.time("since"),
        until=call.time("until"),
        limit=call.integer("limit", default=0),
        offset=call.integer("offset", default=0),
        cursor=before,
    )
    return [build_event(event) for event in await call.parts.audit.read(question, now=call.now)]


@endpoint("GET", "/admin/audit/stream", role=Role.AUDITOR, query=FILTERS)
async def stream_audit_events(call: Call[None]) -> HttpResponse:
    """Send what happens as it happens: server-sent events, from since or behind Last-Event-ID on, else from now on."""
    if len(_streams) >= _MOST_STREAMS:
        raise SlowDown("too many streams", reason="rate_limited", retry_after=5)
    since = call.time("since")
    last = parse_id(call.request.header(b"last-event-id") or "")
    earliest = call.parts.audit.earliest(since, now=call.now)
    started = last or first_id(call.parts.clock_ms() if since is None else earliest * 1000)
    stream = _stream(call, max(started, first_id(earliest * 1000)))
    return HttpResponse(200, b": what happens from here on\n\n", _STREAM_HEADERS, stream)


async def _stream(call: Call[None], started: bytes) -> Stream:
    """Yield events as text, nothing each second, and a comment now and then, by which both ends see that the other is there."""
    if len(_streams) >= _MOST_STREAMS:
        # Others began between the answer's head and now.
        return
    wanted = {name: call.query.get(name) for name in ("action", "actor_id", "client_id")}
    mark = object()
    _streams.add(mark)
    try:
        quiet = 0
        pages = follow_events(call.parts.db, call.parts.clock_ms, started=started, shown={started})
        async with contextlib.aclosing(pages):
            async for page in pages:
                if not await call.may_go_on():
                    return
                text = b"".join(
                    _spell(event)
                    for event in page
                    if all(value is None or getattr(event, name) == value for name, value in wanted.items())
                )
                quiet = 0 if text else quiet + 1
                yield text if text or quiet % _QUIET_SECONDS else b":\n\n"
    finally:
        _streams.discard(mark)


def _spell(event: AuditRecord) -> bytes:
    view = build_event(event)
    return b"id: %b\nevent: audit\ndata: %b\n\n" % (view["id"].encode("ascii"), orjson.dumps(view))


ENDPOINTS = (list_audit_events, stream_audit_events)
