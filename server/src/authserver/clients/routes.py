"""``POST /oauth/register`` (public API, 11)."""

from collections.abc import Callable

import orjson

from authserver.clients.limits import RegistrationLimits
from authserver.clients.registration import Registration, build_registration_response
from authserver.protocol.errors import InvalidRequest
from authserver.web.http import JSON, NO_STORE, BodyTooLarge, Cors, ErrorShape, HttpRequest, HttpResponse, Route

MAX_BODY_BYTES = 1024 * 1024

_CREATED = 201


def registration_routes(
    registration: Registration, limits: RegistrationLimits, *, clock: Callable[[], int], root_alias: bool = False
) -> list[Route]:
    """Mount the registration endpoint.

    Args:
        registration: Registers.
        limits: How often.
        clock: Seconds since the epoch.
        root_alias: Whether ``/register`` answers too, for clients that ignore metadata (ruling R43).
    """

    async def register(request: HttpRequest) -> HttpResponse:
        limits.check(request.client_address)
        # Before the body is read: a closed door costs nothing.
        registration.check_open()
        registered = await registration.register(await _read_json(request), now=clock())
        return HttpResponse(_CREATED, orjson.dumps(build_registration_response(registered)), (JSON, NO_STORE))

    paths = ("/oauth/register", "/register") if root_alias else ("/oauth/register",)
    return [
        Route(
            path=path,
            endpoints={"POST": register},
            cors=Cors.LISTED,
            errors=ErrorShape.OAUTH,
            operations={"POST": "RegistrationService.Register"},
        )
        for path in paths
    ]


async def _read_json(request: HttpRequest) -> object:
    """Parse the body, whatever content type it claims."""
    try:
        document: object = orjson.loads(await request.body(max_bytes=MAX_BODY_BYTES))
    except (BodyTooLarge, orjson.JSONDecodeError) as exc:
        raise InvalidRequest("invalid JSON body", reason="json_unreadable") from exc
    return document
