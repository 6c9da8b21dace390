"""What real servers tell a collector: one trace for a flow, lines, metrics, nothing secret; and a collector that is away."""

import json
import secrets
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from e2e.harness.installation import EVERYWHERE, Account, Installation, sqlite_database
from e2e.harness.oauth_client import OAuthClient
from e2e.harness.person import Person
from e2e.harness.processes import Process, free_port, wait_until
from throwaway_collector import Collector, SeenSpan, running_collector

SECONDS = 60
CALLER = secrets.token_hex(8)
RESOURCE = "https://notes.example/mcp"


def telling(endpoint: str) -> dict[str, str]:
    """Return the environment of a server that tells everything."""
    return {
        "AUTHPLANE_TRACING_ENABLED": "true",
        "AUTHPLANE_TRACING_ENDPOINT": endpoint,
        "AUTHPLANE_TRACING_INSECURE": "true",
        # Of requests that belong to nobody's trace none: those of the tests do.
        "AUTHPLANE_TRACING_SAMPLE_RATE": "0",
        "AUTHPLANE_METRICS_PROVIDER": "both",
        "AUTHPLANE_METRICS_OTEL_ENDPOINT": endpoint,
        "AUTHPLANE_METRICS_INSECURE": "true",
        "AUTHPLANE_LOG_LEVEL": "debug",
        "AUTHPLANE_LOG_OTEL": "true",
        "AUTHPLANE_LOG_OTEL_ENDPOINT": endpoint,
        "AUTHPLANE_LOG_OTEL_INSECURE": "true",
    }


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture(scope="module")
def server_environment(server_environment: dict[str, str], collector: Collector, admin: str) -> dict[str, str]:
    named = {"AUTHPLANE_ADMIN_ENABLED": "true", "AUTHPLANE_ADMIN_ADDRESS": admin}
    return server_environment | telling(collector.endpoint) | named


@pytest.mark.parametrize("installation", EVERYWHERE, indirect=True, scope="module")
def test_a_flow_is_one_trace_and_nothing_of_it_is_secret(
    installation: Installation, server: Process, account: Account, person: Person, collector: Collector, admin: str
) -> None:
    trace = secrets.token_hex(16)
    joined = {"traceparent": f"00-{trace}-{CALLER}-01"}
    resource_client, resource_secret = installation.create_resource_client()
    installation.create_resource(RESOURCE, runtime_client_id=resource_client)
    client = OAuthClient(installation.issuer, resource=RESOURCE)
    person.send_always(joined)

    def post(path: str, form: dict[str, str]) -> httpx2.Response:
        return httpx2.post(f"{installation.issuer}{path}", data=form, headers=joined, timeout=20)

    wait_until(
        lambda: not person.is_refused(client.authorization_url("v" * 43), "invalid_target"),
        seconds=SECONDS,
        what="the resource is known",
    )
    code = client.get_code(person)
    tokens = post("/oauth/token", client.redemption(code)).json()
    refreshed = post("/oauth/token", client.refresh(tokens["refresh_token"])).json()
    introspected = httpx2.post(
        f"{installation.issuer}/oauth/introspect",
        data={"token": refreshed["access_token"]},
        auth=(resource_client, resource_secret),
        headers=joined,
    )
    assert introspected.json()["active"] is True
    assert post("/oauth/token", client.redemption(code)).status_code == 400
    post("/oauth/revoke", {"token": refreshed["refresh_token"], "client_id": client.client_id})

    def spans() -> list[SeenSpan]:
        return [span for span in collector.spans() if span.trace_id == trace]

    # Each of two workers sends its own, in their order: the last one of the one tells nothing of the other's.
    sent = Counter({"POST /oauth/token": 3, "POST /oauth/introspect": 1, "POST /oauth/revoke": 1})
    wait_until(
        lambda: sent <= Counter(span.name for span in spans()), seconds=SECONDS, what="the spans of all requests arrive"
    )
    wait_until(
        lambda: {span.parent_id for span in spans()} <= {CALLER, *(span.span_id for span in spans())},
        seconds=SECONDS,
        what="every span arrives whose child did",
    )
    seen = spans()
    store = "Postgres" if "postgres" in installation.environment["AUTHPLANE_STORAGE_DRIVER"] else "SQLite"
    by_id = {span.span_id: span for span in seen}
    paths = {
        (by_id[by_id[span.parent_id].parent_id].name, by_id[span.parent_id].name, span.name)
        for span in seen
        if span.name.startswith(store) and by_id[span.parent_id].parent_id in by_id
    }
    assert {
        ("POST /consent", "ConsentService.Decide", f"{store}.SessionUpdateCodeHash"),
        ("POST /oauth/token", "TokenService.ExchangeCode", f"{store}.SessionConsumeByCodeHash"),
        ("POST /oauth/token", "TokenService.RefreshToken", f"{store}.TokenConsumeRefresh"),
        ("POST /oauth/introspect", "IntrospectionService.Introspect", f"{store}.IssuanceGetByJTI"),
    } <= paths
    requests = [span for span in seen if span.kind == 2]
    assert {(span.parent_id, span.status) for span in requests} == {(CALLER, 0)}
    assert 400 in {span.attributes["http.status_code"] for span in requests}
    assert {span.resource["service.name"] for span in seen} == {"authserver"}
    assert len({span.resource["service.instance.id"] for span in seen}) == 1

    check_lines(collector, server, trace)
    check_metrics(collector, admin)
    told = b"".join(collector.received())
    secret = [code.value, code.verifier, account.email, account.password, resource_secret]
    secret += [tokens["access_token"], tokens["refresh_token"], refreshed["access_token"], refreshed["refresh_token"]]
    secret += [value for value in person.cookies().values() if len(value) > 16]
    # Half a token would be as good as a whole one.
    assert [text for text in secret if text.encode() in told or text[-20:].encode() in told] == []


def check_lines(collector: Collector, server: Process, trace: str) -> None:
    """Check that lines carry trace and span, the same ones in both outputs."""
    lines = [json.loads(line) for line in server.output.splitlines() if line.startswith("{")]
    written = [line for line in lines if line.get("trace_id") == trace and line["msg"] == "http request"]
    assert {line["path"] for line in written} >= {"/oauth/token", "/oauth/introspect"}

    def spans() -> dict[str, SeenSpan]:
        return {span.span_id: span for span in collector.spans() if span.trace_id == trace}

    wait_until(
        lambda: {line["span_id"] for line in written} <= spans().keys(),
        seconds=SECONDS,
        what="the spans of the lines arrive",
    )
    arrived = spans()
    assert [line for line in written if arrived[line["span_id"]].attributes["http.url"] != line["path"]] == []
    wait_until(
        lambda: {line["span_id"] for line in written} <= {line["span_id"] for line in collector.logs()},
        seconds=SECONDS,
        what="the lines arrive",
    )
    told = {line["span_id"]: line for line in collector.logs() if line["msg"] == "http request"}
    for line in written:
        assert told[line["span_id"]]["trace_id"] == trace
        assert told[line["span_id"]]["path"] == line["path"]


def check_metrics(collector: Collector, admin: str) -> None:
    """Check that the collector is told what a scrape shows, of all workers together, once nothing counts any more."""
    series = 'authserver_http_request_duration_seconds_count{http_method="POST",http_route="/oauth/token",http_status_code="200"}'

    def scraped() -> float:
        for line in httpx2.get(f"http://{admin}/metrics", timeout=20).text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        return 0.0

    wait_until(
        lambda: 0 < scraped() == (collector.metrics() or {}).get(series),
        seconds=SECONDS,
        what="the collector is told as many token requests as a scrape shows",
    )


def test_a_server_serves_and_ends_while_its_collector_is_away(tmp_path: Path) -> None:
    nowhere = telling(f"127.0.0.1:{free_port()}") | {"AUTHPLANE_TRACING_SAMPLE_RATE": "1"}
    with sqlite_database(tmp_path) as database:
        installation = Installation(tmp_path, database=database, extra=nowhere)
        with installation.serve() as process, httpx2.Client(base_url=installation.issuer, timeout=20) as http:
            for _ in range(300):
                assert http.get("/livez").status_code == 200
            process.wait_for_output("telemetry is not taken by its collector")
            # Within what the harness waits.
            assert process.stop(signal.SIGTERM) == 0
        assert "stopped gracefully" in process.output
        assert process.output.count('"signal":"traces","error":"UNAVAILABLE"') == 1
