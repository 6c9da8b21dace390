"""``POST /oauth/register`` (public API, 11)."""

import time
from collections.abc import Callable

import orjson

from authserver.clients.limits import RegistrationLimits
from authserver.clients.registration import Registration, build_registration_response
from authserver.config.sections.clients import DcrConfig
from authserver.protocol.errors import InvalidRequest
from authserver.web.http import JSON, NO_STORE, BodyTooLarge, Cors, ErrorShape, HttpRequest, HttpResponse, Route

MAX_BODY_BYTES = 1024 * 1024

_CREATED = 201


class RegistrationRoutes:
    """The registration endpoint.

    Args:
        registration: Registers.
        config: The section ``dcr``: how often clients may.
        clock: Seconds since the epoch.
        root_aliases: Whether ``/register`` answers too, for clients that ignore metadata (ruling R43).
        monotonic: Seconds of a clock that never goes back, for the limits.
    """

    def __init__(
        self,
        registration: Registration,
        config: DcrConfig,
        *,
        clock: Callable[[], int],
        root_aliases: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registration = registration
        self._limits = RegistrationLimits(config, monotonic=monotonic)
        self._clock = clock
        self._paths = ("/oauth/register", "/register") if root_aliases else ("/oauth/register",)

    def routes(self) -> list[Route]:
        """Return what is to be mounted."""
        return [
            Route(path=path, endpoints={"POST": self._register}, cors=Cors.LISTED, errors=ErrorShape.OAUTH)
            for path in self._paths
        ]

    async def _register(self, request: HttpRequest) -> HttpResponse:
        self._limits.check(request.client_address)
        # Before the body is read: a closed door costs nothing.
        self._registration.check_open()
        registered = await self._registration.register(await _read_json(request), now=self._clock())
        return HttpResponse(_CREATED, orjson.dumps(build_registration_response(registered)), (JSON, NO_STORE))


async def _read_json(request: HttpRequest) -> object:
    """Parse the body, whatever content type it claims."""
    try:
        document: object = orjson.loads(await request.body(max_bytes=MAX_BODY_BYTES))
    except (BodyTooLarge, orjson.JSONDecodeError) as exc:
        raise InvalidRequest("invalid JSON body") from exc
    return document
