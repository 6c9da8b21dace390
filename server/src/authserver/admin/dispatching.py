"""A request of the admin API: its endpoint is found, its sender let in, its body read, its refusals answered."""

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import orjson
from pydantic import BaseModel, ValidationError

from authserver.admin.access import Gate, Unauthorized
from authserver.admin.endpoint import LONGEST_PARAMETER, AdminEndpoint, Call
from authserver.admin.parts import AdminParts
from authserver.admin.records import Operator
from authserver.protocol.client_id_urls import MAX_CLIENT_ID_URL_CHARACTERS, is_client_id_url
from authserver.protocol.operator_errors import (
    Conflict,
    Failed,
    Forbidden,
    Invalid,
    NotFound,
    OperatorError,
    Unreachable,
)
from authserver.resources.store import find_resource_by_slug
from authserver.storage.database import StorageUnavailable
from authserver.telemetry.logs import get_logger
from authserver.telemetry.origin import current_origin, reset_origin, set_origin
from authserver.telemetry.spans import operation_name, span
from authserver.web.errors import problem, unauthorized, wrong_method
from authserver.web.forms import parse_query
from authserver.web.http import JSON, NO_STORE, BodyTooLarge, ErrorShape, HttpRequest, HttpResponse
from authserver.web.streaming import Rest, Stream

_MOST_PROBLEMS = 20
_LONGEST_PLACE = 200
_LONGEST_SENTENCE = 4096
_NO_CONTENT = 204
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_NOWHERE = "there is nothing here"

_log = get_logger("admin")

Refuse = Callable[[OperatorError, AdminEndpoint], HttpResponse]
"""Answers a refusal of an endpoint."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A path that is served: its segments, None for a parameter, and its endpoints by method."""

    segments: tuple[str | None, ...]
    template: str
    names: tuple[str, ...]
    endpoints: dict[str, AdminEndpoint]


class Dispatcher:
    """Serves what the table names."""

    def __init__(
        self, table: Iterable[AdminEndpoint], parts: AdminParts, gate: Gate, refuse: "Refuse | None" = None
    ) -> None:
        """Sort the paths by their number of segments, those without parameters first.

        Args:
            table: What is served.
            parts: What the endpoints work with.
            gate: Knows who sends a request.
            refuse: Answers a refusal; None: with problem details.

        Raises:
            ValueError: Two endpoints have the same method and path.
        """
        self._refuse = refuse or answer_refusal
        self._parts = parts
        self._gate = gate
        places: dict[str, _Place] = {}
        for entry in table:
            place = places.setdefault(entry.path, _place(entry))
            if entry.method in place.endpoints:
                raise ValueError(f"two endpoints answer at {entry.method} {entry.path}")
            place.endpoints[entry.method] = entry
        self._places: dict[int, list[_Place]] = {}
        for place in sorted(places.values(), key=lambda place: len(place.names)):
            self._places.setdefault(len(place.segments), []).append(place)

    async def serve(self, request: HttpRequest, raw_path: bytes) -> HttpResponse:
        """Answer a request.

        Args:
            request: The request.
            raw_path: Its path below the issuer's own, as sent.
        """
        found = self._find(raw_path)
        if found is None:
            return problem(404, _NOWHERE)
        place, values = found
        request.template = place.template
        endpoint = place.endpoints.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            return wrong_method(request, _allow(place), ErrorShape.PROBLEM)
        try:
            operator = await self._gate.identify(request)
        except Unauthorized as exc:
            return unauthorized(str(exc))
        if operator.role < endpoint.role:
            return problem(403, f"the role {operator.role} may not do this; it takes {endpoint.role}")
        if not await self._is_theirs(operator, endpoint, values):
            return problem(403, "this key is for some resources only")
        before = set_origin(current_origin()._replace(operator=operator.name))
        try:
            with span(f"AdminService.{operation_name(endpoint.handle)}"):
                return await self._answer(endpoint, request, values, operator)
        except OperatorError as exc:
            return self._refuse(exc, endpoint)
        finally:
            reset_origin(before)

    async def _answer(
        self, endpoint: AdminEndpoint, request: HttpRequest, values: Mapping[str, str], operator: Operator
    ) -> HttpResponse:
        for name, value in values.items():
            _check_parameter(name, value)
        call = Call(
            parts=self._parts,
            request=request,
            operator=operator,
            path=values,
            query=parse_query(request.query),
            body=await _read(request, endpoint.body, max_bytes=endpoint.max_body) if endpoint.body else None,
            now=self._parts.clock(),
            status=endpoint.status,
            may_go_on=lambda: self._may_go_on(request),
        )
        answer = await endpoint.handle(call)
        if isinstance(answer, HttpResponse):
            if isinstance(answer.stream, Rest):
                answer = answer._replace(stream=Rest(self._while_let_in(answer.stream.parts, request)))
            return answer
        if call.status == _NO_CONTENT:
            return HttpResponse(call.status, headers=(NO_STORE,))
        return HttpResponse(call.status, orjson.dumps(answer), (JSON, NO_STORE))

    async def _may_go_on(self, request: HttpRequest) -> bool:
        try:
            await self._gate.identify(request)
        except Unauthorized:
            return False
        return True

    async def _while_let_in(self, parts: Stream, request: HttpRequest) -> Stream:
        """Yield the parts of a list; of its end, and what is before it, nothing once the sender's key is revoked."""
        async with contextlib.aclosing(parts):
            async for part in parts:
                try:
                    if not await self._may_go_on(request):
                        return
                except StorageUnavailable as exc:
                    _log.error("database does not answer, a list was cut off", error=str(exc))
                    return
                yield part

    async def _is_theirs(self, operator: Operator, endpoint: AdminEndpoint, values: Mapping[str, str]) -> bool:
        """Tell whether a request is about nothing but resources that its sender is for."""
        if operator.resources is None:
            return True
        if endpoint.resources is None:
            return False
        for name in endpoint.resources:
            value = values[name]
            if name != "id":
                resource = await find_resource_by_slug(self._parts.db, value)
                value = "" if resource is None else resource.id
            if value not in operator.resources:
                return False
        return True

    def _find(self, raw_path: bytes) -> tuple[_Place, dict[str, str]] | None:
        """Return where a path leads, and its parameters: taken apart as sent, then decoded (admin API, 1.4)."""
        segments = raw_path.decode("ascii").split("/")
        for place in self._places.get(len(segments), ()):
            values = _match(place, segments)
            if values is not None:
                return place, values
        return None


def answer_refusal(exc: OperatorError, endpoint: AdminEndpoint) -> HttpResponse:
    """Answer a refusal with problem details."""
    if isinstance(exc, Failed):
        _log.error(str(exc), error=str(exc.__cause__))
    # A sentence may repeat what was sent.
    return problem(_status(exc, endpoint), str(exc)[:_LONGEST_SENTENCE], members=exc.members)


def _place(entry: AdminEndpoint) -> _Place:
    segments = tuple(None if part.startswith("{") else part for part in entry.path.split("/"))
    return _Place(segments, entry.path, entry.parameters, {})


def _match(place: _Place, segments: list[str]) -> dict[str, str] | None:
    values = []
    for wanted, segment in zip(place.segments, segments, strict=True):
        if wanted is None:
            values.append(unquote(segment))
        elif wanted != segment:
            return None
    return dict(zip(place.names, values, strict=True))


def _allow(place: _Place) -> str:
    return ", ".join(sorted({*place.endpoints, *(("HEAD",) if "GET" in place.endpoints else ())}))


def _check_parameter(name: str, value: str) -> None:
    if not value:
        raise Invalid(f"{name} is required")
    # Else a client with a long URL for its id could be suspended by nobody.
    if len(value) > (MAX_CLIENT_ID_URL_CHARACTERS if is_client_id_url(value) else LONGEST_PARAMETER):
        raise Invalid(f"{name} too long")


async def _read(request: HttpRequest, model: type[BaseModel], *, max_bytes: int) -> BaseModel:
    try:
        body = await request.body(max_bytes=max_bytes)
    except BodyTooLarge:
        raise Invalid(f"invalid JSON body: longer than {max_bytes} bytes") from None
    if _NUL.search(body):
        # PostgreSQL stores none, and no member needs one.
        raise Invalid("invalid JSON body: it holds a NUL")
    try:
        return model.model_validate_json(body)
    except ValidationError as exc:
        raise Invalid(f"invalid JSON body: {_tell(exc)}") from None


def _tell(exc: ValidationError) -> str:
    """Return what is wrong with a body: which member and why, never what was sent for it."""
    if exc.error_count() > _MOST_PROBLEMS:
        # A mebibyte has room for half a million, and spelling them out would keep everybody waiting.
        return f"{exc.error_count()} things are wrong with it"
    problems = exc.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, found['loc']))[:_LONGEST_PLACE]}: {found['msg']}" if found["loc"] else found["msg"]
        for found in problems
    )


def _status(exc: OperatorError, endpoint: AdminEndpoint) -> int:
    match exc:
        case NotFound():
            return endpoint.unknown
        case Conflict():
            return 409
        case Forbidden():
            return 403
        case Failed():
            return 500
        case Unreachable():
            return 502
        case _:
            return 400
