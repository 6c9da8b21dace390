"""``POST /oauth/device_authorization`` (RFC 8628 §3.1, §3.2): a device asks, and is given two codes."""

from collections.abc import Callable
from urllib.parse import urlencode

import orjson

from authserver.authorization.device_limits import DeviceLimits
from authserver.authorization.device_pages import PATH
from authserver.authorization.devices import Devices, StartedDevice
from authserver.authorization.request import RequestChecker
from authserver.clients.authentication import ClientAuthenticator, parse_client_credentials
from authserver.clients.lookup import ClientResolver
from authserver.protocol.client_id_urls import is_client_id_url
from authserver.protocol.user_codes import spell_user_code
from authserver.tokens.endpoint import authenticate, check_form
from authserver.web.forms import Form, read_form
from authserver.web.http import JSON, NO_STORE, Cors, ErrorShape, HttpRequest, HttpResponse, Route


class DeviceAuthorizationEndpoint:
    """Begins what a user ends on another device.

    Args:
        issuer: This server.
        clients: Finds clients whose identifier is a document: a device has no browser that would have brought it here.
        authenticator: Has clients prove themselves, as at the token endpoint.
        checker: Checks what is asked for.
        devices: Keeps it.
        limits: How often devices may be started.
    """

    def __init__(
        self,
        *,
        issuer: str,
        clients: ClientResolver,
        authenticator: ClientAuthenticator,
        checker: RequestChecker,
        devices: Devices,
        limits: DeviceLimits,
    ) -> None:
        self._page = f"{issuer}{PATH}"
        self._clients = clients
        self._authenticator = authenticator
        self._checker = checker
        self._devices = devices
        self._limits = limits

    async def handle(self, form: Form, *, authorization: str | None, address: str, now: int) -> dict[str, str | int]:
        """Serve one request: the members of the response.

        Args:
            form: The body.
            authorization: The header of that name.
            address: The client address of the request.
            now: Seconds since the epoch.

        Raises:
            OAuthError: The request is refused. Nothing was written.
            StorageUnavailable: The database is away.
        """
        check_form(form)
        await self._bring_in(form, authorization, address=address, now=now)
        client = await authenticate(self._authenticator, form, authorization, require_confidential=False, now=now)
        asked = await self._checker.check_device(form, client=client)
        self._limits.check_start(address)
        return self._describe(await self._devices.start(asked, now=now))

    async def _bring_in(self, form: Form, authorization: str | None, *, address: str, now: int) -> None:
        """Have a client's document read, or read again, before the client is looked up; by the limits of authorize."""
        credentials = parse_client_credentials(
            authorization,
            form.get("client_id"),
            form.get("client_secret"),
            assertion_type=form.get("client_assertion_type"),
            assertion=form.get("client_assertion"),
        )
        if is_client_id_url(credentials.client_id):
            await self._clients.resolve(credentials.client_id, address=address, now=now)

    def _describe(self, started: StartedDevice) -> dict[str, str | int]:
        user_code = spell_user_code(started.user_code)
        return {
            "device_code": started.device_code,
            "user_code": user_code,
            "verification_uri": self._page,
            "verification_uri_complete": f"{self._page}?{urlencode({'user_code': user_code})}",
            "expires_in": started.expires_in,
            "interval": started.interval,
        }


def device_authorization_routes(endpoint: DeviceAuthorizationEndpoint, *, clock: Callable[[], int]) -> list[Route]:
    """Mount the endpoint.

    Args:
        endpoint: Serves it.
        clock: Seconds since the epoch.
    """

    async def start(request: HttpRequest) -> HttpResponse:
        members = await endpoint.handle(
            await read_form(request),
            authorization=request.header(b"authorization"),
            address=request.client_address,
            now=clock(),
        )
        return HttpResponse(200, orjson.dumps(members), (JSON, NO_STORE))

    return [
        Route(
            path="/oauth/device_authorization",
            endpoints={"POST": start},
            cors=Cors.LISTED,
            errors=ErrorShape.OAUTH,
            operations={"POST": "DeviceService.Start"},
        )
    ]
