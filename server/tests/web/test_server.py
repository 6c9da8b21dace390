import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authserver.protocol.errors import InvalidClient, InvalidGrant, PageRefusal, ServerError
from authserver.storage.database import StorageUnavailable
from authserver.telemetry import logs, metrics
from authserver.telemetry.logs import configure_logging
from authserver.telemetry.origin import current_origin
from authserver.web.http import BodyTooLarge, Cors, Endpoint, ErrorShape, HttpRequest, HttpResponse, Route
from authserver.web.limits import TokenBuckets
from authserver.web.pages import page
from authserver.web.server import WebApp
from server.tests.web.direct import Answer, call, echo

pytestmark = pytest.mark.anyio

ISSUER = "https://auth.example.com"
HSTS = b"strict-transport-security"
POLICY = b"content-security-policy"


@pytest.fixture
def stream() -> Iterator[io.BytesIO]:
    handlers, level = logging.root.handlers[:], logging.root.level
    before = vars(logs._output).copy()
    stream = io.BytesIO()
    configure_logging(stream=stream)
    yield stream
    vars(logs._output).clear()
    vars(logs._output).update(before)
    logging.root.handlers, logging.root.level = handlers, level


def lines(stream: io.BytesIO, msg: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, stream.getvalue().splitlines()) if line["msg"] == msg]


def raising(exc: Exception) -> Endpoint:
    async def endpoint(_request: HttpRequest) -> HttpResponse:
        raise exc

    return endpoint


def an_app(*routes: Route, **changes: Any) -> WebApp:
    settings: dict[str, Any] = {"issuer": ISSUER, "is_secure": True, "component": "http"} | changes
    return WebApp(routes, **settings)


def failing(exc: Exception, errors: ErrorShape = ErrorShape.OAUTH, cors: Cors = Cors.NEVER) -> WebApp:
    return an_app(Route(path="/x", endpoints={"GET": raising(exc)}, errors=errors, cors=cors))


ECHO = Route(path="/x", endpoints={"GET": echo, "POST": echo})
LISTED = Route(path="/token", endpoints={"POST": echo}, cors=Cors.LISTED, errors=ErrorShape.OAUTH)
DOCUMENT = Route(path="/.well-known/doc", endpoints={"GET": echo}, cors=Cors.PUBLIC)


# Methods and paths


async def test_head_is_answered_as_get_without_its_body() -> None:
    got, head = await call(an_app(ECHO), target="/x"), await call(an_app(ECHO), "HEAD", "/x")

    assert head.status == 200
    assert head.body == b""
    assert int(head.one(b"content-length")) == len(got.body) + len("HEAD") - len("GET")


async def test_a_wrong_method_is_told_which_are_right() -> None:
    answer = await call(an_app(ECHO), "DELETE", "/x")

    assert answer.status == 405
    assert answer.one(b"allow") == b"GET, HEAD, POST"
    assert answer.one(b"content-type").startswith(b"text/plain")
    assert answer.one(b"cache-control") == b"no-store"
    assert re.fullmatch(rb"method not allowed \(ref_[a-z2-7]{20}\)\n", answer.body)


async def test_head_is_no_method_of_a_route_without_get() -> None:
    answer = await call(an_app(LISTED), "HEAD", "/token")

    assert (answer.status, answer.one(b"allow"), answer.body) == (405, b"POST", b"")


@pytest.mark.parametrize("target", ["/", "/x/", "//x", "/X", "/x%", "/x%2", "/x%zz", "/%ff", "/x%00", "x", ""])
async def test_a_path_that_is_not_served_is_a_plain_404(target: str) -> None:
    answer = await call(an_app(ECHO), target=target)

    assert answer.status == 404
    assert answer.one(b"content-type") == b"text/plain; charset=utf-8"


async def test_an_escaped_path_is_the_path_it_spells() -> None:
    assert (await call(an_app(ECHO), target="/%78")).status == 200


async def test_the_query_reaches_the_endpoint_as_sent() -> None:
    assert (await call(an_app(ECHO), target="/x?a=%41&b")).json()["query"] == "a=%41&b"


# What every answer carries


@pytest.mark.parametrize("target", ["/x", "/nowhere", "/%ff"])
async def test_every_answer_carries_the_security_headers(target: str) -> None:
    answer = await call(an_app(ECHO), target=target)

    assert answer.one(b"x-content-type-options") == b"nosniff"
    assert answer.one(b"x-frame-options") == b"DENY"
    assert answer.one(b"referrer-policy") == b"no-referrer"
    assert answer.one(HSTS) == b"max-age=63072000; includeSubDomains"
    assert answer.one(POLICY).startswith(b"default-src 'none'; style-src 'sha256-")
    assert answer.all(b"cross-origin-opener-policy") == []


async def test_faults_refusals_and_preflights_carry_them_too() -> None:
    answers = [
        await call(failing(RuntimeError()), target="/x"),
        await call(failing(InvalidGrant()), target="/x"),
        await call(an_app(LISTED), "OPTIONS", "/token", headers={"origin": "https://a.example"}),
        await call(an_app(ECHO), "PUT", "/x"),
    ]

    assert [answer.status for answer in answers] == [500, 400, 204, 405]
    for answer in answers:
        assert answer.one(b"x-frame-options") == b"DENY"
        assert answer.one(POLICY)
        assert answer.one(b"x-request-id")


async def test_tls_is_demanded_of_browsers_only_where_it_is_there() -> None:
    assert (await call(an_app(ECHO, is_secure=False), target="/x")).all(HSTS) == []


async def test_a_page_may_bring_a_policy_of_its_own() -> None:
    async def consent(_request: HttpRequest) -> HttpResponse:
        return page("web/error.html", csp_form_action="https://client.example", **ERROR)

    answer = await call(an_app(Route(path="/x", endpoints={"GET": consent})), target="/x")

    assert answer.one(POLICY).endswith(b"form-action 'self' https://client.example")


ERROR: dict[str, Any] = {"title": "T", "message": "M", "reference": "", "request_id": "", "next_step": "N"}


async def test_an_answer_without_content_names_no_length() -> None:
    async def unchanged(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(304)

    answer = await call(an_app(Route(path="/x", endpoints={"GET": unchanged})), target="/x")

    assert answer.all(b"content-length") == []


# Request id


@pytest.mark.parametrize("given_id", ["abc", "A.b_c:d-9", "x" * 128])
async def test_a_request_id_of_the_caller_is_kept(given_id: str) -> None:
    answer = await call(an_app(ECHO), target="/x", headers={"x-request-id": given_id})

    assert answer.one(b"x-request-id") == given_id.encode()
    assert answer.json()["request_id"] == given_id


@pytest.mark.parametrize("given_id", ["", "a b", "a\r\nset-cookie: b", "x" * 129, "é", "a\n", '"'])
async def test_a_request_id_that_could_harm_a_log_is_replaced(given_id: str) -> None:
    answer = await call(an_app(ECHO), target="/x", headers={"x-request-id": given_id})

    assert len(bytes.fromhex(answer.one(b"x-request-id").decode())) == 16


async def test_two_requests_have_two_ids() -> None:
    app = an_app(ECHO)

    assert (await call(app, target="/x")).one(b"x-request-id") != (await call(app, target="/x")).one(b"x-request-id")


# Refusals and faults


async def test_a_refusal_is_answered_in_the_shape_of_its_route() -> None:
    oauth = await call(failing(InvalidClient()), target="/x")
    shown = await call(failing(InvalidGrant("a code is wrong"), ErrorShape.PAGE), target="/x")
    plain = await call(failing(InvalidGrant(), ErrorShape.PLAIN), target="/x")

    assert oauth.json()["error"] == "invalid_client"
    assert oauth.one(b"www-authenticate") == b'Basic realm="authserver"'
    assert shown.one(b"content-type") == b"text/html; charset=utf-8"
    assert b"The request could not be served." in shown.body
    assert plain.body.startswith(b"invalid_grant: ")
    assert plain.body.isascii()


async def test_a_refused_page_names_its_title_and_its_reference() -> None:
    exc = PageRefusal("Invalid Client", "That application is not known here.", status=400)

    answer = await call(failing(exc, ErrorShape.PAGE), target="/x")

    assert answer.status == 400
    assert b"Invalid Client" in answer.body
    assert exc.reference.encode() in answer.body
    assert answer.one(b"cache-control") == b"no-store"


@pytest.mark.parametrize("shape", list(ErrorShape))
async def test_a_crash_is_a_500_that_does_not_tell_its_cause(shape: ErrorShape, stream: io.BytesIO) -> None:
    answer = await call(failing(RuntimeError("SELECT canary"), shape), target="/x")

    assert answer.status == 500
    assert b"canary" not in answer.body
    assert answer.one(b"cache-control") == b"no-store"
    (line,) = lines(stream, "panic recovered")
    assert (line["level"], line["panic"], line["method"], line["path"]) == ("ERROR", "RuntimeError", "GET", "/x")
    assert line["request_id"] == answer.one(b"x-request-id").decode()


@pytest.mark.parametrize("shape", list(ErrorShape))
async def test_without_the_database_it_is_a_503_that_says_when_to_come_back(shape: ErrorShape) -> None:
    answer = await call(failing(StorageUnavailable("dsn canary", retry_after=3), shape), target="/x")

    assert answer.status == 503
    assert answer.one(b"retry-after") == b"3"
    assert b"canary" not in answer.body


async def test_a_fault_of_an_oauth_endpoint_carries_the_request_id() -> None:
    for exc in (RuntimeError(), StorageUnavailable("away"), ServerError(reason="default_resource_missing")):
        answer = await call(failing(exc), target="/x")

        body = answer.json()
        assert body["error"] == "server_error"
        assert body["request_id"] == answer.one(b"x-request-id").decode()


async def test_the_cause_of_a_fault_with_a_reason_is_logged_once(stream: io.BytesIO) -> None:
    exc = ServerError(reason="mint_issue_failed")
    exc.__cause__ = KeyError("the cause")

    await call(failing(exc), target="/x")

    (line,) = lines(stream, "request failed")
    assert (line["level"], line["reason"], line["reference"]) == ("ERROR", "mint_issue_failed", exc.reference)
    assert "the cause" in line["exception"]


async def test_a_body_that_an_endpoint_does_not_read_to_its_end_is_a_bad_request() -> None:
    answer = await call(failing(BodyTooLarge()), target="/x")

    assert answer.status == 400
    assert answer.json()["error_description"].startswith("invalid form body (ref_")


async def test_nobody_is_answered_who_went_away(stream: io.BytesIO) -> None:
    async def reader(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, await request.body(max_bytes=100))

    app = an_app(Route(path="/x", endpoints={"POST": reader}))

    assert (await call(app, "POST", "/x", parts=(b"a", b"b"))).body == b"ab"
    assert (await call(app, "POST", "/x", parts=())).status == 0
    assert lines(stream, "panic recovered") == []


# CORS


async def test_public_documents_are_open_to_any_origin_whatever_the_list_says() -> None:
    answer = await call(an_app(DOCUMENT, allowed_origins=["https://a.example"]), target="/.well-known/doc")

    assert answer.one(b"access-control-allow-origin") == b"*"
    assert answer.one(b"access-control-expose-headers") == b"DPoP-Nonce, WWW-Authenticate, Retry-After"
    assert answer.all(b"vary") == []


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_a_document_that_is_not_there_says_so_to_browsers_too(method: str) -> None:
    answer = await call(an_app(DOCUMENT), method, "/.well-known/other", headers={"origin": "https://a.example"})

    assert answer.status == (404 if method == "GET" else 204)
    assert answer.one(b"access-control-allow-origin") == b"*"


async def test_a_listener_without_public_documents_is_closed_to_browsers() -> None:
    answer = await call(an_app(ECHO), target="/.well-known/other", headers={"origin": "https://a.example"})

    assert answer.status == 404
    assert answer.all(b"access-control-allow-origin") == []


@pytest.mark.parametrize("listed", [[], ["*"], ["https://a.example", "*"]])
async def test_without_a_list_or_with_a_star_any_origin_may_read(listed: list[str]) -> None:
    answer = await call(
        an_app(LISTED, allowed_origins=listed), "POST", "/token", headers={"origin": "https://b.example"}
    )

    assert answer.one(b"access-control-allow-origin") == b"*"
    assert answer.all(b"vary") == []


async def test_a_listed_origin_may_read_and_caches_are_told_that_it_depends() -> None:
    app = an_app(LISTED, allowed_origins=["https://a.example"])

    answer = await call(app, "POST", "/token", headers={"origin": "https://a.example"})

    assert answer.one(b"access-control-allow-origin") == b"https://a.example"
    assert answer.one(b"vary") == b"Origin"
    assert answer.all(b"access-control-allow-credentials") == []


@pytest.mark.parametrize("origin", ["https://b.example", "null", "https://a.example.", "HTTPS://A.EXAMPLE", None])
async def test_another_origin_is_served_without_a_word_of_cors(origin: str | None) -> None:
    app = an_app(LISTED, allowed_origins=["https://a.example"])
    headers = {} if origin is None else {"origin": origin}

    posted = await call(app, "POST", "/token", headers=headers)
    asked = await call(app, "OPTIONS", "/token", headers=headers)

    assert (posted.status, asked.status) == (200, 405)
    for answer in (posted, asked):
        assert [name for name, _ in answer.headers if name.startswith(b"access-control")] == []


async def test_a_preflight_says_what_may_be_sent() -> None:
    answer = await call(an_app(LISTED), "OPTIONS", "/token", headers={"origin": "https://a.example"})

    assert (answer.status, answer.body) == (204, b"")
    assert answer.one(b"access-control-allow-origin") == b"*"
    assert answer.one(b"access-control-allow-methods") == b"GET, POST, OPTIONS"
    assert answer.one(b"access-control-allow-headers") == b"Content-Type, Authorization, DPoP, MCP-Protocol-Version"
    assert answer.one(b"access-control-max-age") == b"86400"
    assert answer.all(b"content-length") == []


async def test_a_closed_route_never_speaks_of_cors() -> None:
    answer = await call(an_app(ECHO), "OPTIONS", "/x", headers={"origin": "https://a.example"})

    assert answer.status == 405
    assert [name for name, _ in answer.headers if name.startswith(b"access-control")] == []


async def test_a_browser_client_can_read_why_it_was_refused() -> None:
    answer = await call(
        failing(InvalidClient(), cors=Cors.LISTED), target="/x", headers={"origin": "https://a.example"}
    )

    assert answer.status == 401
    assert answer.one(b"access-control-allow-origin") == b"*"


# Rate limit


class Monotonic:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def limited(*routes: Route, clock: Monotonic | None = None, **changes: Any) -> WebApp:
    limits = TokenBuckets(rate=1, burst=2)
    return an_app(*routes, limits=limits, monotonic=clock or Monotonic(), **changes)


async def statuses(app: WebApp, *requests: tuple[str, str, str]) -> list[int]:
    return [(await call(app, method, target, peer=peer)).status for method, target, peer in requests]


@pytest.mark.parametrize("shape", list(ErrorShape))
async def test_too_many_requests_are_told_to_slow_down(shape: ErrorShape) -> None:
    app = limited(Route(path="/x", endpoints={"GET": echo}, errors=shape))
    await statuses(app, *[("GET", "/x", "192.0.2.7")] * 2)

    answer = await call(app, target="/x")

    assert answer.status == 429
    assert answer.one(b"retry-after") == b"1"
    assert answer.one(b"cache-control") == b"no-store"
    assert answer.json()["error"] == "slow_down"
    assert answer.json()["error_description"].startswith("rate limit exceeded (ref_")


async def test_who_must_wait_is_told_for_how_long() -> None:
    clock = Monotonic()
    app = an_app(ECHO, limits=TokenBuckets(rate=0.1, burst=1), monotonic=clock)
    await call(app, target="/x")
    clock.seconds += 2.5
    assert (await call(app, target="/x")).one(b"retry-after") == b"8"
    clock.seconds += 7.5
    assert (await call(app, target="/x")).status == 200


async def test_the_limit_counts_addresses_and_refills() -> None:
    clock = Monotonic()
    app = limited(ECHO, clock=clock)
    one, other = ("GET", "/x", "192.0.2.7"), ("GET", "/x", "192.0.2.8")

    assert await statuses(app, one, one, one, other) == [200, 200, 429, 200]
    clock.seconds += 1
    assert await statuses(app, one, one) == [200, 429]


async def test_unknown_paths_and_wrong_methods_count_as_well() -> None:
    app = limited(ECHO)
    peer = "192.0.2.7"

    assert await statuses(app, ("GET", "/a", peer), ("PUT", "/x", peer), ("GET", "/b", peer)) == [404, 405, 429]


async def test_probes_and_preflights_are_never_throttled() -> None:
    app = limited(Route(path="/livez", endpoints={"GET": echo}, is_limited=False), LISTED)

    for _ in range(5):
        assert (await call(app, target="/livez")).status == 200
        assert (await call(app, "OPTIONS", "/token", headers={"origin": "https://a.example"})).status == 204


async def test_the_limit_believes_forwarded_addresses_of_trusted_proxies_alone() -> None:
    app = limited(ECHO, trusted_proxies=["10.0.0.0/8"])

    async def status(peer: str, forwarded: str) -> int:
        return (await call(app, target="/x", peer=peer, headers={"x-forwarded-for": forwarded})).status

    assert [await status("10.1.2.3", f"198.51.100.{n}") for n in range(4)] == [200] * 4
    assert [await status("192.0.2.9", f"198.51.100.{n}") for n in range(10, 14)] == [200, 200, 429, 429]


# Who asked, access line, metrics


async def test_the_endpoint_and_the_trail_know_who_asked() -> None:
    seen = []

    async def endpoint(request: HttpRequest) -> HttpResponse:
        seen.append((request.client_address, current_origin()))
        return HttpResponse(204)

    app = an_app(Route(path="/x", endpoints={"GET": endpoint}))
    await call(app, target="/x", headers={"x-request-id": "r1", "user-agent": "u" * 1000}, peer="::ffff:192.0.2.9")

    ((address, origin),) = seen
    assert address == origin.ip == "192.0.2.9"
    assert origin.request_id == "r1"
    assert origin.user_agent == "u" * 256


async def test_a_request_without_a_peer_is_served() -> None:
    assert (await call(an_app(ECHO), target="/x", peer=None)).status == 200


async def test_the_access_line_has_its_fields_and_no_query(stream: io.BytesIO) -> None:
    answer = await call(an_app(ECHO), target="/x?code=canary", headers={"user-agent": "curl/8"})

    (line,) = lines(stream, "http request")
    assert b"canary" not in stream.getvalue()
    assert line["level"] == "INFO"
    assert line["component"] == "http"
    assert line["request_id"] == answer.one(b"x-request-id").decode()
    assert isinstance(line["duration_ms"], float)
    told = {key: line[key] for key in ("method", "path", "status", "bytes", "remote_addr", "user_agent")}
    assert told == {
        "method": "GET",
        "path": "/x",
        "status": 200,
        "bytes": len(answer.body),
        "remote_addr": "192.0.2.7",
        "user_agent": "curl/8",
    }


async def test_the_level_of_the_access_line_follows_the_status(stream: io.BytesIO) -> None:
    await call(an_app(ECHO), "HEAD", "/x")
    await call(an_app(ECHO), target="/nowhere")
    await call(failing(RuntimeError()), target="/x")

    written = lines(stream, "http request")
    assert [(line["status"], line["level"]) for line in written] == [(200, "INFO"), (404, "WARN"), (500, "ERROR")]
    assert written[0]["bytes"] == 0


def counted(method: str, route: str, status: str) -> float:
    labels = {"http_method": method, "http_route": route, "http_status_code": status}
    return metrics.REGISTRY.get_sample_value("authserver_http_requests_total", labels) or 0.0


async def test_requests_are_counted_by_template_and_unmatched_ones_together() -> None:
    app = an_app(Route(path="/connect/", endpoints={"GET": echo}, template="/connect/{provider}", is_prefix=True))
    before = counted("GET", "/connect/{provider}", "200"), counted("GET", "unmatched", "404")

    await call(app, target="/connect/a")
    await call(app, target="/connect/b")
    await call(app, target="/scanner/1")
    await call(app, target="/scanner/2")

    after = counted("GET", "/connect/{provider}", "200"), counted("GET", "unmatched", "404")
    assert (after[0] - before[0], after[1] - before[1]) == (2, 2)
    assert counted("GET", "/scanner/1", "404") == 0


# Everything else


_TOKENS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=8)
_LATIN = st.text(st.characters(max_codepoint=255), max_size=40)
_NAMES = st.sampled_from(
    ["origin", "x-request-id", "x-forwarded-for", "accept", "user-agent", "content-length", "content-type", "cookie"]
)
FUZZED = WebApp(
    [ECHO, LISTED, DOCUMENT, Route(path="/p/", endpoints={"GET": echo}, is_prefix=True)],
    issuer=f"{ISSUER}/base",
    is_secure=True,
    component="http",
    allowed_origins=["https://a.example"],
    trusted_proxies=["192.0.2.0/24"],
)


@settings(deadline=None, max_examples=300)
@given(
    method=_TOKENS | st.sampled_from(["GET", "POST", "HEAD", "OPTIONS"]),
    target=st.binary(max_size=40) | st.sampled_from([b"/x", b"/p/%e9", b"/base/token", b"/.well-known/doc"]),
    headers=st.dictionaries(_NAMES, _LATIN, max_size=6),
    peer=st.none() | _LATIN | st.sampled_from(["192.0.2.1", "::1", "::ffff:192.0.2.1", "fe80::1%eth0"]),
)
async def test_no_request_makes_it_fail(method: str, target: bytes, headers: dict[str, str], peer: str | None) -> None:
    answer: Answer = await call(FUZZED, method, target, headers=headers, peer=peer)

    assert answer.status in {200, 204, 404, 405}
    assert len(answer.all(b"x-request-id")) == 1
    assert all(b"\r" not in value and b"\n" not in value for _, value in answer.headers)
