"""The spans of requests, on both databases."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import orjson
import pytest

from authserver.admin.access import Access
from authserver.app import build_server
from authserver.protocol.grant_types import TOKEN_EXCHANGE
from authserver.telemetry.spans import Span, SpanKind
from authserver.telemetry.tracing import Tracer
from server.tests.fakes.document_server import document_server
from server.tests.fakes.proving_client import ProvingClient
from server.tests.web.direct import DirectTransport
from server.tests.web.test_run import running
from server.tests.wire.exchanging import a_client, a_resource, exchanged, user_token
from server.tests.wire.harness import EMAIL, PASSWORD, Wire, query_of

pytestmark = pytest.mark.anyio

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
STORES = {"sqlite": "SQLite", "postgres": "Postgres"}


@dataclass(kw_only=True)
class Traced:
    """A server that is traced, and what it told."""

    wire: Wire
    spans: list[Span]

    @property
    def store(self) -> str:
        return STORES[self.wire.core.db.dialect]

    def of(self, request: str) -> Span:
        """Return the last span of a request of this name."""
        return next(span for span in reversed(self.spans) if span.name == request)

    def below(self, parent: Span) -> list[Span]:
        """Return the spans right below one, as they ended."""
        return [span for span in self.spans if span.parent_id == parent.span_id]

    def only(self, parent: Span, name: str) -> Span:
        """Return the one span of this name right below another."""
        (found,) = [span for span in self.below(parent) if span.name == name]
        return found


async def trace(wire: Wire, *, sample_rate: float = 1.0) -> Traced:
    spans: list[Span] = []
    tracer = Tracer(sample_rate=sample_rate, put=spans.append, monotonic=lambda: 0.0)
    wire.server = await build_server(wire.core, wire.keyring, tracer=tracer)
    wire.http = wire.new_browser()
    return Traced(wire=wire, spans=spans)


@pytest.fixture
async def traced(wire: Wire) -> AsyncIterator[Traced]:
    traced = await trace(wire)
    yield traced
    await wire.server.traces.close()


async def test_a_whole_flow_with_an_incoming_trace_is_one_trace_of_named_spans(traced: Traced) -> None:
    wire, store = traced.wire, traced.store
    wire.http.headers["traceparent"] = f"00-{TRACE}-{CALLER}-01"
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    tokens = (await wire.redeem(client_id, code)).json()
    refreshed = (await wire.refresh(client_id, tokens["refresh_token"])).json()
    await wire.introspect(refreshed["access_token"])
    await wire.http.post("/oauth/revoke", data={"token": refreshed["refresh_token"], "client_id": client_id})

    assert {span.context.trace_id for span in traced.spans} == {TRACE}
    requests = [span for span in traced.spans if span.kind is SpanKind.SERVER]
    assert {span.parent_id for span in requests} == {CALLER}
    assert {span.name for span in requests} == {
        "POST /oauth/register",
        "GET /oauth/authorize",
        "GET /login",
        "POST /login",
        "GET /consent",
        "POST /consent",
        "POST /oauth/token",
        "POST /oauth/introspect",
        "POST /oauth/revoke",
    }
    known = {span.span_id for span in traced.spans}
    assert {span.parent_id for span in traced.spans if span not in requests} <= known
    assert len(known) == len(traced.spans)
    for path, service, reads, written in (
        ("POST /consent", "ConsentService.Decide", {"ClientGetByID", "SessionGetByID"}, "SessionUpdateCodeHash"),
        ("POST /oauth/revoke", "RevocationService.Revoke", {"TokenGetRefreshByHash"}, "TokenRevokeFamily"),
        ("POST /oauth/introspect", "IntrospectionService.Introspect", {"IssuanceGetByJTI"}, None),
    ):
        serving = traced.only(traced.of(path), service)
        below = {span.name: span for span in traced.below(serving)}
        assert {f"{store}.{name}" for name in reads} <= set(below)
        assert written is None or below[f"{store}.{written}"].kind is SpanKind.CLIENT
        assert serving.attributes["client_id"] in {client_id, wire.runtime.client.id}

    token_requests = [span for span in requests if span.name == "POST /oauth/token"]
    for request, name, grant_type, read, unit in zip(
        token_requests,
        ("TokenService.ExchangeCode", "TokenService.RefreshToken"),
        ("authorization_code", "refresh_token"),
        ("SessionGetByCodeHash", "TokenGetRefreshByHash"),
        ("SessionConsumeByCodeHash", "TokenConsumeRefresh"),
        strict=True,
    ):
        (serving,) = traced.below(request)
        assert serving.name == name
        assert serving.attributes == {"grant_type": grant_type, "client_id": client_id}
        asked = [span.name for span in traced.below(serving)]
        assert (asked[0], asked[-1]) == (f"{store}.{read}", f"{store}.{unit}")
        assert request.attributes == {
            "http.method": "POST",
            "http.route": "/oauth/token",
            "http.url": "/oauth/token",
            "http.status_code": 200,
            "http.response_size": request.attributes["http.response_size"],
        }
        assert request.started_at <= serving.started_at <= serving.ended_at <= request.ended_at

    told = repr([(span.name, span.attributes, span.events, span.error) for span in traced.spans])
    secrets = [code, EMAIL, PASSWORD, *tokens.values(), *refreshed.values()]
    assert not [secret for secret in map(str, secrets) if len(secret) > 20 and secret in told]
    assert EMAIL not in told
    assert PASSWORD not in told


async def test_a_proof_that_is_spent_by_a_refused_request_has_a_name(
    traced: Traced, prover: ProvingClient, now: int
) -> None:
    wire = traced.wire
    client_id = (await wire.register())["client_id"]
    answer = await wire.redeem(
        client_id, await wire.code(client_id), proof=prover.proof(now=now), code_verifier="a" * 43
    )
    assert answer.json()["error"] == "invalid_grant"
    serving = traced.only(traced.of("POST /oauth/token"), "TokenService.ExchangeCode")
    assert f"{traced.store}.DPoPConsumeJTI" in {span.name for span in traced.below(serving)}


async def test_an_exchange_names_the_resource(traced: Traced) -> None:
    wire = traced.wire
    gateway = await a_client(wire, "gateway")
    crm = await a_resource(wire, "crm", "crm:read", runtime=[gateway])
    token = await user_token(wire, gateway, resource=crm.uri)
    await exchanged(wire, gateway, token, resource=crm.uri)
    serving = traced.only(traced.of("POST /oauth/token"), "TokenExchangeService.Exchange")
    assert serving.attributes == {
        "grant_type": TOKEN_EXCHANGE,
        "client_id": gateway.id,
        "resource_id": crm.id,
        "resource_slug": "crm",
        "backend_kind": "mint",
    }
    assert traced.below(serving)[-1].name == f"{traced.store}.IssuanceInsert"


async def test_a_refusal_is_no_error_of_the_request_but_of_what_it_asked_for(traced: Traced) -> None:
    client_id = (await traced.wire.register())["client_id"]
    answer = await traced.wire.redeem(client_id, "c" * 43)
    assert answer.status_code == 400
    request = traced.of("POST /oauth/token")
    assert request.attributes["http.status_code"] == 400
    assert request.error is None
    assert traced.only(request, "TokenService.ExchangeCode").error == "code_unknown"


async def test_a_fault_of_ours_is_an_error_of_the_request(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a secret of the cause")

    monkeypatch.setattr(Access, "identify", broken)
    transport = DirectTransport(traced.wire.server.admin, peer="127.0.0.1")
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as admin:
        assert (await admin.get("/admin/clients/some-client")).status_code == 500
    (request,) = [span for span in traced.spans if span.kind is SpanKind.SERVER]
    assert request.name == "GET /admin/clients/{id}"
    assert (request.error, request.attributes["http.url"]) == ("500", "/admin/clients/some-client")


async def test_lines_of_a_recorded_request_carry_its_trace_and_span(traced: Traced, logged: io.BytesIO) -> None:
    await traced.wire.http.get("/livez", headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    (line,) = [each for each in map(orjson.loads, logged.getvalue().splitlines()) if each["msg"] == "http request"]
    assert (line["trace_id"], line["span_id"]) == (TRACE, traced.of("GET /livez").span_id)


async def test_of_a_request_that_is_not_recorded_lines_and_audit_know_the_trace(wire: Wire, logged: io.BytesIO) -> None:
    traced = await trace(wire, sample_rate=1.0)
    wire.http.headers["traceparent"] = f"00-{TRACE}-{CALLER}-00"
    await wire.register()
    assert traced.spans == []
    (line,) = [each for each in map(orjson.loads, logged.getvalue().splitlines()) if each["msg"] == "http request"]
    assert line["trace_id"] == TRACE
    assert "span_id" not in line
    await wire.core.trail.flush()
    rows = await wire.core.db.fetch_all("SELECT trace_id FROM audit_events WHERE action = $1", "client.registered")
    assert [row["trace_id"] for row in rows] == [TRACE]
    await wire.server.traces.close()


async def test_what_is_answered_behind_a_recorded_request_is_no_part_of_it(traced: Traced, logged: io.BytesIO) -> None:
    async with running(traced.wire.server.public) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        for path, is_recorded in (("/oauth/authorize", 1), ("/livez", 0)):
            writer.write(
                f"GET {path} HTTP/1.1\r\nhost: x\r\ntraceparent: 00-{TRACE}-{CALLER}-0{is_recorded}\r\n".encode()
            )
            writer.write(b"\r\n" if is_recorded else b"connection: close\r\n\r\n")
        await asyncio.wait_for(reader.read(-1), 60)
        writer.close()
    lines = [each for each in map(orjson.loads, logged.getvalue().splitlines()) if each["msg"] == "http request"]
    assert [(line["path"], "span_id" in line) for line in lines] == [("/oauth/authorize", True), ("/livez", False)]


async def test_without_a_caller_s_trace_the_share_decides_and_each_request_is_a_trace(wire: Wire) -> None:
    for rate, number in ((0.0, 0), (1.0, 2)):
        traced = await trace(wire, sample_rate=rate)
        for _ in range(2):
            await wire.http.get("/livez", headers={"traceparent": "00-malformed"})
        assert len({span.context.trace_id for span in traced.spans}) == number
        assert {span.parent_id for span in traced.spans} <= {""}
        await wire.server.traces.close()


async def test_operators_requests_join_nobody_s_trace(traced: Traced) -> None:
    transport = DirectTransport(traced.wire.server.admin, peer="127.0.0.1")
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as admin:
        await admin.get("/metrics", headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
    request = traced.of("GET /metrics")
    assert (request.context.trace_id == TRACE, request.parent_id) == (False, "")


async def test_a_path_of_no_route_is_counted_once_whatever_it_is(traced: Traced) -> None:
    await traced.wire.http.get("/no/such/path?code=secret")
    request = traced.of("GET unmatched")
    assert request.attributes["http.url"] == "/no/such/path"


async def test_the_fetch_of_a_client_s_document_is_a_span_and_joins_the_trace(traced: Traced) -> None:
    wire = traced.wire
    async with document_server() as documents:
        url = documents.document("/client", redirect_uris=["http://127.0.0.1/callback"])
        answer = await wire.http.get(
            "/oauth/authorize",
            params=wire.request(url, redirect_uri="http://127.0.0.1/callback"),
            headers={"traceparent": f"00-{TRACE}-{CALLER}-01", "tracestate": "a=1", "baggage": "b=2"},
        )
        assert answer.status_code == 303, answer.text
        assert "error" not in query_of(answer)
        (request,) = documents.requests
    fetch = traced.only(traced.only(traced.of("GET /oauth/authorize"), "AuthorizationService.Authorize"), "CIMD.Fetch")
    assert fetch.attributes == {"outcome": "success", "http.status_code": 200}
    headers = request.lower()
    assert f"traceparent: 00-{TRACE}-{fetch.span_id}-01" in headers
    assert "tracestate: a=1" in headers
    assert "baggage: b=2" in headers
