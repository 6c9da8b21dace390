import orjson
import pytest

from authserver.clients.limits import RegistrationLimits
from authserver.clients.routes import MAX_BODY_BYTES, registration_routes
from authserver.clients.store import find_client
from authserver.config.sections.clients import DcrConfig
from authserver.protocol.errors import AccessDenied, InvalidRequest, SlowDown
from authserver.storage.database import Database
from authserver.web.http import Cors, ErrorShape, HttpResponse
from server.tests.clients.builders import NOW
from server.tests.clients.test_registration import MINIMAL, a_registration
from server.tests.web.builders import a_request, answer_of

pytestmark = pytest.mark.anyio


def the_limits(rate: float = 0, burst: int = 1) -> RegistrationLimits:
    return RegistrationLimits(DcrConfig(rate_limit=rate, rate_limit_burst=burst), monotonic=lambda: 0.0)


async def post(
    db: Database,
    body: bytes,
    *,
    mode: str = "open",
    limits: RegistrationLimits | None = None,
    content_type: bytes = b"application/json",
) -> HttpResponse:
    registration = a_registration(db, mode=mode)
    (route,) = registration_routes(registration, limits or the_limits(), clock=lambda: NOW)
    request = a_request(target=route.path, body=(body,), headers=((b"content-type", content_type),))
    return await answer_of(route.endpoints["POST"], request)


@pytest.mark.parametrize("content_type", [b"application/json", b"text/plain", b"application/x-www-form-urlencoded"])
async def test_a_registration_is_answered_with_the_client_whatever_its_content_type(
    db: Database, content_type: bytes
) -> None:
    response = await post(db, orjson.dumps(MINIMAL), content_type=content_type)
    assert response.status == 201
    assert response.headers == ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
    client = await find_client(db, orjson.loads(response.body)["client_id"])
    assert client is not None
    assert client.issued_at == NOW


@pytest.mark.parametrize(
    "body", [b"", b"{", b"client_name=Tool", b"\xff", b"[" * 2000, b'{"client_name":"\\ud800"}', b"[]", b"1"]
)
async def test_a_body_that_is_no_json_object_is_an_invalid_request(db: Database, body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="invalid JSON body"):
        await post(db, body)


async def test_a_body_of_a_megabyte_is_read_and_one_byte_more_is_not(db: Database) -> None:
    body = orjson.dumps(MINIMAL)
    body += b" " * (MAX_BODY_BYTES - len(body))
    assert (await post(db, body)).status == 201
    with pytest.raises(InvalidRequest, match="invalid JSON body"):
        await post(db, body + b" ")


async def test_while_only_operators_register_the_body_does_not_matter(db: Database) -> None:
    with pytest.raises(AccessDenied):
        await post(db, b"{", mode="admin_only")


async def test_the_rate_is_checked_by_address_and_before_anything_else(db: Database) -> None:
    limits = the_limits(rate=1)
    await post(db, orjson.dumps(MINIMAL), limits=limits)
    with pytest.raises(SlowDown) as refusal:
        await post(db, b"{", mode="admin_only", limits=limits)
    assert refusal.value.retry_after == 1


async def test_the_route_is_for_listed_origins_and_has_an_alias_only_when_asked_for(db: Database) -> None:
    registration = a_registration(db)
    for root_alias, paths in ((False, ["/oauth/register"]), (True, ["/oauth/register", "/register"])):
        routes = registration_routes(registration, the_limits(), clock=lambda: NOW, root_alias=root_alias)
        assert [route.path for route in routes] == paths
        assert {(route.cors, route.errors, route.is_limited) for route in routes} == {
            (Cors.LISTED, ErrorShape.OAUTH, True)
        }
